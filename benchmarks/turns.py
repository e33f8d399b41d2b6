"""What every program here does: entrants are verified, then take turns, and the medians over the rounds count.

Taking turns, A B C A B C, means that whatever the machine does meanwhile happens to all of them. An entrant may be a
process of its own, in another Python: it answers lines of JSON until its input ends (`Process` and `serve`).
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

# How far a loss or probability may be from numpy's in float64: ten times what rounding does in 200 steps. A wrong rule,
# such as the other one for ties in the pooling, does a thousand times as much.
TOLERANCE = {"float32": 5e-5, "float64": 1e-11}


class Process:
    """A Python program that stays alive and calls a method of what it serves for every request."""

    def __init__(self, *command: Any, environment: dict[str, str] | None = None) -> None:
        self.name = str(command[0])
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )

    def ask(self, method: str, *arguments: Any) -> Any:
        """Return what the method returns; RuntimeError if it raises, or if the program has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps([method, *arguments]), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        reply = json.loads(line) if line else {"problem": f"{self.name} ended with code {self.process.wait()}"}
        if "problem" in reply:
            raise RuntimeError(reply["problem"])
        return reply["reply"]

    def close(self) -> None:
        """Let the program end."""
        self.process.communicate()


def serve(make: Callable[[], Any]) -> None:
    """Answer requests with the methods of what `make` returns at the first one."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # frameworks print as they please
    served = None
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            served = served or make()
            reply = {"reply": getattr(served, method)(*arguments)}
        except Exception as error:
            reply = {"problem": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies)


class Entrant:
    """A row of a table. It is verified and timed in turns, or has a `problem`.

    `answer()` returns the numbers that are verified. `clock(count)` returns the seconds that `count` repetitions took,
    each of `items` items.
    """

    def __init__(self, name: str, answer: Callable[[], Any], clock: Callable[[int], float], items: int = 1) -> None:
        self.name, self.answer, self.clock, self.items = name, answer, clock, items
        self.problem = self.verified = ""
        self.count = 1
        self.rounds: list[float] = []

    def verify(self, expected: Any, tolerance: float) -> None:
        """Hold the answer against the expected one: arrays, or nested lists, of as many numbers."""

        def compare() -> None:
            answer, right = flat(self.answer()), flat(expected)
            apart = [abs(got - wanted) for got, wanted in zip(answer, right, strict=True)]
            worst = max(apart, default=0.0)
            self.verified = f"to {worst:.0e}" if worst else "the same bits" if apart else "—"
            if not all(distance <= tolerance for distance in apart):  # false of a NaN, too
                self.problem = f"NOT VERIFIED: differs by {worst:.2g}, allowed {tolerance:.2g}"

        self._attempt(compare)

    def fill(self, seconds: float, least: int = 1, most: int = 10**9) -> None:
        """Find how many repetitions take `seconds`, which also warms the entrant up."""

        def find() -> None:
            self.count = least
            while (taken := self.clock(self.count)) < 0.8 * seconds and self.count < most:
                self.count = min(most, math.ceil(self.count * min(10.0, seconds / max(taken, 1e-9))))

        self._attempt(find)
        print(f"{self.name}: {self.problem or self.verified or 'ready'}", file=sys.stderr)

    def turn(self) -> None:
        """Take one turn, in microseconds an item."""
        self._attempt(lambda: self.rounds.append(self.clock(self.count) / self.count / self.items * 1e6))

    def _attempt(self, step: Callable[[], None]) -> None:
        if not self.problem:
            try:
                step()
            except Exception as error:
                self.problem = str(error) if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}"

    @property
    def median(self) -> float:
        """Return the median over the rounds."""
        return statistics.median(self.rounds)

    def times(self, other: "Entrant") -> list[float]:
        """Return how many times the other one this entrant took, round by round."""
        return [own / its for own, its in zip(self.rounds, other.rounds, strict=True)]


def take_turns(entrants: Iterable[Entrant], rounds: int) -> None:
    """Let all take as many turns as there are rounds."""
    entrants = list(entrants)
    for turn in range(rounds):
        print(f"round {turn + 1} of {rounds}", file=sys.stderr)
        for entrant in entrants:
            entrant.turn()


def flat(values: Any) -> list[float]:
    """Return the numbers of an array or of nested lists. Any Python can run this file: it needs no numpy."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    return [found for part in values for found in flat(part)] if isinstance(values, (list, tuple)) else [float(values)]


def number(value: float) -> str:
    """Return a figure with three digits, and no more after the point than it needs."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def spread(values: list[float]) -> str:
    """Return the median, and the smallest and largest value."""
    return f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})"


def table(*columns: str) -> None:
    """Print the head of a Markdown table; a column whose name begins with ">" has figures."""
    line(*(column.removeprefix(">") for column in columns))
    line(*("---:" if column.startswith(">") else "---" for column in columns))


def line(*cells: str) -> None:
    """Print a line of a Markdown table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def wanted(names: Iterable[str], text: str) -> list[str]:
    """Return the names of rows that hold the text. If there is none, exit with all names."""
    names = list(names)
    found = [name for name in names if text in name]
    if not found:
        raise SystemExit(f"--only: expected a part of a row's name, got {text!r}; the rows are:\n" + "\n".join(names))
    return found


def options(about: str | None, rounds: int, seconds: float | None = None) -> argparse.ArgumentParser:
    """Return a command line with what all programs understand."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each row (default {rounds})")
    if seconds is not None:
        parser.add_argument("--seconds", type=float, default=seconds, help=f"length of a turn (default {seconds:g})")
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose name holds this text")
    return parser
