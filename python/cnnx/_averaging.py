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
    """Follows the parameters after each step of a run, beginning at those before its first step.

    In step t, counted from 1, ``average += (1 - d) * (parameters - average)`` with ``d = min(decay, t / (t + 9))``, so
    that the first steps, whose parameters are bad, are soon forgotten. This is what TensorFlow's
    ExponentialMovingAverage does with ``num_updates`` = t - 1.

    Args:
        decay: the share of the average that stays from step to step once there were many; between 0 and 1.
        layers: the network's.

    Attributes:
        values: the average of all parameters, in the order of `Sequential.parameters`, in the layers' dtype.
    """

    def __init__(self, decay: float, layers: Sequence[Layer]) -> None:
        self.decay = decay
        of_layers = [array.reshape(-1) for array in _arrays(layers)]
        self.values: FloatArray = np.concatenate([np.empty(0, _stack.dtype_of(layers)), *of_layers])

    def shares(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return how far the average moves towards the parameters in each of the run's steps before `stop`."""
        step = np.arange(start + 1, stop + 1)
        shares: NDArray[np.float64] = 1 - np.minimum(self.decay, step / (step + 9))
        return shares

    def follow(self, layers: Sequence[Layer], share: float) -> None:
        """Move towards the parameters of `layers` after a step that Python has taken."""
        parameters = np.concatenate([array.reshape(-1) for array in _arrays(layers)])
        self.values += self.values.dtype.type(share) * (parameters - self.values)

    def check_fits(self, count: int) -> None:
        """Refuse layers that have another number of parameters than the run began with."""
        if count != self.values.size:
            raise ValueError(
                f"average: expected layers with {self.values.size} parameters, as at the start of fit, got {count}"
            )

    def give_to(self, layers: Sequence[Layer]) -> None:
        """Write the average into the arrays of the layers that are not frozen."""
        self.check_fits(sum(array.size for array in _arrays(layers)))
        at = 0
        for layer in _stack.with_parameters(layers):
            for array in layer.parameters().values():
                if layer.trainable:
                    array[...] = self.values[at : at + array.size].reshape(array.shape)
                at += array.size


def _arrays(layers: Sequence[Layer]) -> list[Any]:
    """Return all parameters in the order of `Sequential.parameters`."""
    return [array for layer in _stack.with_parameters(layers) for array in layer.parameters().values()]


def average(value: Any, layers: Sequence[Layer]) -> Average | None:
    """Check the argument of `fit`. Return the average that a run begins with; None if nobody asked for it."""
    if value is None:
        return None
    expected = "a number above 0 and less than 1, or None"
    return Average(_checks.number("average", value, expected, lambda decay: 0.0 < decay < 1.0), layers)
