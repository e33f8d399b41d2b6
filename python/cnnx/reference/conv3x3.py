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
