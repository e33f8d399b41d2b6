"""The page that trains in a browser: ``python -m cnnx.page`` opens it.

It is one HTML file, which computes everything on this machine. A package has it if it was built before the package was
(``web/build.sh`` in a copy of the repository).
"""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from . import _command_line

__all__ = ["main"]

_PAGE = Path(__file__).with_name("page.html")


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the page, and return the exit code: 0, or 2 if there is no page or no browser."""
    parser = _command_line.OneLineParser(
        prog="python -m cnnx.page",
        description="Open a page on which you draw digits, and watch and train the article's network in the browser.",
    )
    parser.parse_args(arguments)
    return _command_line.run("cnnx.page", _open)


def _open() -> None:
    if not _PAGE.exists():
        raise FileNotFoundError(
            f"{_PAGE}: expected the page, got a package without it (run web/build.sh before pip install, in a copy of "
            "the repository)"
        )
    address = _PAGE.as_uri()
    print(address)
    if not webbrowser.open(address):
        raise OSError(f"found no browser (open {address} in one)")


if __name__ == "__main__":
    sys.exit(main())
