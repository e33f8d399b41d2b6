"""Max pooling: the largest of every 2×2 pixels stays.

In the article: Part 1, section 4, "Pooling", and Part 2, section 4, "Backprop: Max Pooling".
"""

from typing import Literal

import numpy as np

from .notation import FloatArray

__all__ = ["MaxPool2", "max_pool2_backward", "max_pool2_forward"]


def max_pool2_forward(input: FloatArray) -> FloatArray:
    """Return the largest of every 2×2 pixels, channel by channel: (h, w, c) → (h // 2, w // 2, c).

    `output[y, x, c] = max over i and j of input[2y + i, 2x + j, c]` with i and j from 0 to 1

    An odd last row or column is left out. A NaN in a window is that window's maximum.
    """
    return np.asarray(np.amax(_windows_of_four(input), axis=-1))


def max_pool2_backward(d_L_d_out: FloatArray, input: FloatArray, ties: Literal["all", "first"] = "all") -> FloatArray:
    """Return `d_L_d_input` (h, w, c): a window's gradient goes to the pixel that is its maximum, and nowhere else.

    If several pixels of a window equal its maximum, `ties="all"` gives the whole gradient to each of them, as the
    article does. `ties="first"` gives it to the first of them in reading order, as Keras and PyTorch do. A NaN equals
    nothing, not even itself, so a window with a NaN passes no gradient on.

    Args:
        d_L_d_out: (h // 2, w // 2, c).
        input: (h, w, c), as in the forward pass.
        ties: which of several equal pixels receive the gradient.
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
    """Cut (h, w, c) into 2×2 windows: (h // 2, w // 2, c, 4), where the last axis is a window in reading order."""
    height, width, channels = input.shape[0] // 2, input.shape[1] // 2, input.shape[2]
    split = input[: 2 * height, : 2 * width].reshape(height, 2, width, 2, channels)
    pixels_last: FloatArray = split.transpose(0, 2, 4, 1, 3)
    return pixels_last.reshape(height, width, channels, 4)


class MaxPool2:
    """A layer that halves height and width: (h, w, c) → (h // 2, w // 2, c)."""

    last_input: FloatArray

    def __init__(self, *, ties: Literal["all", "first"] = "all") -> None:
        self.ties: Literal["all", "first"] = ties

    def forward(self, input: FloatArray) -> FloatArray:
        """Return `max_pool2_forward` of the input (h, w, c), and remember the input."""
        self.last_input = input
        return max_pool2_forward(input)

    def backprop(self, d_L_d_out: FloatArray) -> FloatArray:
        """Return `d_L_d_input` (h, w, c) for `d_L_d_out` (h // 2, w // 2, c)."""
        return max_pool2_backward(d_L_d_out, self.last_input, self.ties)
