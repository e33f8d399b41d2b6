"""The loss that the article trains with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _checks
from ._checks import FloatArray, RealArray

__all__ = ["cross_entropy"]


def cross_entropy(out: RealArray, label: int) -> tuple[float, FloatArray]:
    """Return the cross-entropy loss of one sample, and its gradient for the probabilities.

    ``L = -ln(out[label])``
    ``d_L_d_out[label] = -1 / out[label]``, and zero elsewhere

    The loss is from the article's Part 1, section 5.2, "Cross-Entropy Loss", and the gradient from Part 2, section 3,
    "Backprop: Softmax". A probability below the dtype's smallest normal number counts as that number, so that both are
    finite.

    Args:
        out: (nodes,), the probabilities.
        label: the index of the right class, from 0 to nodes - 1.

    Returns:
        The loss in nats, and d_L_d_out (nodes,). It is float32 if `out` is, and else float64.

    Raises:
        TypeError: `out` is not a numpy array of real numbers, or `label` is not an integer.
        ValueError: `out` is not one-dimensional, its entry at `label` is not finite, or `label` is out of range.
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
