"""Which images a network gets wrong: the table of labels and answers, and the worst of them as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sheet import (
    FAINT,
    GREY,
    HEAD,
    HIGH,
    INK,
    LOW,
    MARGIN,
    PAPER,
    Picture,
    Sheet,
    framed,
    image_pixels,
    mixed,
    resized,
)

_TABLE, _LARGEST_CELL, _LEAST_CELL = 1100, 68, 14  # pixels
_CELL_WITH_NUMBER = 30  # pixels: in smaller cells, colour alone tells the number
_LETTER = 11  # pixels: about how wide a letter of 9 points is
_TILE, _GAP, _CAPTION, _COLUMNS = 132, 22, 56, 8


def confusion(labels: NDArray[Any], answers: NDArray[Any], names: list[str]) -> Picture:
    """Draw how many images of each label (rows) the network took for each class (columns)."""
    nodes = len(names)
    counts = np.zeros((nodes, nodes), np.int64)
    np.add.at(counts, (labels, answers), 1)
    cell = max(_LEAST_CELL, min(_LARGEST_CELL, _TABLE // nodes))
    widest = _LETTER * max(map(len, names))
    is_turned = widest >= cell
    size = 9 if cell >= 24 else 7
    left, top = MARGIN + 16 + widest, MARGIN + HEAD + 28 + (7 * widest // 10 if is_turned else 0)
    right, bottom = left + cell * nodes, top + cell * nodes

    sheet = Sheet(max(right + 110, 900), bottom + MARGIN)
    sheet.title(
        f"{counts.trace() / len(labels):.2%} of {len(labels):,} images are right",
        "A row has the images with one label. A column has the images that the network reads as one class.",
    )
    turn = {"rotation": 45, "rotation_mode": "anchor"} if is_turned else {"ha": "center"}
    for i, name in enumerate(names):
        middle = (i + 0.5) * cell
        sheet.text(name, left - 14, top + middle, size, ha="right", va="center_baseline")
        sheet.text(name, left + middle, top - 14, size, **turn)
        if seen := counts[i].sum():
            sheet.text(f"{counts[i, i] / seen:.1%}", right + 14, top + middle, size, GREY, va="center_baseline")
    most = (counts - np.diag(counts.diagonal())).max() or 1  # of one kind of mistake
    for (row, column), count in np.ndenumerate(counts):
        _draw_cell(
            sheet, int(count), None if row == column else count / most, left + column * cell, top + row * cell, cell
        )
    return sheet.figure


def _draw_cell(sheet: Sheet, count: int, share: float | None, left: float, top: float, cell: int) -> None:
    """Draw a number. `share` compares it with the most frequent mistake; None if these images are right."""
    ground, ink = mixed(np.array(0.12), HIGH), HIGH
    if share is not None:
        darkness = 0.12 + 0.68 * share**0.5
        ground, ink = mixed(np.array(darkness), LOW), PAPER if darkness > 0.5 else INK
    sheet.box(left + 1, top + 1, cell - 2, cell - 2, ground if count else FAINT)
    if count and cell >= _CELL_WITH_NUMBER:
        size = 9 if cell > 56 else 7
        sheet.text(f"{count:,}", left + cell / 2, top + cell / 2, size, ink, ha="center", va="center_baseline")


def worst(images: NDArray[Any], labels: NDArray[Any], outputs: NDArray[Any], names: list[str], count: int) -> Picture:
    """Draw the wrong images whose label has the smallest probability."""
    answers = outputs.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    shown = wrong[np.argsort(outputs[wrong, labels[wrong]], kind="stable")][:count]
    columns = max(min(_COLUMNS, len(shown)), 1)
    caption = _LETTER * (max(map(len, names)) + len(", 100%"))
    width, height = max(_TILE, caption) + _GAP, _TILE + _CAPTION + _GAP
    sheet = Sheet(
        2 * MARGIN + max(columns * width - _GAP, 960), 2 * MARGIN + HEAD + -(-len(shown) // columns) * height - _GAP
    )
    title, below = "No mistakes", f"The network reads all {len(images):,} images right."
    if len(wrong):
        which = f"The {len(shown)} worst of {len(wrong):,}" if len(shown) < len(wrong) else f"All {len(wrong):,}"
        title = f"{which} mistakes in {len(images):,} images"
        below = "Below each image is its label. In orange is what the network reads, and how probable it finds that."
    sheet.title(title, below)
    for number, i in enumerate(shown):
        left, top = MARGIN + number % columns * width, MARGIN + HEAD + number // columns * height
        _draw_tile(sheet, images[i], left, top)
        sheet.text(names[labels[i]], left, top + _TILE + 24, 9, fontweight="bold")
        sheet.text(f"{names[answers[i]]}, {outputs[i].max():.0%}", left, top + _TILE + 48, 9, LOW)
    return sheet.figure


def _draw_tile(sheet: Sheet, image: NDArray[Any], left: float, top: float) -> None:
    pixels = image_pixels(image)
    height, width = (max(1, round(_TILE * side / max(pixels.shape[:2]))) for side in pixels.shape[:2])
    sheet.image(framed(resized(pixels, height, width)), left + (_TILE - width) / 2, top + (_TILE - height) / 2)
