"""The convolution: every filter slides over the image.

In the article: Part 1, section 3, "Convolutions", and Part 2, section 5, "Backprop: Conv". The article has no biases,
no channels in the input and no padding, and leaves the gradient for the input to the reader.
"""

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .notation import FloatArray, Rng, standard_normal

__all__ = ["Conv3x3", "conv3x3_backward", "conv3x3_forward"]

Padding: TypeAlias = Literal["valid", "same"]


def conv3x3_forward(
    input: FloatArray, filters: FloatArray, biases: FloatArray | None = None, padding: Padding = "valid"
) -> FloatArray:
    """Return the sum of products of every filter with every 3×3 window of the image.

    `output[y, x, n] = biases[n] + Σ_i Σ_j Σ_c input[y + i, x + j, c] · filters[n, i, j, c]` with i and j from 0 to 2

    The loop below takes one filter entry (i, j, c) at a time, which meets one whole channel of the image, shifted by
    (i, j). The terms of every window are added in the same order, so that equal windows give the same output to the
    bit.

    Args:
        input: (h, w, c), or (h, w) for one channel.
        filters: (n, 3, 3, c), or (n, 3, 3) for one channel.
        biases: (n,), or None.
        padding: "same" puts a border of zeros around the image first.

    Returns:
        (h − 2, w − 2, n), or with "same" padding (h, w, n).
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
    """Return `(d_L_d_input, d_L_d_filters, d_L_d_biases)`, in the shapes of the input, the filters and the biases.

    A bias and a filter entry contribute to every output pixel, and an input pixel to up to nine of them:

    `d_L_d_biases[n] = Σ_y Σ_x d_L_d_out[y, x, n]`
    `d_L_d_filters[n, i, j, c] = Σ_y Σ_x d_L_d_out[y, x, n] · input[y + i, x + j, c]`
    `d_L_d_input[y, x, c] = Σ_n Σ_i Σ_j d_L_d_out[y − i, x − j, n] · filters[n, i, j, c]`

    In the last sum, pixels outside the output count as zeros. The border of zeros that `padding="same"` puts around the
    image gets no gradient.

    Args:
        d_L_d_out: in the output's shape.
        input: as in the forward pass.
        filters: as in the forward pass.
        padding: as in the forward pass.
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
    """Return the image (h, w, c) that the filters slide over, with its border of zeros for "same" padding."""
    image = input.reshape(*input.shape[:2], -1)
    return np.pad(image, ((1, 1), (1, 1), (0, 0))) if padding == "same" else image


def _with_channels(filters: FloatArray) -> FloatArray:
    """Return filters (n, 3, 3) or (n, 3, 3, c) as (n, 3, 3, c)."""
    return filters.reshape(len(filters), 3, 3, -1)


class Conv3x3:
    """A layer of `num_filters` 3×3 filters: (h, w, c) → (h − 2, w − 2, num_filters), or (h, w, num_filters).

    Without `in_channels` it is the article's layer. It takes images (h, w). Its `filters` (num_filters, 3, 3) are
    standard normal / 9 at first, and it has no `biases`.

    With `in_channels` it can be stacked. It takes images (h, w, in_channels), or (h, w) for one channel. Its `filters`
    (num_filters, 3, 3, in_channels) are standard normal · √(2 / (9 · in_channels)) at first, and its `biases`
    (num_filters,) are zeros. `padding="same"` keeps height and width.
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
        rng: Rng = None,
    ) -> None:
        self.num_filters, self.in_channels, self.padding = num_filters, in_channels, padding
        if in_channels is None:
            initial = standard_normal(rng, num_filters, 3, 3) / 9
        else:
            initial = standard_normal(rng, num_filters, 3, 3, in_channels) * np.sqrt(2 / (9 * in_channels))
        self.filters: FloatArray = initial.astype(dtype)
        has_bias = in_channels is not None if use_bias is None else use_bias
        self.biases: FloatArray | None = np.zeros(num_filters, dtype) if has_bias else None

    def forward(self, input: FloatArray) -> FloatArray:
        """Return `conv3x3_forward` of the image, and remember the image."""
        self.last_input = input
        return conv3x3_forward(input, self.filters, self.biases, self.padding)

    def backprop(self, d_L_d_out: FloatArray, learn_rate: float) -> FloatArray:
        """Take a step of gradient descent, and return `d_L_d_input`, computed with the filters before the step."""
        d_L_d_input, d_L_d_filters, d_L_d_biases = conv3x3_backward(
            d_L_d_out, self.last_input, self.filters, self.padding
        )
        self.filters -= learn_rate * d_L_d_filters
        if self.biases is not None:
            self.biases -= learn_rate * d_L_d_biases
        return d_L_d_input
