"""The moving average of a network's parameters over a run of `Sequential.fit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _checks, _stack
from ._checks import FloatArray
from .layers import Layer


class Average:
    """Follows parameters and buffers after each step of a run, beginning at those before its first step.

    In step t, counted from 1, ``average += (1 - d) * (parameters - average)`` with ``d = min(decay, t / (t + 9))``, so
    that the first steps, whose parameters are bad, are soon forgotten. This is what TensorFlow's
    ExponentialMovingAverage does with ``num_updates`` = t - 1.

    The running statistics of `BatchNorm` are averaged with the same shares, so that they fit the averaged parameters.

    Args:
        decay: the share of the average that stays from step to step once there were many; between 0 and 1.
        layers: the network's.

    Attributes:
        values: the average of all parameters, in the order of `Sequential.parameters`, and after them of all buffers,
            in the layers' dtype.
    """

    def __init__(self, decay: float, layers: Sequence[Layer]) -> None:
        self.decay = decay
        self._parameter_count = sum(layer.parameter_count() for layer in _stack.with_parameters(layers))
        self.values: FloatArray = _flat(layers)

    def shares(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return how far the average moves towards the parameters in each of the run's steps before `stop`."""
        step = np.arange(start + 1, stop + 1)
        shares: NDArray[np.float64] = 1 - np.minimum(self.decay, step / (step + 9))
        return shares

    def follow(self, layers: Sequence[Layer], share: float) -> None:
        """Move towards what `layers` have after a step that Python has taken."""
        self.values += self.values.dtype.type(share) * (_flat(layers) - self.values)

    def check_fits(self, count: int) -> None:
        """Refuse layers that have another number of parameters than the run began with."""
        if count != self._parameter_count:
            raise ValueError(
                f"average: expected layers with {self._parameter_count} parameters, as at the start of fit, got {count}"
            )

    def give_to(self, layers: Sequence[Layer]) -> None:
        """Write the average into the arrays of the layers that are not frozen."""
        self.check_fits(sum(layer.parameter_count() for layer in _stack.with_parameters(layers)))
        at = 0
        for layer, array in _arrays(layers):
            if layer.trainable:
                array[...] = self.values[at : at + array.size].reshape(array.shape)
            at += array.size


def _arrays(layers: Sequence[Layer]) -> list[tuple[Layer, Any]]:
    """Return all parameters and then all buffers, each with its layer."""
    learning = _stack.with_parameters(layers)
    parameters = [(layer, array) for layer in learning for array in layer.parameters().values()]
    return parameters + [(layer, array) for layer in learning for array in layer.buffers().values()]


def _flat(layers: Sequence[Layer]) -> Any:
    of_layers = [array.reshape(-1) for _, array in _arrays(layers)]
    return np.concatenate([np.empty(0, _stack.dtype_of(layers)), *of_layers])


def average(value: Any, layers: Sequence[Layer]) -> Average | None:
    """Check the argument of `fit`. Return the average that a run begins with; None if nobody asked for it."""
    if value is None:
        return None
    expected = "a number above 0 and less than 1, or None"
    return Average(_checks.number("average", value, expected, lambda decay: 0.0 < decay < 1.0), layers)
