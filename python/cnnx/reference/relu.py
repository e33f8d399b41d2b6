"""The rectifier: positive values pass, and all others become zero.

It is not in the article. Source: Nair and Hinton, *Rectified Linear Units Improve Restricted Boltzmann Machines*
(2010).
"""

import numpy as np

from .notation import FloatArray

__all__ = ["ReLU", "relu_backward", "relu_forward"]


def relu_forward(input: FloatArray) -> FloatArray:
    """Return `max(0, input)`, in any shape: negative values become zero. A NaN stays NaN."""
    return np.where(input <= 0, np.zeros_like(input), input)  # a plain 0 is a float64 to numpy 1


def relu_backward(d_L_d_out: FloatArray, input: FloatArray) -> FloatArray:
    """Return `d_L_d_input`: the gradient where `input > 0`, and 0 elsewhere. All three have the same shape."""
    return np.where(input > 0, d_L_d_out, np.zeros_like(input))


class ReLU:
    """A layer that lets positive values through, in any shape."""

    last_input: FloatArray

    def forward(self, input: FloatArray) -> FloatArray:
        """Return `max(0, input)`."""
        self.last_input = input
        return relu_forward(input)

    def backprop(self, d_L_d_out: FloatArray) -> FloatArray:
        """Return `d_L_d_input`, in the input's shape."""
        return relu_backward(d_L_d_out, self.last_input)
