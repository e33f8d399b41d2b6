"""Max pooling over 2x2 windows, the article's second layer.

Its twin in numpy is in `cnnx/reference/max_pool2.py`.
"""

from __future__ import annotations

from typing import Any, Literal

from .. import _checks, _core
from .._checks import FloatArray, RealArray
from .base import Layer, remembered

__all__ = ["MaxPool2"]


class MaxPool2(Layer):
    """Max pooling over 2x2 windows, from the article's Part 1, section 4, "Pooling".

    ``output[y, x, c] = the largest of input[2 * y + dy, 2 * x + dx, c]``

    where dy and dx are 0 or 1. An odd last row or column is left out. The layer computes in its input's dtype, and in
    float64 for integers and half precision. A NaN is its window's maximum, and passes no gradient on.

    Args:
        ties: which pixels receive a window's gradient if several equal its maximum: "all" of them, as in the article,
            or the "first" of them in reading order, as in Keras and PyTorch.

    Attributes:
        ties: as given.
        last_input: (height, width, channels), the input of the last forward pass.
    """

    kind = "MaxPool2"

    def __init__(self, *, ties: Literal["all", "first"] = "all") -> None:
        self.ties = ties

    @property
    def ties(self) -> Literal["all", "first"]:
        """Which of several equal pixels receive the gradient: "all" or "first"."""
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
        """Return the maxima (height // 2, width // 2, channels) of an input (height, width, channels)."""
        image = _checks.as_array("input", input, _checks.own_float_dtype(input), ("height", "width", "channels"))
        output: FloatArray = self.core.forward(image)
        self._seen.input = image
        return output

    def backprop(self, d_L_d_out: RealArray) -> FloatArray:
        """Return d_L_d_input (height, width, channels): the gradient where the maxima are, and zero elsewhere.

        The article's Part 2, section 4, "Backprop: Max Pooling", derives it.

        Args:
            d_L_d_out: (height // 2, width // 2, channels), the gradient of the loss for the output.
        """
        last_input = remembered(self._seen.input)
        image = _checks.as_array(
            "last_input", last_input, _checks.own_float_dtype(last_input), ("height", "width", "channels")
        )
        height, width, channels = image.shape
        gradient = _checks.as_shaped("d_L_d_out", d_L_d_out, image.dtype, (height // 2, width // 2, channels))
        d_L_d_input: FloatArray = self.core.backprop(gradient, image)
        return d_L_d_input
