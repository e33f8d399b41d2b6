"""The layers, which remember their input and step their parameters downhill."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from .conv3x3 import (
    FloatArray,
    Padding,
    conv3x3_backward,
    conv3x3_forward,
    dense_backward,
    dense_forward,
    max_pool2_backward,
    max_pool2_forward,
    relu_backward,
    relu_forward,
    softmax_backward,
    softmax_forward,
)

__all__ = ["Conv3x3", "Dense", "Dropout", "GlobalAveragePool", "MaxPool2", "ReLU", "Softmax"]


class Conv3x3:
    """A layer of `num_filters` 3×3 filters: (h, w, c) → (h − 2, w − 2, num_filters), or (h, w, num_filters).

    Without `in_channels` it is the article's: images are (h, w), `filters` (num_filters, 3, 3) start as standard
    normal values divided by 9, and there are no `biases`. With `in_channels` it can be stacked: images are (h, w,
    in_channels), or (h, w) of one channel; `filters` (num_filters, 3, 3, in_channels) start as standard normal values
    times √(2 / (9 · in_channels)), `biases` (num_filters,) as zeros. `padding="same"` keeps height and width.
    """

    last_input: FloatArray

    def __init__(
        self,
        num_filters: int,
        in_channels: int | None = None,
        *,
        padding: Padding = "valid",
        use_bias: bool | None = None,
        dtype: npt.DTypeLike = np.float64,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.num_filters, self.in_channels, self.padding = num_filters, in_channels, padding
        if in_channels is None:
            initial = _standard_normal(rng, num_filters, 3, 3) / 9
        else:
            initial = _standard_normal(rng, num_filters, 3, 3, in_channels) * np.sqrt(2 / (9 * in_channels))
        self.filters: FloatArray = initial.astype(dtype)
        has_bias = in_channels is not None if use_bias is None else use_bias
        self.biases: FloatArray | None = np.zeros(num_filters, dtype) if has_bias else None

    def forward(self, input: FloatArray) -> FloatArray:
        """Return the responses of every filter to an image, wherever it fits."""
        self.last_input = input
        return conv3x3_forward(input, self.filters, self.biases, self.padding)

    def backprop(self, d_L_d_out: FloatArray, learn_rate: float) -> FloatArray:
        """Step the parameters downhill; return `d_L_d_input`, through the filters before the step."""
        d_L_d_input, d_L_d_filters, d_L_d_biases = conv3x3_backward(
            d_L_d_out, self.last_input, self.filters, self.padding
        )
        self.filters -= learn_rate * d_L_d_filters
        if self.biases is not None:
            self.biases -= learn_rate * d_L_d_biases
        return d_L_d_input


class MaxPool2:
    """A layer that halves height and width: (h, w, c) → (h // 2, w // 2, c)."""

    last_input: FloatArray

    def __init__(self, *, ties: Literal["all", "first"] = "all") -> None:
        self.ties: Literal["all", "first"] = ties

    def forward(self, input: FloatArray) -> FloatArray:
        """Return the (h // 2, w // 2, c) maxima of (h, w, c)."""
        self.last_input = input
        return max_pool2_forward(input)

    def backprop(self, d_L_d_out: FloatArray) -> FloatArray:
        """Return `d_L_d_input` (h, w, c) for `d_L_d_out` (h // 2, w // 2, c)."""
        return max_pool2_backward(d_L_d_out, self.last_input, self.ties)


class GlobalAveragePool:
    """A layer that averages over height and width: (h, w, c) → (c,).

    `output[c] = sum over y, x of input[y, x, c] / (h * w)`
    """

    last_input: FloatArray

    def forward(self, input: FloatArray) -> FloatArray:
        """Return the mean of each channel."""
        self.last_input = input
        mean: FloatArray = input.mean(axis=(0, 1))
        return mean

    def backprop(self, d_L_d_out: FloatArray) -> FloatArray:
        """Return `d_L_d_input`: every pixel has its share, `d_L_d_out[c] / (h * w)`."""
        height, width, _ = self.last_input.shape
        shares: FloatArray = np.broadcast_to(d_L_d_out / (height * width), self.last_input.shape).astype(
            d_L_d_out.dtype
        )
        return shares


class ReLU:
    """A layer that lets positive values through, in any shape."""

    last_input: FloatArray

    def forward(self, input: FloatArray) -> FloatArray:
        """Return `max(0, input)`."""
        self.last_input = input
        return relu_forward(input)

    def backprop(self, d_L_d_out: FloatArray) -> FloatArray:
        """Return `d_L_d_input`, in the shape of both."""
        return relu_backward(d_L_d_out, self.last_input)


class Dropout:
    """A layer that, while a network trains, forgets a random share `rate` of its input; by hand, it does nothing.

    `dropout` is what training does.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def forward(self, input: FloatArray) -> FloatArray:
        """Return a copy of `input`, whose values all survive."""
        return np.copy(input)

    def backprop(self, d_L_d_out: FloatArray) -> FloatArray:
        """Return a copy of `d_L_d_out`."""
        return np.copy(d_L_d_out)


class Dense:
    """A layer of `nodes` weighted sums: any shape of `input_len` values → `nodes` totals.

    `weights` (input_len, nodes) start as standard normal values times √(2 / input_len), `biases` (nodes,) as zeros.
    """

    last_input: FloatArray
    last_input_shape: tuple[int, ...]

    def __init__(
        self,
        input_len: int,
        nodes: int,
        *,
        dtype: npt.DTypeLike = np.float64,
        rng: np.random.Generator | None = None,
    ) -> None:
        initial = _standard_normal(rng, input_len, nodes) * np.sqrt(2 / input_len)
        self.weights: FloatArray = initial.astype(dtype)
        self.biases: FloatArray = np.zeros(nodes, dtype)

    def forward(self, input: FloatArray) -> FloatArray:
        """Return the totals (nodes,) of an input of any shape with `input_len` values."""
        self.last_input_shape = input.shape
        self.last_input = input.flatten()
        return dense_forward(self.last_input, self.weights, self.biases)

    def backprop(self, d_L_d_out: FloatArray, learn_rate: float) -> FloatArray:
        """Step the weights and biases downhill; return `d_L_d_input`, through the weights before the step."""
        d_L_d_input, d_L_d_weights, d_L_d_biases = dense_backward(d_L_d_out, self.last_input, self.weights)
        self.weights -= learn_rate * d_L_d_weights
        self.biases -= learn_rate * d_L_d_biases
        return d_L_d_input.reshape(self.last_input_shape)


class Softmax:
    """A dense layer with a softmax: any shape of `input_len` values → `nodes` probabilities.

    `weights` (input_len, nodes) start as standard normal values divided by `input_len`, `biases` (nodes,) as
    zeros.
    """

    last_input: FloatArray
    last_input_shape: tuple[int, ...]
    last_totals: FloatArray

    def __init__(
        self,
        input_len: int,
        nodes: int,
        *,
        dtype: npt.DTypeLike = np.float64,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.weights: FloatArray = (_standard_normal(rng, input_len, nodes) / input_len).astype(dtype)
        self.biases: FloatArray = np.zeros(nodes, dtype)

    def forward(self, input: FloatArray) -> FloatArray:
        """Return the probabilities (nodes,) of an input of any shape with `input_len` values."""
        self.last_input_shape = input.shape
        self.last_input = input.flatten()
        probabilities, self.last_totals = softmax_forward(self.last_input, self.weights, self.biases)
        return probabilities

    def backprop(self, d_L_d_out: FloatArray, learn_rate: float) -> FloatArray:
        """Step the weights and biases downhill; return `d_L_d_input`, through the weights before the step."""
        d_L_d_input, d_L_d_weights, d_L_d_biases = softmax_backward(
            d_L_d_out, self.last_input, self.weights, self.last_totals
        )
        self.weights -= learn_rate * d_L_d_weights
        self.biases -= learn_rate * d_L_d_biases
        return d_L_d_input.reshape(self.last_input_shape)


def _standard_normal(rng: np.random.Generator | None, *shape: int) -> FloatArray:
    """Draw from `rng`, or from numpy's global generator as the article does."""
    return np.random.randn(*shape) if rng is None else rng.standard_normal(shape)
