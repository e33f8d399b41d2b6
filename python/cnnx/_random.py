"""What `rng` may be wherever it is an argument, and what is drawn from it."""

from __future__ import annotations

import operator
from typing import Any, TypeAlias

import numpy as np

Rng: TypeAlias = "np.random.Generator | int | None"  # as text: numpy imports numpy.random at its first use
"""A numpy Generator, a seed for a new one, or None for numpy's global generator, which ``np.random.seed`` sets.

A seed draws the same in every call: two layers made with ``rng=0`` begin alike. A Generator goes on from call to call.
"""


def generator(rng: Any) -> np.random.Generator | None:
    """Return the generator that `rng` means; None means numpy's global one.

    Raises:
        TypeError: `rng` is neither a Generator nor an integer nor None. A bool is no integer here.
        ValueError: it is a negative integer.
    """
    if rng is None or isinstance(rng, np.random.Generator):
        return rng
    expected = "rng: expected a numpy.random.Generator, an integer of at least 0 or None"
    if isinstance(rng, (bool, np.bool_)):
        raise TypeError(f"{expected}, got {rng!r}")
    try:
        seed = operator.index(rng)
    except TypeError:
        raise TypeError(f"{expected}, got {type(rng).__name__}") from None
    if seed < 0:
        raise ValueError(f"{expected}, got {seed}")
    return np.random.default_rng(seed)


def draw_seed(rng: np.random.Generator | None) -> int:
    """Draw a seed of 63 bits; None draws from numpy's global generator."""
    return int(np.random.randint(2**63, dtype=np.int64) if rng is None else rng.integers(2**63))


def key(seed: int, number: int) -> int:
    """Return a key of 64 bits for a sample of a run, or from a sample's key one for a layer, as the core computes it.

    It is splitmix64 by S. Vigna.
    """
    z = (seed + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def own_generator(rng: Any) -> np.random.Generator:
    """Return the generator that `rng` means; None means a new one, seeded from numpy's global generator."""
    found = generator(rng)
    return np.random.default_rng(draw_seed(None)) if found is None else found


def state(rng: np.random.Generator | None) -> dict[str, Any]:
    """Return where a generator is; None means numpy's global one."""
    found: Any = np.random.get_state(legacy=False) if rng is None else rng.bit_generator.state
    return dict(found)


def set_state(rng: np.random.Generator | None, state: dict[str, Any]) -> None:
    """Put a generator where `state` was taken; None means numpy's global one."""
    if rng is None:
        np.random.set_state(state)
    else:
        rng.bit_generator.state = state
