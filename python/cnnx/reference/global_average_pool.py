"""Global average pooling: each channel becomes its mean over height and width.

It is not in the article. Source: Lin et al., *Network In Network* (2014).
"""

import numpy as np

from .notation import FloatArray

__all__ = ["GlobalAveragePool"]


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
