"""The layers of Victor Zhou's article, compiled: Conv3x3, MaxPool2 and Softmax.

Names, argument order, shapes and attributes are the article's ("CNNs, Part 1: An Introduction to Convolutional
Neural Networks" has the forward passes, "CNNs, Part 2: Training a Convolutional Neural Network" the backward ones),
so its script runs unchanged after ``from cnnx import Conv3x3, MaxPool2, Softmax``. `cnnx.reference` has the same
layers in numpy, written for reading, with the formulas.

Every layer computes in its own dtype. An input or gradient of another real dtype, or in another memory layout, is
converted first; the result has the layer's dtype. Errors leave parameters as they were:

- TypeError: not a numpy array of real numbers (lists, masked arrays, complex numbers, booleans, strings).
- ValueError: a shape that does not fit; the message has both.
- RuntimeError: backprop before forward.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from . import _checks, _core
from ._checks import FloatArray

__all__ = ["Conv3x3", "Layer", "MaxPool2", "Softmax"]


class Layer:
    """What a network needs to know of its layers.

    Attributes:
        dtype: the numpy dtype that the layer computes in; None if it takes its input's.
    """

    dtype: Any = None

    def settings(self) -> dict[str, Any]:
        """Return the arguments that would construct a layer like this one, for JSON."""
        raise NotImplementedError

    def parameters(self) -> dict[str, FloatArray]:
        """Return the arrays that training updates, by attribute name."""
        return {}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that `forward` makes of an input's shape; ValueError if it refuses that."""
        raise NotImplementedError

    def plan_entry(self) -> tuple[Any, ...]:
        """Return the layer for the core: its kind, its setting if it has one, its arrays."""
        return (type(self).__name__, *self.parameters().values())


class Conv3x3(Layer):
    """A convolution with 3x3 filters over a single-channel image: no padding, stride 1, no bias.

    ``output[y, x, f] = sum over dy, dx of input[y + dy, x + dx] * filters[f, dy, dx]``

    Args:
        num_filters: how many filters, at least 1.
        dtype: float64 or float32, of the filters and of every result.
        rng: draws the initial filters, `standard_normal / 9`; None takes numpy's global generator, so that
            ``np.random.seed`` gives the article's filters to the bit.

    Attributes:
        num_filters: as given.
        filters: (num_filters, 3, 3), updated in place by `backprop`. An array assigned to it is kept, not copied.
        last_input: (height, width), what the last forward pass saw; the caller's own array if it needed no conversion.
    """

    def __init__(
        self, num_filters: int, *, dtype: DTypeLike = np.float64, rng: np.random.Generator | None = None
    ) -> None:
        self.num_filters = _checks.positive_integer("num_filters", num_filters)
        self.dtype = _checks.float_dtype(dtype)
        shape = (self.num_filters, 3, 3)
        self._filters: FloatArray = _standard_normal(shape, rng, scale=9, dtype=self.dtype)
        self.last_input: FloatArray | None = None

    @property
    def filters(self) -> FloatArray:
        """(num_filters, 3, 3) in the layer's dtype."""
        return self._filters

    @filters.setter
    def filters(self, value: FloatArray) -> None:
        self._filters = _checks.parameter("filters", value, self._filters)

    def settings(self) -> dict[str, Any]:
        return {"num_filters": self.num_filters, "dtype": str(self.dtype)}

    def parameters(self) -> dict[str, FloatArray]:
        return {"filters": self._filters}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(input_shape) != 2 or min(input_shape) < 3:
            raise ValueError(f"expected input (height, width) of at least 3x3, got {input_shape}")
        return input_shape[0] - 2, input_shape[1] - 2, self.num_filters

    def forward(self, input: FloatArray) -> FloatArray:
        """Convolves an image (height, width), at least 3x3, into (height - 2, width - 2, num_filters)."""
        image = _checks.as_array("input", input, self.dtype, ("height", "width"))
        output = _core.conv3x3_forward(image, self._filters)
        self.last_input = image
        return output

    def backprop(self, d_L_d_out: FloatArray, learn_rate: float) -> FloatArray:
        """Takes a step of gradient descent and returns the gradient for the input.

        ``d_L_d_filters[f, dy, dx] = sum over y, x of d_L_d_out[y, x, f] * last_input[y + dy, x + dx]``
        ``d_L_d_input[y, x] = sum over f, dy, dx of d_L_d_out[y - dy, x - dx, f] * filters[f, dy, dx]``

        Args:
            d_L_d_out: the loss gradient for the output, (height - 2, width - 2, num_filters).
            learn_rate: the step, finite and at least 0.

        Returns:
            d_L_d_input, (height, width), through the filters before the update (the article leaves it out).
        """
        rate = _checks.learn_rate(learn_rate)
        image = _checks.as_array("last_input", _remembered(self.last_input), self.dtype, ("height", "width"))
        height, width = image.shape
        gradient = _checks.as_shaped("d_L_d_out", d_L_d_out, self.dtype, (height - 2, width - 2, self.num_filters))
        return _core.conv3x3_backprop(gradient, image, self._filters, rate)


