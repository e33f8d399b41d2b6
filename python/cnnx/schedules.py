"""How the learn rate changes over a run: functions from the number of steps to a factor for each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _checks

__all__ = ["Schedule", "constant", "cosine", "factors", "one_cycle"]

Schedule: TypeAlias = Callable[[int], NDArray[np.float64]]
Factors: TypeAlias = Callable[[int, int], NDArray[np.float64]]
"""Gives the factors (stop - start,) of a run's steps from `start` to before `stop`."""

_Formula: TypeAlias = Callable[[NDArray[np.int_], int], NDArray[np.float64]]  # of some steps, and how many there are


def constant(steps: int) -> NDArray[np.float64]:
    """Return (steps,) ones: the learn rate stays that of the optimizer."""
    return np.ones(steps)


def cosine(steps: int) -> NDArray[np.float64]:
    """Return (steps,) factors that fall from 1 to nearly 0 along half a cosine.

    After Loshchilov and Hutter, 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", without restarts.
    """
    return _cosine(np.arange(steps), steps)


def one_cycle(steps: int) -> NDArray[np.float64]:
    """Return (steps,) factors that rise from 1/25 to 1 over the first 30% of the steps, and then fall to nearly 0.

    Both parts follow half a cosine, and the optimizer's learn rate is the peak. After Smith and Topin, 2019,
    "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates".
    """
    return _one_cycle(np.arange(steps), steps)


def _cosine(at: NDArray[np.int_], steps: int) -> NDArray[np.float64]:
    factors: NDArray[np.float64] = 0.5 * (1 + np.cos(np.pi * at / max(steps, 1)))
    return factors


def _one_cycle(at: NDArray[np.int_], steps: int) -> NDArray[np.float64]:
    rise = max(1, int(0.3 * steps))
    up = 0.5 * (1 - np.cos(np.pi * at / rise))
    return np.where(at < rise, 1 / 25 + (1 - 1 / 25) * up, _cosine(at - rise, steps - rise))


_FORMULAS: dict[Any, _Formula] = {cosine: _cosine, one_cycle: _one_cycle}
_BY_NAME: dict[str, Schedule] = {"constant": constant, "cosine": cosine, "one_cycle": one_cycle}


def _due(formula: _Formula, steps: int) -> Factors:
    """Return factors that are computed when they are due: a run may be long."""
    return lambda start, stop: formula(np.arange(start, stop), steps)


def factors(schedule: Schedule | str | None, steps: int) -> Factors:
    """Return a function that gives the factors of some steps of a run.

    Args:
        schedule: a schedule, or the name of one in this module; None for `constant`.
        steps: how many steps the run has.

    Raises:
        TypeError, ValueError: `schedule` is not a schedule, or does not give a finite factor of at least 0 for each
            step.
    """
    if isinstance(schedule, str):
        schedule = _BY_NAME[_checks.one_of("schedule", schedule, tuple(_BY_NAME))]
    if schedule is not None and not callable(schedule):
        raise TypeError(f"schedule: expected a function of the number of steps, or its name, got {schedule!r}")
    if schedule is None or schedule is constant:
        return lambda start, stop: np.ones(stop - start)
    formula = next((formula for own, formula in _FORMULAS.items() if own is schedule), None)
    if formula is not None:
        return _due(formula, steps)
    found: Any = schedule(steps)
    if not isinstance(found, np.ndarray) or found.shape != (steps,) or found.dtype.kind not in "fiu":
        got = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise ValueError(f"schedule: expected an array of numbers ({steps},), got {got}")
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError(f"schedule: expected finite factors of at least 0, got {found.min()} to {found.max()}")
    given = found.astype(np.float64)
    return lambda start, stop: given[start:stop]
