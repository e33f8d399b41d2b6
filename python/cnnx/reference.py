"""The article's network in plain numpy: what a learner reads, and what the tests trust.

The compiled core computes the formulas of this file. Nothing here is fast and nothing here is clever; the two
share no code, so that each can be held against the other.

Layouts: an image is (height, width); the outputs of a convolution and of a pooling are (height, width,
channels); filters are (num_filters, 3, 3); dense weights are (input_len, nodes). `d_L_d_x` has the shape of
`x` and holds the derivative of the loss L with respect to every entry of `x`. Everything is computed in the
dtype of its arguments.

Source: Victor Zhou, *CNNs, Part 1: An Introduction to Convolutional Neural Networks* (the forward passes) and
*CNNs, Part 2: Training a Convolutional Neural Network* (the backward passes).
"""

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Conv3x3",
    "MaxPool2",
    "Softmax",
    "conv3x3_backward",
    "conv3x3_forward",
    "cross_entropy",
    "max_pool2_backward",
    "max_pool2_forward",
    "softmax_backward",
    "softmax_forward",
]

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]


def conv3x3_forward(input: FloatArray, filters: FloatArray) -> FloatArray:
    """Slide every filter over the image, without padding.

    `output[y, x, n] = Σ_i Σ_j input[y + i, x + j] · filters[n, i, j]` with i, j in 0..2: each of the nine
    filter entries meets the whole image once, shifted by (i, j). `input` is (h, w), `filters` (n, 3, 3), the
    result (h − 2, w − 2, n). Every window's terms are added in the same order, so equal windows give
    bit-equal outputs.
    """
    height, width = input.shape[0] - 2, input.shape[1] - 2
    output = np.zeros((height, width, len(filters)), np.result_type(input, filters))
    for i, j in np.ndindex(3, 3):
        shifted = input[i : i + height, j : j + width]
        output += shifted[:, :, np.newaxis] * filters[:, i, j]
    return output


