"""One image's way through a network's layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _stack
from ..layers import BatchNorm, Dropout, Layer, ReLU
from ..network import Sequential
from .sheet import (
    BAR,
    FAINT,
    GREY,
    HIGH,
    INK,
    LOW,
    MARGIN,
    Picture,
    Pixels,
    Sheet,
    framed,
    image_pixels,
    resized,
    signed,
    tiled,
)

_HEAD = 68  # pixels: above a panel, for its name
_HEIGHT, _BETWEEN, _BAR = 416, 52, 210  # of a panel of maps, between panels, the longest bar
_GAP, _TILE = 2, 5  # pixels: the least between the maps of a panel, and the least height and width of one
_MOST_ROWS = (_HEIGHT + _GAP) // (_TILE + _GAP)
_MOST_BARS = 10


def feature_maps(network: Sequential, image: NDArray[Any], outputs: list[NDArray[Any]], names: list[str]) -> Picture:
    """Draw an image (height, width) or (height, width, channels), what each layer gives for it, and bars at the end."""
    are_shares = _stack.ends_in_softmax(network.layers)
    panels = [("image", _size(image.shape), _single(image_pixels(image)))]
    for group in _groups(network.layers):
        if group[-1] < len(outputs) - 1:
            output = outputs[group[-1]]
            kinds = " + ".join(network.layers[position].kind for position in group)
            panels.append((kinds, *_mosaic(output)))
    widths = [max(panel.shape[1], 14 * len(name), 11 * len(size)) for name, size, panel in panels]
    bars = _names_width(names) + _BAR + 70
    sheet = Sheet(2 * MARGIN + sum(widths) + len(widths) * _BETWEEN + bars, 2 * MARGIN + _HEAD + _HEIGHT)

    left, top = MARGIN, MARGIN + _HEAD
    for (name, size, panel), width in zip(panels, widths, strict=True):
        sheet.text(name, left, top - 42, 10, fontweight="bold")
        sheet.text(size, left, top - 16, 9, GREY)
        sheet.image(panel, left, top + (_HEIGHT - panel.shape[0]) / 2)
        left += width + _BETWEEN
        sheet.arrow(left - _BETWEEN / 2, top + _HEIGHT / 2)
    sheet.text(network.layers[-1].kind, left, top - 42, 10, fontweight="bold")
    sheet.text(f"{outputs[-1].size} {'probabilities' if are_shares else 'numbers'}", left, top - 16, 9, GREY)
    _bars(sheet, outputs[-1], names, are_shares, left, top)
    return sheet.figure


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _groups(layers: Sequence[Layer]) -> list[list[int]]:
    """Return the layers' positions. A layer that changes each value for itself is in a group with the one before it."""
    groups: list[list[int]] = []
    for position, layer in enumerate(layers):
        if groups and isinstance(layer, (BatchNorm, Dropout, ReLU)):
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups


def _single(pixels: Pixels) -> Pixels:
    """Return an image large, within a frame."""
    side = 280 / max(pixels.shape[:2])
    return framed(resized(pixels, round(side * pixels.shape[0]), round(side * pixels.shape[1])))


def _mosaic(output: NDArray[Any]) -> tuple[str, Pixels]:
    """Return the size of maps (height, width, count), or of plain values (count,), and a picture of all that fit.

    They are side by side and on one scale of colours.
    """
    maps = output.reshape(1, 1, -1) if output.ndim == 1 else output.reshape(*output.shape[:2], -1)
    height, width, all_maps = maps.shape
    count = min(all_maps, _MOST_ROWS**2)
    size = _size(output.shape) + (f", the first {count}" if count < all_maps else "")
    rows, columns = _arrangement(count)
    gap = max(_GAP, 32 // rows)
    tall = (_HEIGHT - (rows - 1) * gap) // rows
    wide = max(_TILE, round(tall * width / height))
    largest = float(np.abs(maps).max())
    return size, tiled([resized(signed(maps[:, :, i], largest), tall, wide) for i in range(count)], columns, gap)


def _arrangement(count: int) -> tuple[int, int]:
    """Return rows and columns for a number of tiles: no more columns than rows, and no gaps unless it gets too tall."""
    least = math.ceil(math.sqrt(count))
    rows = next(rows for rows in range(least, count + 1) if count % rows == 0)
    rows = rows if rows <= min(2.5 * least, _MOST_ROWS) else least
    return rows, -(-count // rows)


def _bars(sheet: Sheet, outputs: NDArray[Any], names: list[str], are_shares: bool, left: float, top: float) -> None:
    """Draw a bar for each output; if there are many, for the largest ones."""
    shown = np.sort(np.argsort(-np.abs(outputs), kind="stable")[:_MOST_BARS])
    largest = 1.0 if are_shares else float(np.abs(outputs).max()) or 1.0
    best = int(np.argmax(outputs))
    height = _HEIGHT / len(shown)
    thick = min(18, height / 2)
    start = left + _names_width(names)
    for row, i in enumerate(shown):
        value = float(outputs[i])
        middle = top + (row + 0.5) * height
        is_told = i == best or not are_shares
        colour = (HIGH if i == best else BAR) if are_shares else HIGH if value > 0 else LOW
        sheet.text(names[i], start - 12, middle, 9, INK if is_told else GREY, ha="right", va="center_baseline")
        sheet.box(start, middle - thick / 2, _BAR, thick, FAINT)
        sheet.box(start, middle - thick / 2, _BAR * abs(value) / largest, thick, colour)
        if is_told:
            text = f"{value:.0%}" if are_shares else f"{value:.2g}"
            sheet.text(text, start + _BAR + 10, middle, 9, colour, va="center_baseline")


def _names_width(names: list[str]) -> int:
    """Return about how wide the names of the outputs are."""
    return 24 + 11 * max(map(len, names))
