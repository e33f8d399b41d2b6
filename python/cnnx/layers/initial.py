"""Initial values of the layers' parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._checks import FloatArray
from .._random import generator

UNINITIALISED: Any = object()
"""In place of a generator: leave parameters as memory has them, because they are about to be replaced."""


def he_deviation(inputs: int) -> float:
    """Return the standard deviation that keeps the size of activations after a ReLU (He et al., 2015)."""
    return math.sqrt(2 / inputs)


def standard_normal(
    shape: tuple[int, ...], rng: Any, dtype: np.dtype[Any], *, divisor: float = 1, factor: float = 1
) -> FloatArray:
    """Return standard normal numbers of `shape` / divisor * factor, in `dtype`.

    They are drawn in float64, so that a seed gives the same values in both dtypes.
    """
    if rng is UNINITIALISED:
        return np.empty(shape, dtype)
    rng = generator(rng)
    values = np.random.randn(*shape) if rng is None else rng.standard_normal(shape)
    return (values / divisor * factor).astype(dtype)
