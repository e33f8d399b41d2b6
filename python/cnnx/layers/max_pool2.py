"""Max pooling over 2x2 windows: the article's second layer.

Its twin is in `cnnx/reference/max_pool2.py`.
"""

from __future__ import annotations

from typing import Any, Literal

from .. import _checks, _core
from .._checks import FloatArray, RealArray
from .base import Layer, remembered

__all__ = ["MaxPool2"]


class MaxPool2(Layer):
    """Max pooling over 2x2 windows; an odd last row or column is left out.

    ``output[y, x, c] = max of input[2 * y + i, 2 * x + j, c] over i, j in {0, 1}``

    Computes in its input's dtype (float64 for integers and half precision). A NaN wins its window and passes no
    gradient.

    Args:
        ties: who receives a window's gradient when several pixels equal the maximum: "all" of them (the article's
            rule) or the "first" in reading order (that of Keras and PyTorch).

    Attributes:
        last_input: (height, width, channels), what the last forward pass saw.
    """

    kind = "MaxPool2"

    def __init__(self, *, ties: Literal["all", "first"] = "all") -> None:
        self.ties = ties

    @property
    def ties(self) -> Literal["all", "first"]:
        """Who receives the gradient of equal pixels: "all" or "first"."""
        return self._ties

    @ties.setter
    def ties(self, value: Literal["all", "first"]) -> None:
        self._ties: Literal["all", "first"] = _checks.one_of("ties", value, ("all", "first"))
        self._core = None

    def settings(self) -> dict[str, Any]:
        return {"ties": self._ties}

    def compiled(self) -> _core.MaxPool2:
        return _core.MaxPool2(first_tie_only=self._ties == "first")

    def forward(self, input: RealArray) -> FloatArray:
        """Pool (height, width, channels) into (height // 2, width // 2, channels)."""
        image = _checks.as_array("input", input, _checks.own_float_dtype(input), ("height", "width", "channels"))
        output: FloatArray = self.core.forward(image)
        self._seen.input = image
        return output

    def backprop(self, d_L_d_out: RealArray) -> FloatArray:
        """Return d_L_d_input, (height, width, channels): the gradient where the maxima were, zero elsewhere.

        Args:
            d_L_d_out: the loss gradient for the output, (height // 2, width // 2, channels).
        """
        last_input = remembered(self._seen.input)
        image = _checks.as_array(
            "last_input", last_input, _checks.own_float_dtype(last_input), ("height", "width", "channels")
        )
        height, width, channels = image.shape
        gradient = _checks.as_shaped("d_L_d_out", d_L_d_out, image.dtype, (height // 2, width // 2, channels))
        d_L_d_input: FloatArray = self.core.backprop(gradient, image)
        return d_L_d_input
