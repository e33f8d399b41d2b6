"""The rectifier.

Its twin is in `cnnx/reference/relu.py`.
"""

from __future__ import annotations

from typing import Any

from .. import _checks, _core
from .._checks import FloatArray, RealArray
from .base import Layer, remembered

__all__ = ["ReLU"]


class ReLU(Layer):
    """The rectifier, ``output = max(0, input)``, of any shape.

    Computes in its input's dtype (float64 for integers and half precision). A NaN stays NaN and passes no gradient.

    Attributes:
        last_input: what the last forward pass saw.
    """

    kind = "ReLU"

    def __init__(self) -> None:
        """Take no argument: nothing of it can be set."""

    def settings(self) -> dict[str, Any]:
        return {}

    def compiled(self) -> _core.ReLU:
        return _core.ReLU()

    def forward(self, input: RealArray) -> FloatArray:
        """Return the input with 0 in place of everything below."""
        values = _checks.as_numbers("input", input, _checks.own_float_dtype(input))
        output: FloatArray = self.core.forward(values)
        self._seen.input = values
        return output

    def backprop(self, d_L_d_out: RealArray) -> FloatArray:
        """Return d_L_d_input: the gradient where the input was above 0, zero elsewhere.

        Args:
            d_L_d_out: the loss gradient for the output, in the input's shape.
        """
        last_input = remembered(self._seen.input)
        values = _checks.as_numbers("last_input", last_input, _checks.own_float_dtype(last_input))
        gradient = _checks.as_shaped("d_L_d_out", d_L_d_out, values.dtype, values.shape)
        d_L_d_input: FloatArray = self.core.backprop(gradient, values)
        return d_L_d_input
