"""The loss that the article trains with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _checks
from ._checks import FloatArray, RealArray

__all__ = ["cross_entropy"]


def cross_entropy(out: RealArray, label: int) -> tuple[float, FloatArray]:
    """The cross-entropy loss of one sample and its gradient with respect to the probabilities.

    ``L = -ln(out[label])``, ``d_L_d_out[label] = -1 / out[label]``, zero elsewhere (the article's Part 1, section
    5.2, and Part 2, section 3). A probability below the dtype's smallest normal number counts as that number, so both
    are finite.

    Args:
        out: probabilities (nodes,), float32 or float64.
        label: the index of the right class, 0 to nodes - 1.

    Returns:
        The loss in nats, and d_L_d_out (nodes,) in out's dtype.

    Raises:
        TypeError: out is no array of real numbers, or label no integer.
        ValueError: out is not one-dimensional, its entry at label is NaN or infinite, or label is out of range.
    """
    values = _checks.as_array("out", out, _checks.own_float_dtype(out), ("nodes",))
    index = _checks.integer("label", label)
    if not 0 <= index < len(values):
        raise ValueError(f"label: expected an index into {len(values)} probabilities, got {index}")
    probability = values.item(index)
    if not math.isfinite(probability):
        raise ValueError(f"out: expected probabilities, got {probability} at label {index}")
    probability = max(probability, _SMALLEST[values.dtype.type])
    gradient = np.zeros(values.shape, values.dtype)
    gradient[index] = -1.0 / probability
    return -math.log(probability), gradient


_SMALLEST: dict[Any, float] = {t: float(np.finfo(t).tiny) for t in (np.float32, np.float64)}
