"""The rectifier.

Its twin in numpy is in `cnnx/reference/relu.py`.
"""

from __future__ import annotations

from typing import Any

from .. import _checks, _core
from .._checks import FloatArray, RealArray
from .base import Layer, remembered

__all__ = ["ReLU"]


class ReLU(Layer):
    """The rectifier, ``output = max(0, input)``, for inputs of any shape.

    It is not in the article, but from Nair and Hinton, 2010, "Rectified Linear Units Improve Restricted Boltzmann
    Machines". The layer computes in its input's dtype, and in float64 for integers and half precision. A NaN stays NaN,
    and passes no gradient on.

    Attributes:
        last_input: the input of the last forward pass.
    """

    kind = "ReLU"

    def __init__(self) -> None:
        """Make the layer, which has no settings."""

    def settings(self) -> dict[str, Any]:
        return {}

    def compiled(self) -> _core.ReLU:
        return _core.ReLU()

    def forward(self, input: RealArray) -> FloatArray:
        """Return a copy of the input in which 0 replaces every negative value."""
        values = _checks.as_numbers("input", input, _checks.own_float_dtype(input))
        output: FloatArray = self.core.forward(values)
        self._seen.input = values
        return output

    def backprop(self, d_L_d_out: RealArray) -> FloatArray:
        """Return d_L_d_input, in the input's shape: the gradient where the input is above 0, and zero elsewhere.

        Args:
            d_L_d_out: the gradient of the loss for the output, in the input's shape.
        """
        last_input = remembered(self._seen.input)
        values = _checks.as_numbers("last_input", last_input, _checks.own_float_dtype(last_input))
        gradient = _checks.as_shaped("d_L_d_out", d_L_d_out, values.dtype, values.shape)
        d_L_d_input: FloatArray = self.core.backprop(gradient, values)
        return d_L_d_input
