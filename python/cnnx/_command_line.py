"""What the programs of cnnx have in common: one line for an error, exit codes, readers that leave early, Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from .data import Digits


class OneLineParser(argparse.ArgumentParser):
    """Reads the options of `python -m NAME`. It raises ValueError if one is wrong, and does not end the process."""

    def error(self, message: str) -> NoReturn:
        """Raise the error, which `run` prints."""
        raise ValueError(f"{message} (--help explains the options)")


def run(name: str, program: Callable[[], object]) -> int:
    """Run a program, and return its exit code: 0, 2 after bad input, or 130 after Ctrl-C."""
    try:
        program()
        flush()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        _drop_unwritten_lines()
    except (ValueError, OSError, MemoryError, FloatingPointError, ImportError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        _drop_unwritten_lines()
        return 2
    return 0


def flush() -> None:
    """Write what was printed, while an error can still be told."""
    if sys.stdout is not None:
        sys.stdout.flush()


def digits(source: str) -> Digits:
    """Load the digits. An error names the option, and not the argument of `data.load`."""
    from . import data

    if not source:
        raise ValueError(f'--data: expected "sample", "mnist" or a folder, got {source!r}')
    try:
        return data.load(source)
    except data.DataError as error:
        message = str(error)
        raise ValueError(
            f"--data{message.removeprefix('source')}" if message.startswith("source:") else message
        ) from None


def _drop_unwritten_lines() -> None:
    """Forget what stdout does not take. Otherwise Python tries it again at its exit, and ends with code 120."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
