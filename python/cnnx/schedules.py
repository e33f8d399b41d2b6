"""How the learn rate goes over a run: functions from the number of steps to a factor for each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _checks

__all__ = ["Schedule", "constant", "cosine", "factors", "one_cycle"]

Schedule: TypeAlias = Callable[[int], NDArray[np.float64]]


def constant(steps: int) -> NDArray[np.float64]:
    """Return (steps,) ones: the optimizer's own learn rate throughout."""
    return np.ones(steps)


def cosine(steps: int) -> NDArray[np.float64]:
    """Return (steps,) factors that fall from 1 to nearly 0 along half a cosine (Loshchilov and Hutter, 2017)."""
    return 0.5 * (1 + np.cos(np.pi * np.arange(steps) / max(steps, 1)))


def one_cycle(steps: int) -> NDArray[np.float64]:
    """Return (steps,) factors that rise from 1/25 to 1 over the first 30% and fall to nearly 0, along cosines.

    After Smith and Topin, 2019, "Super-Convergence": the optimizer's learn rate is the peak.
    """
    rise = max(1, int(0.3 * steps))
    up = 0.5 * (1 - np.cos(np.pi * np.arange(min(rise, steps)) / rise))
    return np.concatenate([1 / 25 + (1 - 1 / 25) * up, cosine(max(steps - rise, 0))])


_BY_NAME: dict[str, Schedule] = {"constant": constant, "cosine": cosine, "one_cycle": one_cycle}


def factors(schedule: Schedule | str | None, steps: int) -> NDArray[np.float64]:
    """Return the factors (steps,) of a schedule, which may be given by name; None is `constant`.

    Raises:
        TypeError, ValueError: it is no schedule, or does not give a finite factor of at least 0 for every step.
    """
    if isinstance(schedule, str):
        schedule = _BY_NAME[_checks.one_of("schedule", schedule, tuple(_BY_NAME))]
    if schedule is not None and not callable(schedule):
        raise TypeError(f"schedule: expected a function of the number of steps, or its name, got {schedule!r}")
    found: Any = (schedule or constant)(steps)
    if not isinstance(found, np.ndarray) or found.shape != (steps,) or found.dtype.kind not in "fiu":
        got = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise ValueError(f"schedule: expected an array of numbers ({steps},), got {got}")
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError(f"schedule: expected finite factors of at least 0, got {found.min()} to {found.max()}")
    return found.astype(np.float64)
