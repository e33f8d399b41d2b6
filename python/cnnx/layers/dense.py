"""The dense layer, and what it shares with the softmax layer.

Its twin in numpy is in `cnnx/reference/dense.py`.
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
    """What `Dense` and `Softmax` share: ``totals = input @ weights + biases``."""

    def __init__(self, input_len: int, nodes: int, dtype: DTypeLike, rng: Any) -> None:
        self._dtype = _checks.float_dtype(dtype)
        shape = (_checks.positive_integer("input_len", input_len), _checks.positive_integer("nodes", nodes))
        self._weights = self._initial_weights(shape, rng)
        self._biases: FloatArray = np.zeros(shape[1], self._dtype)

    def _initial_weights(self, shape: tuple[int, int], rng: Any) -> FloatArray:
        raise NotImplementedError

    @property
    def last_input_shape(self) -> tuple[int, ...] | None:
        """The shape of the last forward pass's input, before it was flattened; None before the first."""
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
        """Return a flat copy of an input and the input's shape, both of which the article keeps for `backprop`."""
        values = _checks.as_numbers("input", input, self._dtype)
        input_len = self._weights.shape[0]
        if values.size != input_len:
            raise ValueError(f"input: expected {input_len} values, got {values.size} in shape {values.shape}")
        return values.flatten(), values.shape

    def _gradient_and_input(self, d_L_d_out: Any) -> tuple[FloatArray, FloatArray]:
        """Return `d_L_d_out` and the last input as the core takes them."""
        input_len, nodes = self._weights.shape
        flat = _checks.as_shaped("last_input", remembered(self._seen.input), self._dtype, (input_len,))
        return _checks.as_shaped("d_L_d_out", d_L_d_out, self._dtype, (nodes,)), flat


class Dense(WeightedSums):
    """A dense layer: ``output = input @ weights + biases``.

    In the article it is the first half of the softmax layer: Part 1, section 5.3, "Implementing Softmax".

    Args:
        input_len: how many values the input has, at least 1. The input may have any shape.
        nodes: how many outputs, at least 1.
        dtype: float64 or float32, of the parameters and of every result.
        rng: draws the initial weights, standard normal * sqrt(2 / input_len) (He et al., 2015, "Delving Deep into
            Rectifiers"). A `numpy.random.Generator`, an integer seed, or None for numpy's global generator.

    Attributes:
        weights: (input_len, nodes), updated in place by `backprop`. An array that is assigned is kept, not copied. If
            the layer belongs to a network, the values are copied into the network's array instead.
        biases: (nodes,), zeros at first; assigned like `weights`.
        last_input: (input_len,), a flat copy of the last forward pass's input.
        last_input_shape: the shape of that input before it was flattened.
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
        return _core.Dense(weights=self._weights, biases=self._biases, trainable=self._trainable)

    def forward(self, input: RealArray) -> FloatArray:
        """Return the totals (nodes,) of `input`, which has input_len values in any shape."""
        flat, shape = self._flattened(input)
        output: FloatArray = self.core.forward(flat)
        seen = self._seen
        seen.input, seen.input_shape = flat, shape
        return output

    def backprop(self, d_L_d_out: RealArray, learn_rate: float) -> FloatArray:
        """Take a step of gradient descent, and return the gradient for the input.

        ``d_L_d_weights[m, n] = last_input[m] * d_L_d_out[n]``
        ``d_L_d_biases[n] = d_L_d_out[n]``
        ``d_L_d_input[m] = sum over n of weights[m, n] * d_L_d_out[n]``

        These are the last formulas of the article's Part 2, section 3, "Backprop: Softmax".

        Args:
            d_L_d_out: (nodes,), the gradient of the loss for the output.
            learn_rate: how far the step goes, finite and at least 0.

        Returns:
            d_L_d_input in the shape of the last input, computed with the weights before the step.
        """
        rate = _checks.learn_rate(learn_rate)
        gradient, flat = self._gradient_and_input(d_L_d_out)
        shape = remembered(self._seen.input_shape)
        d_L_d_input: FloatArray
        if self._gradients is None:
            d_L_d_input = self.core.backprop(gradient, flat, shape, rate)
        else:
            d_L_d_input = self.core.gradient(gradient, flat, shape, **self._collected())
        return d_L_d_input
