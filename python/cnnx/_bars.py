"""The bar below the lines of ``python -m cnnx.train``, which is wiped out before the next line."""

from __future__ import annotations

from typing import Any, TextIO

from . import progress


class Characters:
    """A bar that needs nothing but a terminal."""

    def __init__(self, terminal: TextIO, samples: int) -> None:
        self.terminal, self.samples = terminal, samples

    def show(self, epoch: int, seen: int, loss: float) -> None:
        """Draw how many of an epoch's samples were seen, and the loss of the last ones."""
        done = 30 * seen // self.samples
        self._write(f"\r[{'#' * done}{'.' * (30 - done)}] epoch {epoch}, loss {loss:.3f} ")

    def clear(self) -> None:
        """Wipe the bar out."""
        self._write("\r\033[K")

    def _write(self, text: str) -> None:
        self.terminal.write(text)
        self.terminal.flush()


class Tqdm:
    """A bar of tqdm, which also tells the speed and the time that is left."""

    def __init__(self, make_bar: Any, samples: int) -> None:
        self._make_bar, self.samples = make_bar, samples
        self._drawn: Any = None

    def show(self, epoch: int, seen: int, loss: float) -> None:
        if self._drawn is None:
            self._drawn = self._make_bar(total=self.samples, desc=f"epoch {epoch}", unit=" digits", leave=False)
        self._drawn.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self._drawn.update(seen - self._drawn.n)

    def clear(self) -> None:
        if self._drawn is not None:
            self._drawn.close()
            self._drawn = None


def on_terminal(terminal: TextIO, samples: int) -> Characters | Tqdm:
    """Return a bar for epochs of `samples` samples: tqdm's if it is installed."""
    make_bar = progress.bar_maker(terminal)
    return Characters(terminal, samples) if make_bar is None else Tqdm(make_bar, samples)
