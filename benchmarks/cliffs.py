"""What a small change to the article's network costs: `python benchmarks/cliffs.py --data FOLDER`.

Every row is one change, trained by `fit` on one thread: microseconds a digit, and how many times the article's network
(ties="all", batch size 1, plain SGD) takes in the same round. The rows take turns, A B C, A B C, and every turn begins
from the initial parameters with a new optimizer. Some rows have a limit on that multiple.

No row is timed before its losses on the first digits agree with the same steps taken in float64 by `cnnx.reference`.
Which values Dropout drops depends on the core's own draws, so a network with Dropout is verified at rate 0.
"""

import argparse
import math
import platform
import shlex
import statistics
import sys
import time
from typing import Any

import numpy as np
from cliff_rows import ARTICLE, ROWS, Row
from machine import cpu_name
from report import number
from twin import Twin

import cnnx

CHECKED = 200  # digits whose losses are held against the reference
TOLERANCE = {"float32": 5e-5, "float64": 1e-11}  # of a loss, ten times what rounding does; a wrong rule does far more


class Contender:
    """A row that takes turns, or has a `problem`."""

    def __init__(self, row: Row, dtype: str, images: Any, labels: Any) -> None:
        self.row, self.dtype, self.images, self.labels = row, dtype, images, labels
        self.problem = self.verified = ""
        self.rounds: list[float] = []

    def make_ready(self, seconds: float) -> None:
        """Build and verify the network, and find how many digits fill `seconds`."""
        try:
            self.network = self.row.network(self.dtype, np.random.default_rng(0))
            self.arrays = [array for layer in self.network.layers for array in layer.parameters().values()]
            self.kept = [array.copy() for array in self.arrays]
            self.verify()
            self.count = least = max(64, self.row.batch)
            while not self.problem and (taken := self.turn() * self.count / 1e6) < 0.8 * seconds:
                self.count = math.ceil(self.count * min(10.0, seconds / taken) / least) * least
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"
        print(f"{self.row.name}: {self.problem or self.verified}", file=sys.stderr)

    def verify(self) -> None:
        dropouts = [layer for layer in self.network.layers if isinstance(layer, cnnx.Dropout)]
        rates = [layer.rate for layer in dropouts]
        for layer in dropouts:
            layer.rate = 0.0
        digits = self.images[:CHECKED], self.labels[:CHECKED]
        expected = Twin(self.network).losses(*digits, self.row.batch, self.row.optimizer())
        worst = float(np.max(np.abs(self.fit(*digits, self.row.optimizer()) - expected)))
        for layer, rate in zip(dropouts, rates, strict=True):
            layer.rate = rate
        self.verified = f"to {worst:.0e}" + (" at rate 0" if dropouts else "")
        if not worst <= TOLERANCE[self.dtype]:
            self.problem = f"NOT VERIFIED: losses differ by {worst:.2g}, allowed {TOLERANCE[self.dtype]:.2g}"

    def fit(self, images: Any, labels: Any, optimizer: Any, **order: Any) -> Any:
        options = {"shuffle": False} | order | {"batch_size": self.row.batch, "optimizer": optimizer}
        return self.network.fit(images, labels, epochs=1, threads=1, **options).losses

    def turn(self) -> float:
        """Return the microseconds a digit of about `count` digits from the initial parameters."""
        for array, values in zip(self.arrays, self.kept, strict=True):
            array[...] = values
        images, labels = self.images[: self.count], self.labels[: self.count]
        optimizer, rng, calls = self.row.optimizer(), np.random.default_rng(0), math.ceil(self.count / len(images))
        start = time.perf_counter()
        for _ in range(calls):
            self.fit(images, labels, optimizer, shuffle=True, rng=rng)
        return (time.perf_counter() - start) / len(images) / calls * 1e6

    def line(self, base: list[float]) -> str:
        """Return the row of the table, beside the article's turns in the same rounds."""
        name, limit = self.row.name, "" if self.row.limit is None else f"≤ {self.row.limit:g}"
        if self.problem:
            return f"| {name} | — | — | {limit} | {'not measured' if limit else ''} | {self.problem} |"
        ratios = [took / other for took, other in zip(self.rounds, base, strict=True)]
        met = "" if self.row.limit is None else "yes" if statistics.median(ratios) <= self.row.limit else "NO"
        return f"| {name} | {spread(self.rounds)} | {spread(ratios)} | {limit} | {met} | {self.verified} |"


def spread(values: list[float]) -> str:
    return f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})"


def measure(args: argparse.Namespace) -> list[Contender]:
    loaded = cnnx.data.load(args.data)
    digits = loaded.train_images, loaded.train_labels
    noise = np.random.default_rng(1).integers(0, 256, (10_000, 28, 28), dtype=np.uint8), loaded.train_labels[:10_000]
    chosen = [row for row in ROWS if row.name == ARTICLE or not args.only or args.only in row.name]
    contenders = [Contender(row, args.dtype, *(noise if row.is_noise else digits)) for row in chosen]
    for contender in contenders:
        contender.make_ready(args.seconds)
    if contenders[0].problem:
        raise SystemExit(f"nothing to compare with: {contenders[0].problem}")
    for turn in range(args.rounds):
        print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)
        for contender in contenders:
            if not contender.problem:
                contender.rounds.append(contender.turn())
    return contenders


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="a folder of MNIST's IDX files")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each network (default 7)")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn (default 0.3)")
    parser.add_argument("--dtype", choices=TOLERANCE, default="float32")
    parser.add_argument("--only", metavar="TEXT", help="the article's network, and rows whose name holds this text")
    args = parser.parse_args()
    contenders = measure(args)
    about = f"{cpu_name()}, target {cnnx.active_target()}, cnnx {cnnx.__version__}, numpy {np.__version__}"
    print(f"- {about}, Python {platform.python_version()}")
    print(f"- `python {shlex.join(sys.argv)}`: {args.dtype}, one thread, medians (smallest–largest) of the rounds\n")
    print("| network | µs a digit | × the article's | limit | met | losses verified |")
    print("| --- | ---: | ---: | ---: | --- | --- |")
    for contender in contenders:
        print(contender.line(contenders[0].rounds))
    return int(any("NOT VERIFIED" in contender.problem for contender in contenders))


if __name__ == "__main__":
    sys.exit(main())
