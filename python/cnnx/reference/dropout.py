"""Dropout: while a network is trained, a random share of the values becomes zero.

It is not in the article. Source: Srivastava et al., *Dropout: A Simple Way to Prevent Neural Networks from Overfitting*
(2014).
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .notation import FloatArray

__all__ = ["Dropout", "dropout"]

WholeNumbers: TypeAlias = npt.NDArray[np.integer[Any]]


def dropout(input: FloatArray, rate: float, key: int) -> FloatArray:
    """Return `input` with a random share of its values set to zero and the others enlarged.

    `output[i] = input[i] / (1 − rate)` with probability `1 − rate`, else 0

    The expected sum stays the same, so that there is nothing to do when a trained network is used. Which values stay
    depends on `key` and on their places alone. So `dropout(d_L_d_out, rate, key)` is the backward pass.

    Args:
        input: any shape.
        rate: the share of zeros, at least 0 and below 1.
        key: a whole number of 64 bits.
    """
    rate = min(input.dtype.type(rate), np.nextafter(input.dtype.type(1), input.dtype.type(0)))
    numbers = _random_numbers(input.size, key).reshape(input.shape)
    return np.where(numbers < int(float(rate) * 2**32), 0, 1 / (1 - rate) * input)


def _random_numbers(count: int, key: int) -> WholeNumbers:
    """Return (count,) numbers from 0 to 2³² − 1, each a hash of its place and of both halves of `key`."""
    low, high = np.uint32(key % 2**32), np.uint32(key >> 32)
    return _mixed(_mixed(np.arange(count, dtype=np.uint32) + low) ^ high)


def _mixed(x: WholeNumbers) -> WholeNumbers:
    """Mix the 32 bits of each number. The constants are from C. Wellons' search for low bias (lowbias32)."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


class Dropout:
    """A layer that changes nothing when it is called by hand. While a network is trained, it computes `dropout`."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def forward(self, input: FloatArray) -> FloatArray:
        """Return a copy of `input`."""
        return np.copy(input)

    def backprop(self, d_L_d_out: FloatArray) -> FloatArray:
        """Return a copy of `d_L_d_out`."""
        return np.copy(d_L_d_out)
