"""Dropout.

Its twin in numpy is in `cnnx/reference/dropout.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _checks, _core
from .._checks import FloatArray, RealArray
from .base import Layer, remembered

__all__ = ["Dropout"]


class Dropout(Layer):
    """Sets a random share of the values to 0 while a network is trained.

    In `Sequential.fit` and `Sequential.gradients` each value becomes 0 with probability `rate`, and the others are
    divided by 1 - rate, so that the expected sum stays. Everywhere else, the layer's own `forward` and `backprop`
    included, it changes nothing. Which values become 0 depends on the run's seed, the sample's number in the run
    and the layer's position, and not on threads.

    It is not in the article, but from Srivastava et al., 2014, "Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting".

    Args:
        rate: the share that becomes 0, at least 0 and less than 1.

    Attributes:
        rate: as given.
        last_input: the input of the last forward pass.
    """

    kind = "Dropout"

    def __init__(self, rate: float) -> None:
        self.rate = rate

    @property
    def rate(self) -> float:
        """The share that becomes 0, at least 0 and less than 1."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        self._rate = _checks.share("rate", value)
        self._core = None

    def settings(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def compiled(self) -> _core.Dropout:
        return _core.Dropout(rate=self._rate)

    def forward(self, input: RealArray) -> FloatArray:
        """Return a copy of the input."""
        values = _checks.as_numbers("input", input, _checks.own_float_dtype(input))
        self._seen.input = values
        return np.copy(values)

    def backprop(self, d_L_d_out: RealArray) -> FloatArray:
        """Return a copy of the gradient.

        Args:
            d_L_d_out: the gradient of the loss for the output, in the input's shape.
        """
        values = remembered(self._seen.input)
        return np.copy(_checks.as_shaped("d_L_d_out", d_L_d_out, values.dtype, values.shape))
