"""A network in words: its summary as text and as HTML, and what one would type to make it."""

from __future__ import annotations

from collections.abc import Sequence

from . import _stack
from .layers import Layer

_DO_NOT_FIT = (AttributeError, TypeError, ValueError)  # raised by layers that do not fit the images or each other


def summary(layers: Sequence[Layer], image_shape: tuple[int, ...]) -> str:
    """Return a table of the layers, their outputs' shapes and their parameters."""
    shapes, counts = _stack.sizes(layers, image_shape)
    lines = [f"{'layer':<17} {'output shape':<16} {'parameters':>12}"]
    for layer, shape, count in zip(layers, shapes, counts, strict=True):
        lines.append(f"{layer.kind:<17} {shape!s:<16} {count:>12,}{_frozen(layer, count, '  frozen')}")
    frozen = _stack.frozen_count(layers, counts)
    totals = {"total": sum(counts)} | ({"trainable": sum(counts) - frozen, "frozen": frozen} if frozen else {})
    return "\n".join([*lines, *(f"{name:<34} {count:>12,}" for name, count in totals.items())])


def _frozen(layer: Layer, count: int, text: str) -> str:
    """Return `text` for a layer whose parameters training does not change, and nothing for others."""
    return "" if layer.trainable or count == 0 else text


def typed(name: str, layers: Sequence[Layer], image_shape: tuple[int, ...]) -> str:
    """Return what one would type to make a network; beside each layer its output's shape and its parameters."""
    try:
        shapes, counts = _stack.sizes(layers, image_shape)
    except _DO_NOT_FIT:
        return f"{name}({layers!r})"
    calls = [f"    {layer!r}," for layer in layers]
    width = max(map(len, calls), default=0)
    frozen = _stack.frozen_count(layers, counts)
    note = f", {frozen:,} of them frozen" if frozen else ""
    lines = [f"{name}([  # for images of {image_shape}: {sum(counts):,} parameters{note}"]
    for layer, call, shape, count in zip(layers, calls, shapes, counts, strict=True):
        size = f", {count:,}" if count > 0 else ""
        lines.append(f"{call:<{width}}  # {shape}{size}{_frozen(layer, count, ', frozen')}")
    return "\n".join([*lines, "])"])


def as_html(text: str, layers: Sequence[Layer], image_shape: tuple[int, ...]) -> str:
    """Return a table of the layers, their outputs' shapes and their parameters; `text` if they do not fit."""
    from html import escape  # which only a notebook needs

    try:
        shapes, counts = _stack.sizes(layers, image_shape)
    except _DO_NOT_FIT:
        return f"<pre>{escape(text)}</pre>"
    rows = [
        (repr(layer), str(shape), f"{count:,}{_frozen(layer, count, ' (frozen)')}")
        for layer, shape, count in zip(layers, shapes, counts, strict=True)
    ]
    table = [_row("th", f"layer, for images of {image_shape}", "output shape", "parameters")]
    table += [_row("td", *map(escape, row)) for row in rows]
    return "\n".join(["<table>", *table, _row("th", "total", "", f"{sum(counts):,}"), "</table>"])


def _row(tag: str, *cells: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"
