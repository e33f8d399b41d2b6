"""A dense layer, and what it shares with the softmax layer.

Its twin is in `cnnx/reference/dense.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _checks, _core
from .._checks import FloatArray, RealArray
from .._random import Rng
from .base import Layer, remembered
from .initial import he_deviation, standard_normal

__all__ = ["Dense"]


class WeightedSums(Layer):
    """What Dense and Softmax share: ``totals = input @ weights + biases``."""

    def __init__(self, input_len: int, nodes: int, dtype: DTypeLike, rng: Any) -> None:
        self._dtype = _checks.float_dtype(dtype)
        shape = (_checks.positive_integer("input_len", input_len), _checks.positive_integer("nodes", nodes))
        self._weights = self._initial_weights(shape, rng)
        self._biases: FloatArray = np.zeros(shape[1], self._dtype)

    def _initial_weights(self, shape: tuple[int, int], rng: Any) -> FloatArray:
        raise NotImplementedError

    @property
    def last_input_shape(self) -> tuple[int, ...] | None:
        """The shape that the last forward pass's input had."""
        return self._seen.input_shape

    @last_input_shape.setter
    def last_input_shape(self, value: tuple[int, ...] | None) -> None:
        self._seen.input_shape = value

    @property
    def weights(self) -> FloatArray:
        """(input_len, nodes) in the layer's dtype."""
        return self._weights

    @weights.setter
    def weights(self, value: FloatArray) -> None:
        self._weights = self._assigned("weights", value, self._weights, apart_from=self._biases)

    @property
    def biases(self) -> FloatArray:
        """(nodes,) in the layer's dtype."""
        return self._biases

    @biases.setter
    def biases(self, value: FloatArray) -> None:
        self._biases = self._assigned("biases", value, self._biases, apart_from=self._weights)

    def settings(self) -> dict[str, Any]:
        input_len, nodes = self._weights.shape
        return {"input_len": input_len, "nodes": nodes, "dtype": str(self._dtype)}

    def parameters(self) -> dict[str, FloatArray]:
        return {"weights": self._weights, "biases": self._biases}

    def _flattened(self, input: Any) -> tuple[Any, tuple[int, ...]]:
        """Return a flat copy of an input, as the article keeps it, and its shape."""
        values = _checks.as_numbers("input", input, self._dtype)
        input_len = self._weights.shape[0]
        if values.size != input_len:
            raise ValueError(f"input: expected {input_len} values, got {values.size} in shape {values.shape}")
        return values.flatten(), values.shape

    def _gradient_and_input(self, d_L_d_out: Any) -> tuple[FloatArray, FloatArray]:
        """Return the two as the core takes them."""
        input_len, nodes = self._weights.shape
        flat = _checks.as_shaped("last_input", remembered(self._seen.input), self._dtype, (input_len,))
        return _checks.as_shaped("d_L_d_out", d_L_d_out, self._dtype, (nodes,)), flat


class Dense(WeightedSums):
    """A dense layer, ``output = input @ weights + biases``.

    Args:
        input_len: how many values the input has, in any shape; at least 1.
        nodes: how many outputs, at least 1.
        dtype: float64 or float32, of the parameters and of every result.
        rng: draws the initial weights, standard normal * sqrt(2 / input_len) (He et al., 2015); None takes numpy's
            global generator.

    Attributes:
        weights: (input_len, nodes), updated in place by `backprop`. An array assigned to it is kept, not copied,
            unless the layer belongs to a network: then its values are copied.
        biases: (nodes,), initially zero; likewise.
        last_input: (input_len,), a copy of the last forward pass's input, flattened.
        last_input_shape: the shape it had.
    """

    kind = "Dense"

    def __init__(
        self,
        input_len: int,
        nodes: int,
        *,
        dtype: DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        super().__init__(input_len, nodes, dtype, rng)

    def _initial_weights(self, shape: tuple[int, int], rng: Any) -> FloatArray:
        return standard_normal(shape, rng, self._dtype, factor=he_deviation(shape[0]))

    def compiled(self) -> _core.Dense:
        return _core.Dense(weights=self._weights, biases=self._biases)

    def forward(self, input: RealArray) -> FloatArray:
        """Turn input_len values, in any shape, into (nodes,)."""
        flat, shape = self._flattened(input)
        output: FloatArray = self.core.forward(flat)
        seen = self._seen
        seen.input, seen.input_shape = flat, shape
        return output

    def backprop(self, d_L_d_out: RealArray, learn_rate: float) -> FloatArray:
        """Take a step of gradient descent and return the gradient for the input.

        ``d_L_d_weights = outer(last_input, d_L_d_out)``, ``d_L_d_biases = d_L_d_out``
        ``d_L_d_input = weights @ d_L_d_out``

        Args:
            d_L_d_out: the loss gradient for the output, (nodes,).
            learn_rate: the step, finite and at least 0.

        Returns:
            d_L_d_input, in the shape of the last input, through the weights before the update.
        """
        rate = _checks.learn_rate(learn_rate)
        gradient, flat = self._gradient_and_input(d_L_d_out)
        d_L_d_input: FloatArray = self.core.backprop(gradient, flat, remembered(self._seen.input_shape), rate)
        return d_L_d_input
