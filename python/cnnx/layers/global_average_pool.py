"""The mean over height and width.

Its twin in numpy is in `cnnx/reference/global_average_pool.py`.
"""

from __future__ import annotations

from typing import Any

from .. import _checks, _core
from .._checks import FloatArray, RealArray
from .base import Layer, remembered

__all__ = ["GlobalAveragePool"]


class GlobalAveragePool(Layer):
    """The mean of each channel over height and width: (height, width, channels) -> (channels,).

    ``output[c] = sum over y, x of input[y, x, c] / (height * width)``

    It is not in the article, but from Lin et al., 2014, "Network In Network". After it, a network takes images of any
    size. The layer computes in its input's dtype, and in float64 for integers and half precision.

    Attributes:
        last_input: (height, width, channels), the input of the last forward pass.
    """

    kind = "GlobalAveragePool"

    def __init__(self) -> None:
        """Make the layer, which has no settings."""

    def settings(self) -> dict[str, Any]:
        return {}

    def compiled(self) -> _core.GlobalAveragePool:
        return _core.GlobalAveragePool()

    def forward(self, input: RealArray) -> FloatArray:
        """Return the means (channels,) of an input (height, width, channels), each of which is at least 1."""
        image = _checks.as_array("input", input, _checks.own_float_dtype(input), ("height", "width", "channels"))
        if image.size == 0:
            raise ValueError(f"input: expected at least one value in (height, width, channels), got {image.shape}")
        output: FloatArray = self.core.forward(image)
        self._seen.input = image
        return output

    def backprop(self, d_L_d_out: RealArray) -> FloatArray:
        """Return d_L_d_input (height, width, channels): ``d_L_d_out[c] / (height * width)`` at every pixel.

        Args:
            d_L_d_out: (channels,), the gradient of the loss for the output.
        """
        last_input = remembered(self._seen.input)
        image = _checks.as_array(
            "last_input", last_input, _checks.own_float_dtype(last_input), ("height", "width", "channels")
        )
        gradient = _checks.as_shaped("d_L_d_out", d_L_d_out, image.dtype, image.shape[2:])
        d_L_d_input: FloatArray = self.core.backprop(gradient, image)
        return d_L_d_input
