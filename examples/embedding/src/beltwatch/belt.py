"""The belt and its camera. They are made up, so that the example needs no data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KINDS = ("good", "scratched", "with a hole")
SIDE = 20  # pixels


class Part(NamedTuple):
    """A part on the belt.

    Attributes:
        picture: uint8 (20, 20), the part before a dark ground.
        kind: its index in `KINDS`.
        is_blurred: whether the camera shook.
    """

    picture: NDArray[np.uint8]
    kind: int
    is_blurred: bool


def belt(count: int, rng: np.random.Generator) -> Iterator[Part]:
    """Yield `count` parts. The lamp above them grows weaker and stronger again, twice."""
    y, x = np.indices((SIDE, SIDE))
    for lamp in 0.65 + 0.35 * np.cos(np.linspace(0, 4 * np.pi, count)):
        kind, is_blurred = int(rng.integers(len(KINDS))), bool(rng.random() < 0.1)
        middle_y, middle_x = rng.uniform(8.5, 10.5, 2)
        picture = np.where(np.hypot(y - middle_y, x - middle_x) < 7.5, 170.0, 40.0)
        if kind == 1:
            slope, height = rng.uniform(-1, 1), middle_y + rng.uniform(-2, 2)
            on_line = np.abs(y - height - slope * (x - middle_x)) < 0.8
            picture[on_line & (np.abs(x - middle_x) < 4)] = 255
        elif kind == 2:
            hole_y, hole_x = middle_y + rng.uniform(-3, 3), middle_x + rng.uniform(-3, 3)
            picture[np.hypot(y - hole_y, x - hole_x) < rng.uniform(1.5, 2.5)] = 40
        if is_blurred:
            picture = blurred(picture)
        noisy = lamp * picture + rng.normal(0, 3, picture.shape)
        yield Part(noisy.clip(0, 255).astype(np.uint8), kind, is_blurred)


def blurred(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of a picture and its neighbours: the picture, moved by up to two pixels each way."""
    moved = [np.roll(picture, (dy, dx), axis=(0, 1)) for dy in range(-2, 3) for dx in range(-2, 3)]
    return np.asarray(np.mean(moved, axis=0))
