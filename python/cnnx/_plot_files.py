"""Pictures in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ._train_options import naming_option
from ._whole_files import check_writable, naming, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (".png", ".svg", ".pdf")


def check(option: str, path: Path) -> None:
    """Refuse a file that cannot be written, or whose name does not say which kind of picture it is."""
    if path.suffix.lower() not in KINDS:
        raise ValueError(f"{option}: expected a file name that ends in .png, .svg or .pdf, got {str(path)!r}")
    with naming_option(option, path, "a file that can be written"):
        check_writable(path)


def write(figure: Figure, option: str, path: Path) -> None:
    """Write a figure to a file, which appears whole or not at all."""
    from ._plots.sheet import bytes_of

    content = bytes_of(figure, path.suffix.lower()[1:])
    with naming_option(option, path, "a file that can be written"), naming(path), writing(path) as file:
        file.write(content)
