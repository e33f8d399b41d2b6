"""What every contender computes: the same digits in the same order from the same initial parameters.

A worker may run in a Python that has no cnnx, so this file needs numpy alone.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
ByteArray = npt.NDArray[np.uint8]

LEARN_RATE = 0.005
CHECKED = 200  # steps or images whose results are held against the oracle before a contender is timed
SIDE, FILTERS, NODES = 28, 8, 10
POOLED = (SIDE - 2) // 2


class Stored:
    """What the problems of both networks share: a named tuple of arrays, the digits' `images` among them."""

    def save(self, path: Path) -> None:
        """Write the problem where every worker can read it."""
        np.savez(path, allow_pickle=False, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> Any:
        """Read a problem that `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**arrays)

    def scaled(self, dtype: str) -> FloatArray:
        """Return the images as floats, x / 255 − 0.5, (n, 28, 28)."""
        scales = (np.arange(256) / 255 - 0.5).astype(dtype)
        return scales[self.images]


class Arrays(NamedTuple):
    """The arrays of a `Problem`."""

    images: ByteArray
    labels: ByteArray
    filters: FloatArray
    weights: FloatArray
    biases: FloatArray


class Problem(Arrays, Stored):
    """Digits and the parameters to begin from, in the article's layouts.

    `images` (n, 28, 28) and `labels` (n,) are uint8; `filters` (8, 3, 3), `weights` (13 · 13 · 8, 10), whose
    rows run over (row, column, filter), and `biases` (10,) are float64.
    """

    def weights_by_channel(self) -> FloatArray:
        """Return the weights (8 · 13 · 13, 10) for frameworks that put the channel before row and column."""
        by_pixel = self.weights.reshape(POOLED, POOLED, FILTERS, NODES)
        return by_pixel.transpose(2, 0, 1, 3).reshape(-1, NODES)


def digits(images: ByteArray, labels: ByteArray, steps: int) -> Problem:
    """Return the article's initial network before `steps` digits, the given ones over and over."""
    draw = np.random.default_rng(0)
    order = np.arange(steps) % len(images)
    return Problem(
        images[order],
        labels[order],
        filters=draw.standard_normal((FILTERS, 3, 3)) / 9,
        weights=draw.standard_normal((POOLED * POOLED * FILTERS, NODES)) / (POOLED * POOLED * FILTERS),
        biases=np.zeros(NODES),
    )


def noise(like: Problem) -> Problem:
    """Return the same network before uniform noise: no background, no ties, nothing an engine could skip."""
    draw = np.random.default_rng(1)
    return like._replace(
        images=draw.integers(0, 256, like.images.shape, dtype=np.uint8),
        labels=draw.integers(0, NODES, like.labels.shape, dtype=np.uint8),
    )
