"""Losses of one sample, for layers that are stepped by hand: the article's, and one for regression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _checks
from ._checks import FloatArray, RealArray

__all__ = ["cross_entropy", "mean_squared_error"]


def cross_entropy(out: RealArray, label: int | RealArray) -> tuple[float, FloatArray]:
    """Return the cross-entropy loss of one sample, and its gradient for the probabilities.

    ``L = -ln(out[label])``
    ``d_L_d_out[label] = -1 / out[label]``, and zero elsewhere

    or, if `label` is a row t of probabilities, such as a soft label,

    ``L = -sum over k of t[k] * ln(out[k])``
    ``d_L_d_out[k] = -t[k] / out[k]``

    The loss is from the article's Part 1, section 5.2, "Cross-Entropy Loss", and the gradient from Part 2, section 3,
    "Backprop: Softmax". A probability below the dtype's smallest normal number counts as that number, so that both are
    finite.

    Args:
        out: (nodes,), the probabilities.
        label: the index of the right class, from 0 to nodes - 1; or the probability of each class, (nodes,).

    Returns:
        The loss in nats, and d_L_d_out (nodes,). It is float32 if `out` is, and else float64.

    Raises:
        TypeError: `out` is not a numpy array of real numbers, or `label` is neither an integer nor such an array.
        ValueError: `out` is not one-dimensional, or its entry at `label` is not finite; `label` is out of range, or has
            another shape or other numbers.
    """
    values = _checks.as_array("out", out, _checks.own_float_dtype(out), ("nodes",))
    if isinstance(label, np.ndarray) and label.ndim > 0:
        return _of_row(values, label)
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


def _of_row(values: Any, given: RealArray) -> tuple[float, FloatArray]:
    row = _checks.as_shaped("label", given, values.dtype, values.shape)
    if not (np.isfinite(row) & (row >= 0)).all():
        raise ValueError(f"label: expected probabilities, finite and at least 0, got {given}")
    chosen = row > 0
    if not np.isfinite(values[chosen]).all():
        raise ValueError(f"out: expected probabilities, got {values}")
    probabilities = np.maximum(values, _SMALLEST[values.dtype.type])
    gradient = np.zeros(values.shape, values.dtype)
    gradient[chosen] = -row[chosen] / probabilities[chosen]
    return -float(np.sum(row[chosen] * np.log(probabilities[chosen]), dtype=np.float64)), gradient


def mean_squared_error(out: RealArray, target: RealArray) -> tuple[float, FloatArray]:
    """Return the mean squared error of one sample, and its gradient for the outputs.

    ``L = 1 / nodes * sum over k of (out[k] - target[k])**2``
    ``d_L_d_out[k] = 2 / nodes * (out[k] - target[k])``

    Args:
        out: (nodes,), the outputs, for example of `Dense`.
        target: (nodes,), what they should be.

    Returns:
        The loss, and d_L_d_out (nodes,). It is float32 if `out` is, and else float64.

    Raises:
        TypeError: `out` or `target` is not a numpy array of real numbers.
        ValueError: `out` is not one-dimensional or has no entries, or `target` has another shape.
    """
    values = _checks.as_array("out", out, _checks.own_float_dtype(out), ("nodes",))
    if values.size == 0:
        raise ValueError("out: expected at least one output, got none")
    difference = values - _checks.as_shaped("target", target, values.dtype, values.shape)
    gradient = values.dtype.type(2) / values.dtype.type(values.size) * difference
    return float(np.mean(np.square(difference, dtype=np.float64))), gradient


_SMALLEST: dict[Any, float] = {t: float(np.finfo(t).tiny) for t in (np.float32, np.float64)}
