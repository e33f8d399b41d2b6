"""``python -m cnnx.plot MODEL``: its options, and where its picture goes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import _command_line, _plot_files, plot, storage
from ._train_options import at_least
from .network import Sequential

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OPTIONS = {"maps": ["data", "digit"], "filters": ["layer"], "confusion": ["data"], "mistakes": ["data", "count"]}


def main(arguments: Sequence[str] | None) -> int:
    """Run the command line, and return the exit code: 0, 2 after bad input, or 130 after Ctrl-C."""
    return _command_line.run("cnnx.plot", lambda: _run(_make_parser().parse_args(arguments)))


def _make_parser() -> argparse.ArgumentParser:
    parser = _command_line.OneLineParser(
        prog="python -m cnnx.plot",
        description="Draw a saved network: what each layer makes of a digit (maps), what the first layer looks for "
        "(filters), which digits are taken for which (confusion), or the digits that it gets most wrong (mistakes).",
        epilog="Example: 'python -m cnnx.plot digits.npz mistakes --save mistakes.png', after 'python -m cnnx.train "
        "--save digits.npz'.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="a network saved by cnnx")
    parser.add_argument(
        "picture", metavar="PICTURE", nargs="?", choices=list(_OPTIONS), default="maps",
        help="maps, filters, confusion or mistakes (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="write a .png, .svg or .pdf file (default: show a window)"
    )
    parser.add_argument(
        "--data", metavar="{sample,mnist,FOLDER}",
        help="whose test digits are drawn, as in cnnx.train (default: sample)",
    )  # fmt: skip
    parser.add_argument(
        "--digit", type=at_least(0), metavar="N", help="for maps: which test digit, from 0 (default: 0)"
    )
    parser.add_argument(
        "--layer", type=at_least(0), metavar="N",
        help="for filters: the position of a convolution, from 0 (default: the first convolution)",
    )  # fmt: skip
    parser.add_argument(
        "--count", type=at_least(1), metavar="N", help="for mistakes: how many digits to draw at most (default: 24)"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    for name in ("data", "digit", "layer", "count"):
        if (given := getattr(options, name)) is not None and name not in _OPTIONS[options.picture]:
            raise ValueError(f"--{name}: expected none for {options.picture}, got {given!r}")
    if options.save is not None:
        _plot_files.check("--save", options.save)
    network = storage.load(options.model)
    figure = _filters(network, options) if options.picture == "filters" else _of_digits(network, options)
    if options.save is None:
        _show(figure)
    else:
        _plot_files.write(figure, "--save", options.save)


def _filters(network: Sequential, options: argparse.Namespace) -> Figure:
    try:
        position, _ = plot._convolution(network, options.layer)
    except ValueError as error:
        raise ValueError(f"--{error}" if options.layer is not None else f"{options.model}: {error}") from None
    return plot.filters(network, position)


def _of_digits(network: Sequential, options: argparse.Namespace) -> Figure:
    digits = _command_line.digits("sample" if options.data is None else options.data)
    if options.picture == "maps":
        digit = options.digit or 0
        if digit >= len(digits.test_images):
            raise ValueError(f"--digit: expected less than {len(digits.test_images)}, got {digit}")
        return plot.feature_maps(network, digits.test_images[digit])
    tested = digits.test_images, digits.test_labels
    if options.picture == "confusion":
        return plot.confusion(network, *tested)
    return plot.mistakes(network, *tested, count=options.count or 24)


def _show(figure: Figure) -> None:
    """Show a figure in a window until it is closed."""
    from matplotlib import pyplot

    window = pyplot.figure(FigureClass=lambda **_: figure)  # pyplot makes a window for a figure that it "makes"
    if window.canvas.required_interactive_framework is None:
        raise ValueError("--save: expected FILE, because matplotlib can open no window here, got none")
    pyplot.show()
