"""Ink and paper: which pixels of a picture are the digit, whatever the colours and the light."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

LEAST_CONTRAST = 16.0  # levels of 255 between ink and paper; paper alone has fewer
_NOISE = 4.0  # ink differs from paper by this many standard deviations of the paper; noise alone by 2.7
_SPECK = 0.02  # a part with a smaller share of the largest part's ink is dirt
_SIDE = 28  # pixels: MNIST's images
_CENTRE = 14  # the pixel of MNIST's images that is nearest to the centre of mass, in rows and in columns
_GRID = 128  # height and width of the grid on which parts are found, at most


class NoDigitError(ValueError):
    """The picture does not show one digit. The message does not name the picture."""


def find_ink(colours: Floats, alpha: Floats | None) -> Floats:
    """Return how much ink each pixel has: (height, width), from 0 for paper to 1.

    The paper's colour is that of the picture's edge. It may change evenly over the picture, as light does. The ink is
    what has another colour, lighter or darker. Otsu's method (1979) finds the difference from which on it counts.

    Args:
        colours: (height, width, channels), from 0 to 255.
        alpha: (height, width), from 0 for transparent to 255; None if every pixel is opaque.
    """
    if alpha is not None:
        is_visible = alpha > alpha.max() / 2
        visible = colours[is_visible]
        if len(visible) < alpha.size / 2 or np.ptp(visible, axis=0).max() < LEAST_CONTRAST:
            return _stretch(alpha)  # the digit alone was drawn
        colours = np.where(is_visible[..., np.newaxis], colours, np.median(visible, axis=0))
    return _stretch(np.sqrt(np.square(colours - _paper(colours)).mean(axis=-1)))


def _paper(colours: Floats) -> Floats:
    """Fit a plane to each channel of the picture's edge, and then once more without what is far from the first one."""
    height, width, channels = colours.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    places = np.stack([np.ones_like(x), y, x], axis=-1)
    thickness = max(1, min(height, width) // 32)
    is_edge = np.ones((height, width), np.bool_)
    is_edge[thickness:-thickness, thickness:-thickness] = False
    edge, where = colours[is_edge], places[is_edge]
    plane = np.zeros((3, channels))
    plane[0] = np.median(edge, axis=0)
    for _ in range(2):
        distance = np.abs(edge - where @ plane).max(axis=-1)
        near = distance <= 2 * np.median(distance) + 2
        if np.count_nonzero(near) >= 3:
            plane = np.linalg.lstsq(where[near], edge[near], rcond=None)[0]
    return np.asarray(places @ plane, np.float32)


def _stretch(difference: Floats) -> Floats:
    """Return the ink of each pixel, from its difference to the paper."""
    if np.ptp(difference) == 0:
        raise NoDigitError("expected a digit, got a picture of one colour")
    is_ink = difference > _otsu(difference)
    ink, paper, noise = difference[is_ink].mean(), difference[~is_ink].mean(), difference[~is_ink].std()
    if ink - paper < max(LEAST_CONTRAST, _NOISE * noise):
        raise NoDigitError(f"expected a digit, got a picture with little contrast ({ink - paper:.0f} levels of 255)")
    least = paper + 0.25 * (ink - paper)
    return np.asarray(np.clip((difference - least) / (ink - least), 0, 1), np.float32)


def _otsu(values: Floats) -> float:
    """Return the value that splits all values into two classes whose means are the farthest apart (Otsu, 1979)."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * centres)
    means_below, means_above = sums[:-1] / np.maximum(below, 1), (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1 + int(np.argmax(below * above * np.square(means_above - means_below)))])


def without_specks(ink: Floats) -> Floats:
    """Return the ink without small separate parts. Several digits side by side are an error."""
    step = -(-max(ink.shape) // _GRID)
    rows, columns = (-(-size // step) for size in ink.shape)
    padded = np.pad(ink, ((0, rows * step - ink.shape[0]), (0, columns * step - ink.shape[1])))
    blocks = padded.reshape(rows, step, columns, step).sum(axis=(1, 3))
    labels = _label(blocks > 0)
    amounts = np.bincount(labels.reshape(-1), blocks.reshape(-1))
    kept = np.flatnonzero(amounts > _SPECK * amounts.max())
    _check_is_one(labels, amounts, kept)
    keep = np.isin(labels, kept).repeat(step, axis=0).repeat(step, axis=1)
    return np.where(keep[: ink.shape[0], : ink.shape[1]], ink, np.float32(0))


def _label(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a number for each connected part of the mask, diagonals included; 0 outside of it."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:  # each turn, a part's largest number reaches the next pixels
        grown = np.pad(labels, 1)
        grown = np.maximum(np.maximum(grown[:-2], grown[1:-1]), grown[2:])
        grown = np.maximum(np.maximum(grown[:, :-2], grown[:, 1:-1]), grown[:, 2:]) * mask
        if np.array_equal(grown, labels):
            return np.asarray(np.unique(labels, return_inverse=True)[1].reshape(labels.shape))
        labels = grown


def _check_is_one(labels: NDArray[np.int64], amounts: NDArray[Any], kept: NDArray[Any]) -> None:
    """Raise an error if there are two parts side by side that are both as tall and as dark as a digit."""
    boxes = [box(labels == part) for part in kept if amounts[part] > 0.2 * amounts.max()]
    tallest = max(rows.stop - rows.start for rows, _ in boxes)
    digits = sorted((left.start, left.stop) for rows, left in boxes if rows.stop - rows.start > 0.7 * tallest)
    end = digits[0][1]
    for start, stop in digits[1:]:
        if start - end > 0.04 * tallest:
            raise NoDigitError(f"expected one digit, got {len(digits)} shapes side by side (crop the picture)")
        end = max(end, stop)


def box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and the columns of the smallest box around the mask's pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def centred(ink: Floats) -> NDArray[np.uint8]:
    """Put the centre of mass of a digit (at most 28, at most 28), from 0 to 1, into the centre of uint8 (28, 28)."""
    top, left = (
        min(max(_CENTRE - round(_centre(ink.sum(axis=1 - axis))), 0), _SIDE - ink.shape[axis]) for axis in (0, 1)
    )
    image = np.zeros((_SIDE, _SIDE), np.uint8)
    image[top : top + ink.shape[0], left : left + ink.shape[1]] = (ink * 255).round()
    return image


def _centre(masses: Floats) -> float:
    return float(masses @ np.arange(len(masses)) / masses.sum())
