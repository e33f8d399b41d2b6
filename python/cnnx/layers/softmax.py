"""A dense layer followed by the softmax function: the article's third layer.

Its twin is in `cnnx/reference/softmax.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _checks, _core
from .._checks import FloatArray, RealArray
from .._random import Rng
from .base import remembered
from .dense import WeightedSums
from .initial import standard_normal

__all__ = ["Softmax"]


class Softmax(WeightedSums):
    """A dense layer followed by the softmax function.

    ``totals = input @ weights + biases``, ``output[n] = exp(totals[n]) / sum over m of exp(totals[m])``

    The maximum is subtracted from the totals first, so totals of any finite size are fine.

    Args:
        input_len: how many values the input has, in any shape; at least 1.
        nodes: how many outputs, at least 1.
        dtype: float64 or float32, of the parameters and of every result.
        rng: draws the initial weights, standard normal / input_len; None takes numpy's global generator, so that
            ``np.random.seed`` gives the article's weights to the bit.

    Attributes:
        weights: (input_len, nodes), updated in place by `backprop`. An array assigned to it is kept, not copied,
            unless the layer belongs to a network: then its values are copied.
        biases: (nodes,), initially zero; likewise.
        last_input: (input_len,), a copy of the last forward pass's input, flattened.
        last_input_shape: the shape it had.
        last_totals: (nodes,), the values before the softmax function.
    """

    kind = "Softmax"

    def __init__(
        self,
        input_len: int,
        nodes: int,
        *,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        super().__init__(input_len, nodes, dtype, rng)

    @property
    def last_totals(self) -> FloatArray | None:
        """(nodes,), the last forward pass's values before the softmax function."""
        return self._seen.totals

    @last_totals.setter
    def last_totals(self, value: FloatArray | None) -> None:
        self._seen.totals = value

    def _initial_weights(self, shape: tuple[int, int], rng: Any) -> FloatArray:
        return standard_normal(shape, rng, self._dtype, divisor=shape[0])

    def compiled(self) -> _core.Softmax:
        return _core.Softmax(weights=self._weights, biases=self._biases)

    def forward(self, input: RealArray) -> FloatArray:
        """Turn input_len values, in any shape, into probabilities (nodes,) that sum to 1."""
        flat, shape = self._flattened(input)
        output: FloatArray
        output, totals = self.core.forward(flat)
        seen = self._seen
        seen.input, seen.input_shape, seen.totals = flat, shape, totals
        return output

    def backprop(self, d_L_d_out: RealArray, learn_rate: float) -> FloatArray:
        """Take a step of gradient descent and return the gradient for the input.

        With p the softmax of last_totals:

        ``d_L_d_totals[n] = p[n] * (d_L_d_out[n] - sum over m of d_L_d_out[m] * p[m])``
        ``d_L_d_weights = outer(last_input, d_L_d_totals)``, ``d_L_d_biases = d_L_d_totals``
        ``d_L_d_input = weights @ d_L_d_totals``

        The article uses only the first non-zero entry of d_L_d_out and returns None if there is none; here every
        entry counts and a gradient of zeros gives zeros.

        Args:
            d_L_d_out: the loss gradient for the output, (nodes,).
            learn_rate: the step, finite and at least 0.

        Returns:
            d_L_d_input, in the shape of the last input, through the weights before the update.
        """
        rate = _checks.learn_rate(learn_rate)
        totals = _checks.as_shaped("last_totals", remembered(self._seen.totals), self._dtype, self._biases.shape)
        gradient, flat = self._gradient_and_input(d_L_d_out)
        shape = remembered(self._seen.input_shape)
        d_L_d_input: FloatArray = self.core.backprop(gradient, flat, totals, shape, rate)
        return d_L_d_input
