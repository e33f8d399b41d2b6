"""Bars that show how far a training is, for a person who watches. They need the extra ``progress``, that is, tqdm.

``network.fit(..., on_progress=cnnx.progress.bar())`` draws a bar for each epoch on a terminal or in a notebook. Nothing
is drawn if nobody watches, if tqdm is not installed, or if the environment variable ``TQDM_DISABLE`` is 1.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any, TextIO

from .history import OnProgress, Progress

__all__ = ["bar"]


def bar(file: TextIO | None = None) -> OnProgress:
    """Return a function for `on_progress` of `Sequential.fit`, which draws a bar for each epoch.

    Each bar counts the epoch's steps, and shows the loss of the last window. It stays as a line when the epoch is over,
    with the validation if there is one.

    Args:
        file: the terminal to draw on; None for stderr.

    Raises:
        TypeError: `file` is no text file.
    """
    if file is not None and not (hasattr(file, "isatty") and hasattr(file, "write")):
        raise TypeError(f"file: expected a terminal or another text file, or None, got {file!r}")
    make_bar = bar_maker(sys.stderr if file is None else file)
    return _no_bar if make_bar is None else Bar(make_bar)


def bar_maker(file: TextIO | None) -> Any:
    """Return tqdm's class for bars on a terminal or in a notebook; None if nobody watches or tqdm is missing."""
    is_notebook = file is sys.stderr and _is_notebook()
    is_watched = is_notebook or (file is not None and file.isatty())
    if not is_watched or importlib.util.find_spec("tqdm") is None:
        return None
    if is_notebook and importlib.util.find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm as of_notebook  # which draws with widgets

        return of_notebook
    from functools import partial

    from tqdm.std import tqdm

    return partial(tqdm, file=file, dynamic_ncols=True)


def _is_notebook() -> bool:
    """Whether the code runs in a cell of a notebook."""
    if "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


class Bar:
    """Draws a bar for each epoch with what `bar_maker` has returned."""

    def __init__(self, make_bar: Any) -> None:
        self._make_bar, self._epoch = make_bar, 0
        self._drawn: Any = None

    def __call__(self, progress: Progress) -> None:
        """Draw the bar up to the end of a window."""
        if self._drawn is not None and not self._goes_on(progress):  # an error or Ctrl-C has ended an earlier training
            self._close()
        if self._drawn is None:
            self._epoch = progress.epoch
            self._drawn = self._make_bar(
                total=progress.steps, desc=f"epoch {progress.epoch}/{progress.epochs}", unit=" steps"
            )
        told = f"loss {progress.loss:.3f}"
        if progress.validation is not None:
            told += f", validation {progress.validation[0]:.3f}"
        self._drawn.set_postfix_str(told, refresh=False)
        self._drawn.update(progress.step - self._drawn.n)
        if progress.step == progress.steps:
            self._close()

    def _goes_on(self, progress: Progress) -> bool:
        """Whether a window follows what is drawn."""
        is_same_epoch = (progress.epoch, progress.steps) == (self._epoch, self._drawn.total)
        return is_same_epoch and progress.step > self._drawn.n

    def _close(self) -> None:
        self._drawn.close()
        self._drawn = None


def _no_bar(_: Progress) -> None:
    """Draw nothing."""
