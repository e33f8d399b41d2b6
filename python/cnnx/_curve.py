"""A training's history as a curve: what a notebook shows, without any package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .history import History

_WIDTH, _HEIGHT, _POINTS = 240, 80, 120  # pixels of a curve, and its most points

Numbers = NDArray[np.float64]


def means(values: Numbers, parts: int) -> tuple[Numbers, Numbers]:
    """Return where the middles of equal parts of the values are, and the parts' means."""
    edges = np.linspace(0, len(values), min(parts, len(values)) + 1).round().astype(np.intp)
    return (edges[:-1] + edges[1:]) / 2, np.add.reduceat(values, edges[:-1]) / np.diff(edges)


def as_html(history: History) -> str:
    """Return the history's line, and its loss and accuracy as curves."""
    from html import escape  # which only a notebook needs

    curves = [("loss", history.losses, "{:.3f}"), ("accuracy", history.correct.astype(np.float64), "{:.1%}")]
    drawn = [_svg(name, values, form) for name, values, form in curves if len(values)]
    return f"<div>{escape(repr(history))}</div><div>{''.join(drawn)}</div>"


def _svg(name: str, values: Numbers, form: str) -> str:
    """Return a curve. Beside it are the largest and the smallest mean."""
    places, heights = means(values, _POINTS)
    least, most = float(heights.min()), float(heights.max())
    x = places * _WIDTH / len(values)
    y = 4 + (_HEIGHT - 8) * (most - heights) / ((most - least) or 1.0)
    points = " ".join(f"{across:.0f},{down:.0f}" for across, down in zip(x, y, strict=True))
    texts = [(12, form.format(most)), (_HEIGHT / 2 + 4, name), (_HEIGHT - 4, form.format(least))]
    labels = "".join(f'<text x="{_WIDTH + 6}" y="{at:.0f}">{text}</text>' for at, text in texts)
    return (
        f'<svg width="{_WIDTH + 80}" height="{_HEIGHT}" font-size="11" fill="currentColor" role="img">'
        f"<title>{name}</title>"
        f'<polyline points="{points}" fill="none" stroke="#3b82f6" stroke-width="1.5"/>{labels}</svg>'
    )
