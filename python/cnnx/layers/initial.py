"""Initial values of the layers' parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _checks
from .._checks import FloatArray


def he_deviation(inputs: int) -> float:
    """The standard deviation that keeps the size of activations after a ReLU."""
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
