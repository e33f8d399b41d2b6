"""The passes of every layer in plain numpy, forward and backward beside each other.

Layouts: an image is (height, width) or (height, width, channels), as are the outputs of a convolution and of a
pooling; filters are (num_filters, 3, 3) or (num_filters, 3, 3, channels); dense weights are (input_len, nodes).
`d_L_d_x` has the shape of `x` and holds the derivative of the loss L with respect to every entry of `x`.
Everything is computed in the dtype of its arguments.

Source: Victor Zhou, *CNNs, Part 1: An Introduction to Convolutional Neural Networks* (the forward passes) and
*CNNs, Part 2: Training a Convolutional Neural Network* (the backward passes).
"""

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "conv3x3_backward",
    "conv3x3_forward",
    "cross_entropy",
    "dense_backward",
    "dense_forward",
    "max_pool2_backward",
    "max_pool2_forward",
    "relu_backward",
    "relu_forward",
    "softmax_backward",
    "softmax_forward",
]

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
Padding: TypeAlias = Literal["valid", "same"]


def conv3x3_forward(
    input: FloatArray, filters: FloatArray, biases: FloatArray | None = None, padding: Padding = "valid"
) -> FloatArray:
    """Slide every filter over the image.

    `output[y, x, n] = biases[n] + Σ_i Σ_j Σ_c input[y + i, x + j, c] · filters[n, i, j, c]` with i, j in 0..2: each
    filter entry meets one whole channel of the image, shifted by (i, j). `input` is (h, w, c), `filters`
    (n, 3, 3, c), `biases` (n,) if there are any, the result (h − 2, w − 2, n); where c is 1, its axis may be left
    out. `padding="same"` puts a border of zeros around the image first, so that the result is (h, w, n). Every
    window's terms are added in the same order, so equal windows give bit-equal outputs.
    """
    image, taps = _image(input, padding), _with_channels(filters)
    height, width, channels = image.shape[0] - 2, image.shape[1] - 2, image.shape[2]
    output = np.zeros((height, width, len(filters)), np.result_type(input, filters))
    if biases is not None:
        output += biases
    for i, j, c in np.ndindex(3, 3, channels):
        shifted = image[i : i + height, j : j + width, c]
        output += shifted[:, :, np.newaxis] * taps[:, i, j, c]
    return output


def conv3x3_backward(
    d_L_d_out: FloatArray, input: FloatArray, filters: FloatArray, padding: Padding = "valid"
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `(d_L_d_input, d_L_d_filters, d_L_d_biases)` of the convolution.

    A bias and a filter entry touch every output pixel once, an input pixel touches up to nine of them:

    `d_L_d_biases[n] = Σ_y Σ_x d_L_d_out[y, x, n]`
    `d_L_d_filters[n, i, j, c] = Σ_y Σ_x d_L_d_out[y, x, n] · input[y + i, x + j, c]`
    `d_L_d_input[y + i, x + j, c] = Σ_n Σ over every such y, x, i, j of d_L_d_out[y, x, n] · filters[n, i, j, c]`

    Shapes are those of the forward pass; what `padding="same"` put around the image has no gradient.
    """
    image, taps = _image(input, padding), _with_channels(filters)
    height, width, _ = d_L_d_out.shape
    d_L_d_image = np.zeros(image.shape, filters.dtype)
    d_L_d_taps = np.zeros_like(taps)
    for i, j in np.ndindex(3, 3):
        shifted = np.s_[i : i + height, j : j + width]
        d_L_d_taps[:, i, j] = np.tensordot(d_L_d_out, image[shifted], axes=((0, 1), (0, 1)))
        d_L_d_image[shifted] += d_L_d_out @ taps[:, i, j]
    d_L_d_input = d_L_d_image[1:-1, 1:-1] if padding == "same" else d_L_d_image
    return d_L_d_input.reshape(input.shape), d_L_d_taps.reshape(filters.shape), np.sum(d_L_d_out, axis=(0, 1))


def _image(input: FloatArray, padding: Padding) -> FloatArray:
    """Return the (h, w, c) that the filters slide over, with its border of zeros if it has one."""
    image = input.reshape(*input.shape[:2], -1)
    return np.pad(image, ((1, 1), (1, 1), (0, 0))) if padding == "same" else image


def _with_channels(filters: FloatArray) -> FloatArray:
    """Return filters (n, 3, 3) or (n, 3, 3, c) as (n, 3, 3, c)."""
    return filters.reshape(len(filters), 3, 3, -1)


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


def relu_forward(input: FloatArray) -> FloatArray:
    """Replace what is negative by zero: `output = max(0, input)`, in any shape. A NaN stays one."""
    return np.where(input <= 0, 0, input)


def relu_backward(d_L_d_out: FloatArray, input: FloatArray) -> FloatArray:
    """Return `d_L_d_input`: the gradient where `input > 0`, else 0. All three have one shape."""
    return np.where(input > 0, d_L_d_out, 0)


def dense_forward(input: FloatArray, weights: FloatArray, biases: FloatArray) -> FloatArray:
    """Return the totals (nodes,): every node adds up all the inputs, each with a weight of its own, and a bias.

    `totals[k] = Σ_m input[m] · weights[m, k] + biases[k]`

    `input` has any shape of input_len values, `weights` is (input_len, nodes), `biases` (nodes,).
    """
    totals: FloatArray = input.flatten() @ weights + biases
    return totals


def dense_backward(
    d_L_d_totals: FloatArray, input: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `(d_L_d_input, d_L_d_weights, d_L_d_biases)`; the first is flat, (input_len,).

    `d_L_d_input[m] = Σ_k weights[m, k] · d_L_d_totals[k]`
    `d_L_d_weights[m, k] = input[m] · d_L_d_totals[k]`
    `d_L_d_biases[k] = d_L_d_totals[k]`

    `d_L_d_totals` is (nodes,), the other shapes are those of the forward pass.
    """
    return weights @ d_L_d_totals, np.outer(input, d_L_d_totals), d_L_d_totals.copy()


def softmax_forward(input: FloatArray, weights: FloatArray, biases: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return `(probabilities, totals)` of a dense layer with a softmax, both (nodes,).

    `probabilities[k] = e^totals[k] / Σ_l e^totals[l]`
    """
    totals = dense_forward(input, weights, biases)
    return _probabilities(totals), totals


def softmax_backward(
    d_L_d_out: FloatArray, input: FloatArray, weights: FloatArray, totals: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `(d_L_d_input, d_L_d_weights, d_L_d_biases)`; the first is flat, (input_len,).

    With p the probabilities, a total t_k raises its own probability and lowers all others:
    `d p_l / d t_k = p_k · (1 − p_k)` where l = k and `−p_l · p_k` elsewhere. Summed over every output l,

    `d_L_d_totals[k] = Σ_l d_L_d_out[l] · (d p_l / d t_k) = p_k · (d_L_d_out[k] − Σ_l p_l · d_L_d_out[l])`

    and from there on it is a dense layer. The article follows one non-zero entry of `d_L_d_out`; this is the same
    derivation for any number of them. `d_L_d_out` and `totals` are (nodes,).
    """
    probabilities = _probabilities(totals)
    d_L_d_totals = probabilities * (d_L_d_out - probabilities @ d_L_d_out)
    return dense_backward(d_L_d_totals, input, weights)


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
