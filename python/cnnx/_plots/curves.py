"""How loss and accuracy changed over a training."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from .._curve import means
from ..history import History
from .sheet import FAINT, GREY, HIGH, INK, LINE, LOW, Picture, rgb

_PANEL, _HEIGHT = 650, 450  # pixels: the width of a panel, and the height of all
_LINE_HEIGHT = 27  # pixels, of text of 9 points
_POINTS, _SAMPLES = 200, 25  # the most points of a line, and the fewest samples of a point
_SMOOTH = 8  # points before and after each that the strong line takes the mean of
_LOG = 8.0  # from this ratio of the first and the last loss on, the axis is logarithmic

Numbers = NDArray[np.float64]


def draw(history: History) -> Picture:
    """Draw the loss, and the accuracy if there are classes."""
    panels = [("Loss", history.losses, history.validation[:, 0])]
    if len(history.correct):
        panels.append(("Accuracy", history.correct.astype(np.float64), history.validation[:, 1]))
    figure = Picture(_PANEL * len(panels), _HEIGHT)
    for i, (name, values, validation) in enumerate(panels):
        axes = figure.add_axes(((i + 0.12) / len(panels), 0.18, 0.7 / len(panels), 0.63), facecolor="none")
        _style(axes, name)
        places, points = means(values, max(1, min(_POINTS, len(values) // _SAMPLES)))
        places /= history.images
        smooth = _smoothed(points)
        axes.plot(places, points, color=rgb(HIGH), alpha=0.25, lw=1, ls="-", marker="")
        axes.plot(places, smooth, color=HIGH, lw=2, ls="-", marker="", solid_capstyle="round")
        ends = [("training", float(smooth[-1]), HIGH)]
        if len(validation):
            epochs = np.arange(1, len(validation) + 1)
            axes.plot(epochs, validation, color=LOW, lw=1.5, ls="-", marker="o", ms=4, mec=LOW, mfc=LOW, clip_on=False)
            ends.append(("validation", float(validation[-1]), LOW))
        _scale(axes, name, smooth, validation)
        axes.set_xlim(0, len(values) / history.images)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.set_xlabel("epochs", color=GREY, fontsize=9)
        _name_ends(axes, ends, "{:.1%}" if name == "Accuracy" else "{:.3f}")
    return figure


def _smoothed(points: Numbers) -> Numbers:
    """Return the mean around each point, of fewer points near an end."""
    at = np.arange(len(points))
    first, end = np.maximum(at - _SMOOTH, 0), np.minimum(at + _SMOOTH + 1, len(points))
    sums = np.concatenate([[0.0], points.cumsum()])
    return np.asarray((sums[end] - sums[first]) / (end - first))


def _style(axes: Any, name: str) -> None:
    axes.set_title(name, loc="left", color=INK, fontsize=13, fontweight="bold", pad=14)
    axes.grid(visible=False)
    axes.grid(visible=True, axis="y", color=FAINT, lw=1, ls="-")
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set(visible=side == "bottom", color=LINE, linewidth=1)
    axes.tick_params(which="both", colors=LINE, labelcolor=GREY, labelsize=9, length=0)
    axes.minorticks_off()


def _scale(axes: Any, name: str, smooth: Numbers, validation: Numbers) -> None:
    """Choose the vertical axis so that most of the training can be seen, and not only its first steps."""
    seen = np.concatenate([smooth, validation])
    if name == "Accuracy":
        later = np.concatenate([smooth[len(smooth) // 10 :], validation])
        axes.set_ylim(max(0.0, float(later.min()) - 0.02), 1.0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    elif seen.min() > 0 and seen.max() > _LOG * seen.min():
        axes.set_yscale("log")
        axes.set_ylim(seen.min() * 0.85, seen.max() * 1.15)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        least, most = min(0.0, float(seen.min())), max(0.0, float(seen.max()))  # a loss of one's own may be below 0
        margin = (most - least) / 20 or 1.0
        axes.set_ylim(least - margin if least < 0 else 0.0, most + margin)


def _name_ends(axes: Any, ends: list[tuple[str, float, str]], form: str) -> None:
    """Write name and last value beside each line's end, apart from each other."""
    box = axes.get_window_extent()
    heights = [float(axes.transData.transform((0, value))[1]) - box.y0 for _, value, _ in ends]
    if len(ends) == 2 and abs(heights[0] - heights[1]) < 2 * _LINE_HEIGHT:
        middle, sign = sum(heights) / 2, 1 if heights[0] >= heights[1] else -1
        middle = min(max(middle, 1.5 * _LINE_HEIGHT), box.height - _LINE_HEIGHT)
        heights = [middle + sign * _LINE_HEIGHT, middle - sign * _LINE_HEIGHT]
    for (name, value, colour), height in zip(ends, heights, strict=True):
        y = min(max(height, _LINE_HEIGHT / 2), box.height) / box.height
        text = f"{name}\n{form.format(value)}"
        axes.text(1.03, y, text, transform=axes.transAxes, color=colour, fontsize=9, va="center", ha="left")
