"""What a network asks of its images: their size and that their pixels are finite. Messages are about the image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST_SIDE = 256  # of the images that an error message looks for
_CHUNK = 256  # images at a time, so that they are still in the cache when they are read again


def fitting_size(fits: Callable[[tuple[int, int]], bool]) -> tuple[int, int] | None:
    """Return the smallest square image that a network takes, for a message; None if there is none."""
    return next(((side, side) for side in range(1, _LARGEST_SIDE) if fits((side, side))), None)


def size_error(expected: tuple[int, int], given: tuple[int, ...], reason: str = "") -> ValueError:
    """Return the error for images of a shape that does not fit, with what helps."""
    height, width = expected
    pixels = height * width
    parts = [reason] if reason else []
    if len(given) in (3, 4) and given[-1] in (3, 4) and given[-3:-1] == expected:
        parts = ["for colour images use images.mean(axis=-1)"]
    elif given and (given[-1] == pixels or (1 in given[1:] and math.prod(given[1:]) == pixels)):
        parts = [f"for flattened images use images.reshape(-1, {height}, {width})"]
    help = f" ({'; '.join(parts)})" if parts else ""
    return ValueError(f"images: expected shape (n, {height}, {width}), got {given}{help}")


def pixel_range(images: NDArray[Any]) -> tuple[float, float]:
    """Return the least and the largest pixel of float images; ValueError if one is not finite."""
    least, most = math.inf, -math.inf
    for start in range(0, len(images), _CHUNK):
        some = images[start : start + _CHUNK]
        low, high = float(some.min()), float(some.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            refuse_non_finite(some, start)
        least, most = min(least, low), max(most, high)
    return least, most


def refuse_non_finite(images: NDArray[Any], start: int = 0) -> None:
    """Raise ValueError for the first pixel that is not finite, if there is one; `start` is the first image's index."""
    bad = np.argwhere(~np.isfinite(images))
    if len(bad):
        image, y, x = bad[0].tolist()
        value = images[image, y, x]
        raise ValueError(f"images: expected finite pixels, got {value} at images[{image + start}, {y}, {x}]")
