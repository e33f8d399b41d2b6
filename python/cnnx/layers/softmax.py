"""The softmax layer, the article's third: a dense layer followed by the softmax function.

Its twin in numpy is in `cnnx/reference/softmax.py`.
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
    """A dense layer followed by the softmax function, from the article's Part 1, section 5, "Softmax".

    ``totals = input @ weights + biases``
    ``output[n] = exp(totals[n]) / sum over m of exp(totals[m])``

    The largest total is subtracted from all of them first, which changes no output and lets no exp overflow.

    Args:
        input_len: how many values the input has, at least 1. The input may have any shape.
        nodes: how many outputs, at least 1: one per class.
        dtype: float64 or float32, of the parameters and of every result.
        rng: draws the initial weights, standard normal / input_len. A `numpy.random.Generator`, an integer seed, or
            None for numpy's global generator: ``np.random.seed`` then gives the article's weights to the bit.

    Attributes:
        weights: (input_len, nodes), updated in place by `backprop`. An array that is assigned is kept, not copied. If
            the layer belongs to a network, the values are copied into the network's array instead.
        biases: (nodes,), zeros at first; assigned like `weights`.
        last_input: (input_len,), a flat copy of the last forward pass's input.
        last_input_shape: the shape of that input before it was flattened.
        last_totals: (nodes,), the last forward pass's values before the softmax function.
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
        """(nodes,), the last forward pass's values before the softmax function; None before the first."""
        return self._seen.totals

    @last_totals.setter
    def last_totals(self, value: FloatArray | None) -> None:
        self._seen.totals = value

    def _initial_weights(self, shape: tuple[int, int], rng: Any) -> FloatArray:
        return standard_normal(shape, rng, self._dtype, divisor=shape[0])

    def compiled(self) -> _core.Softmax:
        return _core.Softmax(weights=self._weights, biases=self._biases, trainable=self._trainable)

    def forward(self, input: RealArray) -> FloatArray:
        """Return probabilities (nodes,), which sum to 1, for `input`, which has input_len values in any shape."""
        flat, shape = self._flattened(input)
        output: FloatArray
        output, totals = self.core.forward(flat)
        seen = self._seen
        seen.input, seen.input_shape, seen.totals = flat, shape, totals
        return output

    def backprop(self, d_L_d_out: RealArray, learn_rate: float) -> FloatArray:
        """Take a step of gradient descent, and return the gradient for the input.

        With p[n] the output for last_totals:

        ``d_L_d_totals[n] = p[n] * (d_L_d_out[n] - sum over m of d_L_d_out[m] * p[m])``
        ``d_L_d_weights[m, n] = last_input[m] * d_L_d_totals[n]``
        ``d_L_d_biases[n] = d_L_d_totals[n]``
        ``d_L_d_input[m] = sum over n of weights[m, n] * d_L_d_totals[n]``

        They are from the article's Part 2, section 3, "Backprop: Softmax". The article uses only the first entry of
        d_L_d_out that is not zero, and returns None if there is none. Here every entry counts, and a gradient of zeros
        gives zeros.

        Args:
            d_L_d_out: (nodes,), the gradient of the loss for the output.
            learn_rate: how far the step goes, finite and at least 0.

        Returns:
            d_L_d_input in the shape of the last input, computed with the weights before the step.
        """
        rate = _checks.learn_rate(learn_rate)
        totals = _checks.as_shaped("last_totals", remembered(self._seen.totals), self._dtype, self._biases.shape)
        gradient, flat = self._gradient_and_input(d_L_d_out)
        shape = remembered(self._seen.input_shape)
        d_L_d_input: FloatArray
        if self._gradients is None:
            d_L_d_input = self.core.backprop(gradient, flat, totals, shape, rate)
        else:
            d_L_d_input = self.core.gradient(gradient, flat, totals, shape, **self._collected())
        return d_L_d_input