class MaxPool2(Layer):
    """Max pooling over 2x2 windows; an odd last row or column is left out.

    ``output[y, x, c] = max of input[2 * y + i, 2 * x + j, c] over i, j in {0, 1}``

    Computes in its input's dtype (float64 for integers and half precision). A NaN wins its window and passes no
    gradient.

    Args:
        ties: who receives a window's gradient when several pixels equal the maximum: "all" of them (the article's
            rule) or the "first" in reading order (that of Keras and PyTorch).

    Attributes:
        last_input: (height, width, channels), what the last forward pass saw.
    """

    def __init__(self, *, ties: Literal["all", "first"] = "all") -> None:
        self.ties = ties
        self.last_input: FloatArray | None = None

    @property
    def ties(self) -> Literal["all", "first"]:
        """Who receives the gradient of equal pixels: "all" or "first"."""
        return self._ties

    @ties.setter
    def ties(self, value: Literal["all", "first"]) -> None:
        if value not in ("all", "first"):
            raise ValueError(f"ties: expected 'all' or 'first', got {value!r}")
        self._ties = value

    def settings(self) -> dict[str, Any]:
        return {"ties": self._ties}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(input_shape) != 3:
            raise ValueError(f"expected input (height, width, channels), got {input_shape}")
        return input_shape[0] // 2, input_shape[1] // 2, input_shape[2]

    def plan_entry(self) -> tuple[Any, ...]:
        return "MaxPool2", self._ties == "first"

    def forward(self, input: FloatArray) -> FloatArray:
        """Pools (height, width, channels) into (height // 2, width // 2, channels)."""
        image = _checks.as_array("input", input, _checks.own_float_dtype(input), ("height", "width", "channels"))
        output = _core.max_pool2_forward(image)
        self.last_input = image
        return output

    def backprop(self, d_L_d_out: FloatArray) -> FloatArray:
        """Returns d_L_d_input, (height, width, channels): the gradient where the maxima were, zero elsewhere.

        Args:
            d_L_d_out: the loss gradient for the output, (height // 2, width // 2, channels).
        """
        last_input = _remembered(self.last_input)
        image = _checks.as_array(
            "last_input", last_input, _checks.own_float_dtype(last_input), ("height", "width", "channels")
        )
        height, width, channels = image.shape
        gradient = _checks.as_shaped("d_L_d_out", d_L_d_out, image.dtype, (height // 2, width // 2, channels))
        return _core.max_pool2_backprop(gradient, image, self._ties == "first")


class Softmax(Layer):
    """A dense layer followed by the softmax function.

    ``totals = input @ weights + biases``, ``output[n] = exp(totals[n]) / sum over m of exp(totals[m])``

    The maximum is subtracted from the totals first, so totals of any finite size are fine.

    Args:
        input_len: how many values the input has, in any shape; at least 1.
        nodes: how many outputs, at least 1.
        dtype: float64 or float32, of the parameters and of every result.
        rng: draws the initial weights, `standard_normal / input_len`; None takes numpy's global generator, so that
            ``np.random.seed`` gives the article's weights to the bit.

    Attributes:
        weights: (input_len, nodes), updated in place by `backprop`. An array assigned to it is kept, not copied.
        biases: (nodes,), initially zero; likewise.
        last_input: (input_len,), a copy of the last forward pass's input, flattened.
        last_input_shape: the shape it had.
        last_totals: (nodes,), the values before the softmax function.
    """

    def __init__(
        self,
        input_len: int,
        nodes: int,
        *,
        dtype: DTypeLike = np.float64,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.dtype = _checks.float_dtype(dtype)
        shape = (_checks.positive_integer("input_len", input_len), _checks.positive_integer("nodes", nodes))
        self._weights: FloatArray = _standard_normal(shape, rng, scale=shape[0], dtype=self.dtype)
        self._biases: FloatArray = np.zeros(shape[1], self.dtype)
        self.last_input: FloatArray | None = None
        self.last_input_shape: tuple[int, ...] | None = None
        self.last_totals: FloatArray | None = None

    @property
    def weights(self) -> FloatArray:
        """(input_len, nodes) in the layer's dtype."""
        return self._weights

    @weights.setter
    def weights(self, value: FloatArray) -> None:
        self._weights = _checks.parameter("weights", value, self._weights)

    @property
    def biases(self) -> FloatArray:
        """(nodes,) in the layer's dtype."""
        return self._biases

    @biases.setter
    def biases(self, value: FloatArray) -> None:
        self._biases = _checks.parameter("biases", value, self._biases)

    def settings(self) -> dict[str, Any]:
        input_len, nodes = self._weights.shape
        return {"input_len": input_len, "nodes": nodes, "dtype": str(self.dtype)}

    def parameters(self) -> dict[str, FloatArray]:
        return {"weights": self._weights, "biases": self._biases}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        input_len, nodes = self._weights.shape
        if math.prod(input_shape) != input_len:
            raise ValueError(f"expected input of {input_len} values, got {math.prod(input_shape)}, {input_shape}")
        return (nodes,)

    def forward(self, input: FloatArray) -> FloatArray:
        """Turns input_len values, in any shape, into probabilities (nodes,) that sum to 1."""
        values = _checks.as_numbers("input", input, self.dtype)
        input_len = self._weights.shape[0]
        if values.size != input_len:
            raise ValueError(f"input: expected {input_len} values, got {values.size} in shape {values.shape}")
        flat = values.flatten()
        output, totals = _core.softmax_forward(flat, self._weights, self._biases)
        self.last_input, self.last_input_shape, self.last_totals = flat, values.shape, totals
        return output

    def backprop(self, d_L_d_out: FloatArray, learn_rate: float) -> FloatArray:
        """Takes a step of gradient descent and returns the gradient for the input.

        With p the softmax of last_totals:

        ``d_L_d_totals[n] = p[n] * (d_L_d_out[n] - sum over m of d_L_d_out[m] * p[m])``
        ``d_L_d_weights = outer(last_input, d_L_d_totals)``, ``d_L_d_biases = d_L_d_totals``
        ``d_L_d_input = weights @ d_L_d_totals``

        The article uses only the first non-zero entry of d_L_d_out and returns None if there is none; here every
        entry counts and a gradient of zeros gives zeros.

        Args:
            d_L_d_out: the loss gradient for the output, (nodes,).
            learn_rate: the step, finite and at least 0.

        Returns:
            d_L_d_input, in the shape of the last input, through the weights before the update.
        """
        rate = _checks.learn_rate(learn_rate)
        weights, dtype = self._weights, self.dtype
        input_len, nodes = weights.shape
        flat = _checks.as_shaped("last_input", _remembered(self.last_input), dtype, (input_len,))
        totals = _checks.as_shaped("last_totals", _remembered(self.last_totals), dtype, (nodes,))
        gradient = _checks.as_shaped("d_L_d_out", d_L_d_out, dtype, (nodes,))
        shape = _remembered(self.last_input_shape)
        return _core.softmax_backprop(gradient, flat, weights, self._biases, totals, shape, rate)


def _remembered(value: Any) -> Any:
    """What the last forward pass left for backprop."""
    if value is None:
        raise RuntimeError("backprop: expected a forward pass before it, got none")
    return value


def _standard_normal(
    shape: tuple[int, ...], rng: np.random.Generator | None, *, scale: float, dtype: np.dtype[Any]
) -> FloatArray:
    """The article's initial values: normal, divided by `scale`; drawn in float64 so that dtypes share a seed."""
    rng = _checks.generator(rng)
    if rng is _checks.UNINITIALISED:
        return np.empty(shape, dtype)
    values = np.random.randn(*shape) if rng is None else rng.standard_normal(shape)
    return (values / scale).astype(dtype)