def conv3x3_backward(d_L_d_out: FloatArray, input: FloatArray, filters: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return `(d_L_d_input, d_L_d_filters)` of the convolution.

    A filter entry touches every output pixel once, an input pixel touches up to nine of them:

    `d_L_d_filters[n, i, j] = Σ_y Σ_x d_L_d_out[y, x, n] · input[y + i, x + j]`
    `d_L_d_input[y + i, x + j] = Σ_n Σ over every such y, x, i, j of d_L_d_out[y, x, n] · filters[n, i, j]`

    `d_L_d_out` is (h − 2, w − 2, n), `input` (h, w), `filters` (n, 3, 3).
    """
    height, width, _ = d_L_d_out.shape
    d_L_d_input = np.zeros(input.shape, filters.dtype)
    d_L_d_filters = np.zeros_like(filters)
    for i, j in np.ndindex(3, 3):
        shifted = np.s_[i : i + height, j : j + width]
        d_L_d_filters[:, i, j] = np.tensordot(input[shifted], d_L_d_out, axes=2)
        d_L_d_input[shifted] += d_L_d_out @ filters[:, i, j]
    return d_L_d_input, d_L_d_filters


def max_pool2_forward(input: FloatArray) -> FloatArray:
    """Keep the largest of every 2×2 pixels, channel by channel.

    `output[y, x, c] = max of input[2y + i, 2x + j, c]` with i, j in 0..1. `input` is (h, w, c), the result
    (h // 2, w // 2, c): an odd last row or column is left out. A NaN in a window is that window's maximum.
    """
    return np.asarray(np.amax(_windows_of_four(input), axis=-1))


def max_pool2_backward(d_L_d_out: FloatArray, input: FloatArray, ties: Literal["all", "first"] = "all") -> FloatArray:
    """Return `d_L_d_input`: the gradient goes to the pixel that was the maximum, and nowhere else.

    Where several pixels of a window equal its maximum, `ties="all"` gives the whole gradient to each of them,
    as the article does; `ties="first"` gives it to the first in row-major order, as Keras and PyTorch do. A
    NaN equals nothing, itself included, so a window with a NaN passes no gradient on. `d_L_d_out` is (h // 2,
    w // 2, c), `input` and the result (h, w, c).
    """
    windows = _windows_of_four(input)
    receives = windows == np.amax(windows, axis=-1, keepdims=True)
    if ties == "first":
        receives &= np.cumsum(receives, axis=-1) == 1
    d_L_d_windows = np.where(receives, d_L_d_out[..., np.newaxis], 0)

    height, width, channels = d_L_d_out.shape
    d_L_d_input = np.zeros(input.shape, d_L_d_out.dtype)
    d_L_d_input[: 2 * height, : 2 * width] = (
        d_L_d_windows.reshape(height, width, channels, 2, 2)
        .transpose(0, 3, 1, 4, 2)
        .reshape(2 * height, 2 * width, channels)
    )
    return d_L_d_input


def _windows_of_four(input: FloatArray) -> FloatArray:
    """Cut (h, w, c) into 2×2 windows: (h // 2, w // 2, c, 4), a window's four pixels in row-major order."""
    height, width, channels = input.shape[0] // 2, input.shape[1] // 2, input.shape[2]
    split = input[: 2 * height, : 2 * width].reshape(height, 2, width, 2, channels)
    pixels_last: FloatArray = split.transpose(0, 2, 4, 1, 3)
    return pixels_last.reshape(height, width, channels, 4)


def softmax_forward(input: FloatArray, weights: FloatArray, biases: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return `(probabilities, totals)` of a dense layer with a softmax.

    `totals[k] = Σ_m input[m] · weights[m, k] + biases[k]`
    `probabilities[k] = e^totals[k] / Σ_l e^totals[l]`

    `input` has any shape of input_len values, `weights` is (input_len, nodes); `biases` and both results
    (nodes,).
    """
    totals = input.flatten() @ weights + biases
    return _probabilities(totals), totals


def softmax_backward(
    d_L_d_out: FloatArray, input: FloatArray, weights: FloatArray, totals: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `(d_L_d_input, d_L_d_weights, d_L_d_biases)`; the first is flat, (input_len,).

    With p the probabilities, a total t_k raises its own probability and lowers all others:
    `d p_l / d t_k = p_k · (1 − p_k)` where l = k and `−p_l · p_k` elsewhere. Summed over every output l,

    `d_L_d_totals[k] = Σ_l d_L_d_out[l] · (d p_l / d t_k) = p_k · (d_L_d_out[k] − Σ_l p_l · d_L_d_out[l])`

    and since the totals are `input @ weights + biases`,

    `d_L_d_weights[m, k] = input[m] · d_L_d_totals[k]`
    `d_L_d_biases[k] = d_L_d_totals[k]`
    `d_L_d_input[m] = Σ_k weights[m, k] · d_L_d_totals[k]`

    The article follows one non-zero entry of `d_L_d_out`; this is the same derivation for any number of them.
    `d_L_d_out` and `totals` are (nodes,), `input` any shape of input_len values, `weights` (input_len,
    nodes).
    """
    probabilities = _probabilities(totals)
    d_L_d_totals = probabilities * (d_L_d_out - probabilities @ d_L_d_out)
    return weights @ d_L_d_totals, np.outer(input, d_L_d_totals), d_L_d_totals


def _probabilities(totals: FloatArray) -> FloatArray:
    """Softmax of (nodes,) totals; subtracting their maximum changes no quotient and lets none overflow."""
    exponentials = np.exp(totals - np.amax(totals))
    return np.asarray(exponentials / np.sum(exponentials))


def cross_entropy(out: FloatArray, label: int) -> tuple[float, FloatArray]:
    """Return `(loss, d_L_d_out)` of one sample: how surprised the network is by the right answer.

    `loss = −ln p` with `p = out[label]`, so `d_L_d_out[label] = −1 / p` and every other entry is zero. p is
    at least the smallest normal number of the dtype, so both stay finite when a probability underflows to
    zero. `out` and `d_L_d_out` are (nodes,), `label` is in 0..nodes−1.
    """
    p = np.maximum(out[label], np.finfo(out.dtype).smallest_normal)
    d_L_d_out = np.zeros_like(out)
    d_L_d_out[label] = -1 / p
    return float(-np.log(p)), d_L_d_out


class Conv3x3:
    """A layer of `num_filters` 3×3 filters: (h, w) → (h − 2, w − 2, num_filters).

    `filters` (num_filters, 3, 3) starts as standard normal values divided by 9.
    """

    last_input: FloatArray

    def __init__(
        self,
        num_filters: int,
        *,
        dtype: npt.DTypeLike = np.float64,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.num_filters = num_filters
        self.filters: FloatArray = (_standard_normal(rng, num_filters, 3, 3) / 9).astype(dtype)

    def forward(self, input: FloatArray) -> FloatArray:
        """Return the (h − 2, w − 2, num_filters) responses to an image (h, w)."""
        self.last_input = input
        return conv3x3_forward(input, self.filters)

    def backprop(self, d_L_d_out: FloatArray, learn_rate: float) -> FloatArray:
        """Step the filters downhill; return `d_L_d_input` (h, w), through the filters before the step."""
        d_L_d_input, d_L_d_filters = conv3x3_backward(d_L_d_out, self.last_input, self.filters)
        self.filters -= learn_rate * d_L_d_filters
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
