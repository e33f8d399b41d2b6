"""What a small change to the article's network costs: `python benchmarks/cliffs.py --data FOLDER`.

Every row is one change, trained by `fit` on one thread: microseconds a digit, and how many times the article's network
(ties="all", batch size 1, plain SGD) takes in the same round. The rows take turns, A B C, A B C, and every turn begins
from the initial parameters with a new optimizer. Some rows have a limit on that multiple.

No row is timed before its losses on the first digits agree with the same steps taken in float64 by `cnnx.reference`.
Which values Dropout drops depends on the core's own draws, so a network with Dropout is verified at rate 0.
"""

import argparse
import platform
import shlex
import statistics
import sys
import time
from typing import Any

import numpy as np
import turns
from cliff_rows import ARTICLE, ROWS, Row
from machine import cpu_name
from turns import TOLERANCE, Entrant, line, spread
from twin import Twin

import cnnx

CHECKED = 200  # digits whose losses are held against the reference


class Cliff(Entrant):
    """A row that takes turns, or has a `problem`. A repetition is `items` digits, whole batches."""

    def __init__(self, row: Row, dtype: str, images: Any, labels: Any) -> None:
        super().__init__(row.name, self.losses, self.train, items=max(64, row.batch))
        self.row, self.dtype, self.images, self.labels = row, dtype, images, labels

    def make_ready(self, seconds: float) -> None:
        """Build and verify the network, and find how many digits fill `seconds`."""
        try:
            self.network = self.row.network(self.dtype, np.random.default_rng(0))
        except Exception as error:  # the installed cnnx may be older than the row
            self.problem = f"{type(error).__name__}: {error}"
        else:
            self.kept = self.network.parameters.copy()
            twin = Twin(self.network)
            checked = self.images[:CHECKED], self.labels[:CHECKED], self.row.batch
            self.verify(twin.losses(*checked, self.row.optimizer()), TOLERANCE[self.dtype])
        self.fill(seconds)

    def losses(self) -> Any:
        dropouts = [layer for layer in self.network.layers if isinstance(layer, cnnx.Dropout)]
        rates = [layer.rate for layer in dropouts]
        for layer in dropouts:
            layer.rate = 0.0
        losses = self.fit(CHECKED, self.row.optimizer(), shuffle=False)
        for layer, rate in zip(dropouts, rates, strict=True):
            layer.rate = rate
        return losses

    def train(self, count: int) -> float:
        self.network.parameters[...] = self.kept
        optimizer, rng, left = self.row.optimizer(), np.random.default_rng(0), count * self.items
        start = time.perf_counter()
        while left > 0:
            left -= len(self.fit(min(left, len(self.images)), optimizer, rng=rng))
        return time.perf_counter() - start

    def fit(self, digits: int, optimizer: Any, **order: Any) -> Any:
        options = order | {"epochs": 1, "batch_size": self.row.batch, "optimizer": optimizer, "threads": 1}
        return self.network.fit(self.images[:digits], self.labels[:digits], **options).losses

    def cells(self, article: Entrant) -> list[str]:
        """Return the row of the table, beside the article's turns in the same rounds."""
        limit = "" if self.row.limit is None else f"≤ {self.row.limit:g}"
        if self.problem:
            return [self.name, "—", "—", limit, "not measured" if limit else "", self.problem]
        ratios = self.times(article)
        met = "" if self.row.limit is None else "yes" if statistics.median(ratios) <= self.row.limit else "NO"
        return [self.name, spread(self.rounds), spread(ratios), limit, met, self.verified]


def measure(args: argparse.Namespace) -> list[Cliff]:
    """Verify and time the rows, the article's network first."""
    loaded = cnnx.data.load(args.data)
    digits = loaded.train_images, loaded.train_labels
    noise = np.random.default_rng(1).integers(0, 256, (10_000, 28, 28), dtype=np.uint8), loaded.train_labels[:10_000]
    wanted = turns.wanted([row.name for row in ROWS], args.only)
    chosen = [row for row in ROWS if row.name == ARTICLE or row.name in wanted]
    cliffs = [Cliff(row, args.dtype, *(noise if row.is_noise else digits)) for row in chosen]
    for cliff in cliffs:
        cliff.make_ready(args.seconds)
    if cliffs[0].problem:
        raise SystemExit(f"nothing to compare with: {cliffs[0].problem}")
    turns.take_turns(cliffs, args.rounds)
    return cliffs


def main() -> int:
    parser = turns.options(__doc__, rounds=7, seconds=0.3)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="a folder of MNIST's IDX files")
    parser.add_argument("--dtype", choices=TOLERANCE, default="float32")
    args = parser.parse_args()
    cliffs = measure(args)
    about = f"{cpu_name()}, target {cnnx.active_target()}, cnnx {cnnx.__version__}, numpy {np.__version__}"
    print(f"- {about}, Python {platform.python_version()}")
    print(f"- `python {shlex.join(sys.argv)}`: {args.dtype}, one thread, medians (smallest–largest) of the rounds\n")
    turns.table("network", ">µs a digit", ">× the article's", "limit", "met", "losses verified")
    for cliff in cliffs:
        line(*cliff.cells(cliffs[0]))
    return int(any("NOT VERIFIED" in cliff.problem for cliff in cliffs))


if __name__ == "__main__":
    sys.exit(main())
