"""The convolution with 3x3 filters, the article's first layer, in a form that can also be stacked.

Its twin in numpy is in `cnnx/reference/conv3x3.py`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from .. import _checks, _core
from .._checks import FloatArray, RealArray
from .._random import Rng
from .base import Layer, remembered
from .initial import UNINITIALISED, he_deviation, standard_normal

__all__ = ["Conv3x3"]


class Conv3x3(Layer):
    """A convolution with 3x3 filters and stride 1, from the article's Part 1, section 3, "Convolutions".

    ``output[y, x, f] = biases[f] + sum over dy, dx, c of input[y + dy, x + dx, c] * filters[f, dy, dx, c]``

    where dy and dx go from 0 to 2. Without `in_channels` it is the article's layer: it takes an image (height, width),
    has filters (num_filters, 3, 3), and neither biases nor padding. With `in_channels` it can be stacked.

    A layer without `in_channels` takes them from the layer before it when a `Sequential` places it after one whose
    output has channels. It is then what `in_channels` would have made of it, biases included. Its filters are drawn by
    a generator of their own, whose seed is the article's filters, so that this draws nothing from `rng`. A layer that
    has been used by hand, trained or written to, or that another network has, stays the article's.

    Args:
        num_filters: how many filters, at least 1.
        in_channels: how many channels the input (height, width, in_channels) has, at least 1. If it is 1, the input may
            also be an image (height, width). None for the article's layer, until a network gives it channels.
        padding: "valid" for none, or "same" for a ring of zeros around the input, which keeps height and width.
        use_bias: whether each filter has a bias. None means yes with `in_channels`, and no without, as in the article.
        dtype: float64 or float32, of the parameters and of every result.
        rng: draws the initial filters. A `numpy.random.Generator`, an integer seed, or None for numpy's global
            generator. The article's filters are standard normal / 9, and ``np.random.seed`` gives them to the bit. With
            `in_channels` they are standard normal * sqrt(2 / (9 * in_channels)) (He et al., 2015, "Delving Deep into
            Rectifiers").

    Attributes:
        num_filters: as given. It follows from `filters` and cannot be assigned.
        in_channels: as given, or taken from the layer before. It follows from `filters` and cannot be assigned.
        padding: as given.
        filters: (num_filters, 3, 3) or (num_filters, 3, 3, in_channels), updated in place by `backprop`. An array that
            is assigned is kept, not copied. If the layer belongs to a network, the values are copied into the network's
            array instead.
        biases: (num_filters,), zeros at first, assigned like `filters`; None for a layer without biases.
        last_input: the input of the last forward pass: the caller's own array if it needed no conversion.
    """

    kind = "Conv3x3"
    _open: tuple[FloatArray, bool] | None = None  # the article's initial filters, and whether use_bias was None

    def __init__(
        self,
        num_filters: int,
        in_channels: int | None = None,
        *,
        padding: Literal["valid", "same"] = "valid",
        use_bias: bool | None = None,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        num_filters = _checks.positive_integer("num_filters", num_filters)
        in_channels = None if in_channels is None else _checks.positive_integer("in_channels", in_channels)
        self.padding = padding
        self._dtype = _checks.float_dtype(dtype)
        shape = (num_filters, 3, 3)
        self._filters: FloatArray = (
            standard_normal(shape, rng, self._dtype, divisor=9)
            if in_channels is None
            else standard_normal((*shape, in_channels), rng, self._dtype, factor=he_deviation(9 * in_channels))
        )
        has_biases = in_channels is not None if use_bias is None else _checks.boolean("use_bias", use_bias)
        self._biases: FloatArray | None = np.zeros(num_filters, self._dtype) if has_biases else None
        if in_channels is None and rng is not UNINITIALISED:
            self._open = self._filters.copy(), use_bias is None

    @property
    def num_filters(self) -> int:
        """How many filters the layer has."""
        count: int = self._filters.shape[0]
        return count

    @property
    def in_channels(self) -> int | None:
        """How many channels the input has; None for the article's layer."""
        return self._filters.shape[3] if self._filters.ndim == 4 else None

    @property
    def padding(self) -> Literal["valid", "same"]:
        """What surrounds the input: "valid" is nothing, "same" a ring of zeros."""
        return self._padding

    @padding.setter
    def padding(self, value: Literal["valid", "same"]) -> None:
        self._padding: Literal["valid", "same"] = _checks.one_of("padding", value, ("valid", "same"))
        self._core = None

    @property
    def filters(self) -> FloatArray:
        """(num_filters, 3, 3), or (num_filters, 3, 3, in_channels), in the layer's dtype."""
        return self._filters

    @filters.setter
    def filters(self, value: FloatArray) -> None:
        self._filters = self._assigned("filters", value, self._filters, apart_from=self._biases)
        self._open = None

    @property
    def biases(self) -> FloatArray | None:
        """(num_filters,) in the layer's dtype; None for a layer without biases."""
        return self._biases

    @biases.setter
    def biases(self, value: FloatArray) -> None:
        if self._biases is None:
            raise ValueError("biases: expected none, for a layer made without, got an array")
        self._biases = self._assigned("biases", value, self._biases, apart_from=self._filters)
        self._open = None

    def is_open(self) -> bool:
        """Tell whether the layer still takes its channels from the layer before it: it is as it was made."""
        return (
            self._open is not None
            and self._seen.input is None
            and np.array_equal(self._filters, self._open[0])
            and (self._biases is None or not self._biases.any())
        )

    def take_channels(self, in_channels: int) -> None:
        """Become the layer for inputs of `in_channels` channels. Only an open layer can."""
        assert self._open is not None, "the caller has asked is_open"
        article, wants_biases = self._open
        seed = np.random.default_rng(article.astype(np.float32).view(np.uint32).reshape(-1))  # one for both dtypes
        shape = (*article.shape, in_channels)
        self._filters = standard_normal(shape, seed, self._dtype, factor=he_deviation(9 * in_channels))
        if self._biases is not None or wants_biases:
            self._biases = np.zeros(len(article), self._dtype)
        self.slot = self._core = self._open = None

    def settings(self) -> dict[str, Any]:
        return {
            "num_filters": self.num_filters,
            "in_channels": self.in_channels,
            "padding": self.padding,
            "use_bias": self._biases is not None,
            "dtype": str(self._dtype),
        }

    def _arguments(self) -> dict[str, Any]:
        arguments = super()._arguments()
        if arguments["use_bias"] == (self.in_channels is not None):
            arguments["use_bias"] = None  # the default, which means the same
        return arguments

    def parameters(self) -> dict[str, FloatArray]:
        return {"filters": self._filters} | ({} if self._biases is None else {"biases": self._biases})

    def compiled(self) -> _core.Conv3x3:
        return _core.Conv3x3(
            filters=self._filters, biases=self._biases, same=self._padding == "same", trainable=self._trainable
        )

    def forward(self, input: RealArray) -> FloatArray:
        """Return the convolution of an image with every filter.

        Args:
            input: (height, width), or (height, width, in_channels). Height and width are at least 3 without padding.

        Returns:
            (height - 2, width - 2, num_filters), or with "same" padding (height, width, num_filters).
        """
        image = self._image("input", input)
        output: FloatArray = self.core.forward(image)
        self._seen.input = image
        return output

    def backprop(self, d_L_d_out: RealArray, learn_rate: float) -> FloatArray:
        """Take a step of gradient descent, and return the gradient for the input.

        ``d_L_d_filters[f, dy, dx, c] = sum over y, x of d_L_d_out[y, x, f] * last_input[y + dy, x + dx, c]``
        ``d_L_d_biases[f] = sum over y, x of d_L_d_out[y, x, f]``
        ``d_L_d_input[y, x, c] = sum over f, dy, dx of d_L_d_out[y - dy, x - dx, f] * filters[f, dy, dx, c]``

        The first is from the article's Part 2, section 5, "Backprop: Conv". The article has no biases, and leaves
        d_L_d_input to the reader. In the last sum, pixels of d_L_d_out outside the output count as zeros.

        Args:
            d_L_d_out: the gradient of the loss for the output, in the output's shape.
            learn_rate: how far the step goes, finite and at least 0.

        Returns:
            d_L_d_input in the input's shape, computed with the filters before the step.
        """
        rate = _checks.learn_rate(learn_rate)
        image = self._image("last_input", remembered(self._seen.input))
        height, width = image.shape[:2]
        ring = 2 if self._padding == "same" else 0
        shape = (height + ring - 2, width + ring - 2, self._filters.shape[0])
        gradient = _checks.as_shaped("d_L_d_out", d_L_d_out, self._dtype, shape)
        d_L_d_input: FloatArray
        if self._gradients is None:
            d_L_d_input = self.core.backprop(gradient, image, rate)
        else:
            d_L_d_input = self.core.gradient(gradient, image, **self._collected())
        return d_L_d_input

    def _image(self, name: str, value: Any) -> Any:
        filters = self._filters
        if filters.ndim == 3 or (filters.shape[3] == 1 and getattr(value, "ndim", 0) == 2):
            return _checks.as_array(name, value, self._dtype, ("height", "width"))
        image = _checks.as_array(name, value, self._dtype, ("height", "width", "channels"))
        if image.shape[2] != filters.shape[3]:
            raise ValueError(f"{name}: expected shape (height, width, {filters.shape[3]}), got {image.shape}")
        return image
