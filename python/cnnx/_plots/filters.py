"""What a convolution looks for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layers import Conv3x3
from .sheet import HEAD, INK, MARGIN, PAPER, Picture, Sheet, resized, signed, tiled

_WIDTH = 1280  # pixels that the tiles fill if there are many
_COLUMNS, _GAP, _CELL = 8, 20, 44  # of filters with one channel: tiles in a row, pixels between them and of a number


def filters(layer: Conv3x3, position: int) -> Picture:
    """Draw one tile for each filter, with its numbers; or a table of tiles for each filter and channel."""
    values = layer.filters[..., np.newaxis] if layer.filters.ndim == 3 else layer.filters
    tiles = values.transpose(0, 3, 1, 2)  # (filters, channels, 3, 3)
    count, channels = tiles.shape[:2]
    name = f"The {count} filters of layer {position}, Conv3x3"
    largest = float(np.abs(values).max())
    below = f"Blue is above 0, orange below 0, white is 0. No number is further from 0 than {largest:.2f}."
    if channels == 1:
        return _with_numbers(tiles[:, 0], largest, name, below)
    is_wide = count >= channels
    below += f" A {'column' if is_wide else 'row'} has a filter's {channels} channels."
    return _table(tiles.swapaxes(0, 1) if is_wide else tiles, largest, name, below)


def _with_numbers(tiles: NDArray[Any], largest: float, name: str, below: str) -> Picture:
    side, columns = 3 * _CELL, min(_COLUMNS, len(tiles))
    picture = tiled([resized(signed(tile, largest), side, side) for tile in tiles], columns, _GAP)
    sheet = Sheet.around(picture, name, below)
    for (i, row, column), value in np.ndenumerate(tiles):
        x = MARGIN + i % columns * (side + _GAP) + (column + 0.5) * _CELL
        y = MARGIN + HEAD + i // columns * (side + _GAP) + (row + 0.5) * _CELL
        colour = PAPER if abs(value) > 0.4 * largest else INK
        sheet.text(_short(float(value)), x, y, 6.5, colour, ha="center", va="center_baseline")
    return sheet.figure


def _short(value: float) -> str:
    """Return a number in few characters, such as .25 or −.30."""
    sign = "−" if round(value, 2) < 0 else ""
    return sign + f"{abs(value):.2f}".removeprefix("0")


def _table(tiles: NDArray[Any], largest: float, name: str, below: str) -> Picture:
    columns = tiles.shape[1]
    gap = 6 if columns <= 32 else 3
    side = 3 * max(3, min(20, (_WIDTH // columns - gap) // 3))
    pictures = [resized(signed(tile, largest), side, side) for row in tiles for tile in row]
    return Sheet.around(tiled(pictures, columns, gap), name, below).figure
