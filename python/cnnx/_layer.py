"""What all layers have in common."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _checks
from ._checks import FloatArray


class Layer:
    """What a network needs to know of its layers.

    Attributes:
        kind: the name by which the core and saved files know the layer.
        dtype: the numpy dtype that the layer computes in; None if it takes its input's.
    """

    kind: str
    dtype: Any = None

    def settings(self) -> dict[str, Any]:
        """Return the arguments that would construct a layer like this one, for JSON."""
        raise NotImplementedError

    def parameters(self) -> dict[str, FloatArray]:
        """Return the arrays that training updates, by attribute name."""
        return {}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that `forward` makes of an input's shape; ValueError if it refuses that."""
        raise NotImplementedError

    def plan_entry(self) -> tuple[Any, ...]:
        """Return the layer for the core: its kind, its setting if it has one, its arrays."""
        return (self.kind, *self.parameters().values())


def remembered(value: Any) -> Any:
    """What the last forward pass left for backprop."""
    if value is None:
        raise RuntimeError("backprop: expected a forward pass before it, got none")
    return value


def he_deviation(inputs: int) -> float:
    """The standard deviation that keeps the size of activations behind a ReLU."""
    return math.sqrt(2 / inputs)


def standard_normal(
    shape: tuple[int, ...], rng: Any, dtype: np.dtype[Any], *, divisor: float = 1, factor: float = 1
) -> FloatArray:
    """Initial values; drawn in float64, so that both dtypes share a seed."""
    rng = _checks.generator(rng)
    if rng is _checks.UNINITIALISED:
        return np.empty(shape, dtype)
    values = np.random.randn(*shape) if rng is None else rng.standard_normal(shape)
    return (values / divisor * factor).astype(dtype)
