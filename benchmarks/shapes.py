"""Networks of many shapes, cnnx beside PyTorch: `python benchmarks/shapes.py --torch PYTHON`.

Each row is a network on noise images, float32, one thread, batches of 64, trained by Adam; then its predictions. Times
are microseconds an image, medians over the rounds, in which the two take turns. "Of peak" counts the multiplications of
dense arithmetic, twice, against the multiply-adds that one core does in the same round (peak.cpp, for which a C++
compiler is needed): zeros that are skipped count as computed.

`--torch` is the Python of an environment with PyTorch and numpy; without it there is no comparison.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

BATCH, CLASSES = 64, 10

# How the cost grows with the image and with the filters.
BY_SIZE: dict[str, tuple[int, list[str]]] = {
    f"{size}x{size}, conv 16, relu, conv 16": (size, ["conv 16", "relu", "conv 16"]) for size in (12, 28, 56, 112, 224)
}
BY_FILTERS: dict[str, tuple[int, list[str]]] = {
    f"28x28, conv {n}, relu, conv {n}": (28, [f"conv {n}", "relu", f"conv {n}"]) for n in (8, 16, 32, 64)
}
# The image's side and layers: "conv 8", "same 8" (with padding), "pool", "relu", "dense 128".
NETWORKS: dict[str, tuple[int, list[str]]] = {
    "conv 16, pool, relu, conv 32, pool, relu": (28, ["conv 16", "pool", "relu", "conv 32", "pool", "relu"]),
    "the same with 17 and 33 filters": (28, ["conv 17", "pool", "relu", "conv 33", "pool", "relu"]),
    "keras_convnet without dropout": (28, ["conv 32", "relu", "pool", "conv 64", "relu", "pool"]),
    "the same with Dense(128)": (28, ["conv 32", "relu", "pool", "conv 64", "relu", "pool", "dense 128", "relu"]),
    '"same" 32, "same" 32, pool': (28, ["same 32", "same 32", "pool"]),
    "conv 8, relu, conv 8, relu, no pooling": (28, ["conv 8", "relu", "conv 8", "relu"]),
    "dense 784, 128, 10": (28, ["dense 128", "relu"]),
    **BY_SIZE,
    **BY_FILTERS,
}


def multiplications(size: int, layers: list[str]) -> tuple[int, int]:
    """Return how many a prediction takes, and a step of the training: without the gradient of the image."""
    shape, forward, backward = (size, size, 1), 0, 0
    for position, layer in enumerate([*layers, f"dense {CLASSES}"]):
        kind, _, number = layer.partition(" ")
        if kind in ("conv", "same"):
            less = 2 if kind == "conv" else 0
            count = (shape[0] - less) * (shape[1] - less) * 9 * shape[2] * int(number)
            shape = (shape[0] - less, shape[1] - less, int(number))
        elif kind == "dense":
            count = int(np.prod(shape)) * int(number)
            shape = (1, 1, int(number))
        else:
            count = 0
            shape = (shape[0] // 2, shape[1] // 2, shape[2]) if kind == "pool" else shape
        forward += count
        backward += count if position == 0 else 2 * count
    return forward, forward + backward


class Cnnx:
    """A row's network in this process."""

    def __init__(self, size: int, layers: list[str]) -> None:
        import cnnx

        made: list[Any] = []
        shape: tuple[int, ...] = (size, size)
        for layer in layers:
            kind, _, number = layer.partition(" ")
            if kind in ("conv", "same"):
                channels = {"in_channels": shape[2]} if len(shape) == 3 else {}
                padding = "same" if kind == "same" else "valid"
                made.append(cnnx.Conv3x3(int(number), padding=padding, use_bias=True, dtype=np.float32, **channels))
            elif kind == "dense":
                made.append(cnnx.Dense(int(np.prod(shape)), int(number), dtype=np.float32))
            else:
                made.append(cnnx.MaxPool2() if kind == "pool" else cnnx.ReLU())
            shape = made[-1].output_shape(shape)
        made.append(cnnx.Softmax(int(np.prod(shape)), CLASSES, dtype=np.float32))
        self.network, self.optimizer = cnnx.Sequential(made), cnnx.Adam(1e-4)

    def train(self, images: Any, labels: Any) -> None:
        self.network.fit(images, labels, epochs=1, batch_size=BATCH, optimizer=self.optimizer, shuffle=False, threads=1)

    def predict(self, images: Any) -> None:
        self.network.predict(images, threads=1)


class Torch:
    """The same network in PyTorch."""

    def __init__(self, size: int, layers: list[str]) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        nn, made, channels = torch.nn, [], 1
        for layer in layers:
            kind, _, number = layer.partition(" ")
            if kind in ("conv", "same"):
                made.append(nn.Conv2d(channels, int(number), 3, padding=1 if kind == "same" else 0))
                channels = int(number)
            elif kind == "dense":
                made += [nn.Flatten(), nn.LazyLinear(int(number))]
            else:
                made.append(nn.MaxPool2d(2) if kind == "pool" else nn.ReLU())
        self.network = nn.Sequential(*made, nn.Flatten(), nn.LazyLinear(CLASSES))
        self.network(torch.zeros(1, 1, size, size))
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-4)

    def train(self, images: Any, labels: Any) -> None:
        torch = self.torch
        for start in range(0, len(images), BATCH):
            x = torch.from_numpy(images[start : start + BATCH, None])
            y = torch.from_numpy(labels[start : start + BATCH]).long()
            self.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self.network(x), y).backward()
            self.optimizer.step()

    def predict(self, images: Any) -> None:
        with self.torch.no_grad():
            for start in range(0, len(images), BATCH):
                self.network(self.torch.from_numpy(images[start : start + BATCH, None])).softmax(1)


class Timer:
    """Times one side's networks on the same images."""

    def __init__(self, side: Any) -> None:
        self.side, self.row = side, ""

    def __call__(self, row: str, task: str) -> float:
        """Return the microseconds that `task` takes an image."""
        size, layers = NETWORKS[row]
        if self.row != row:
            rng = np.random.default_rng(0)
            count = max(4, 60_000_000 // multiplications(size, layers)[1]) * BATCH  # many batches a call of fit
            self.images = (rng.random((count, size, size)) - 0.5).astype(np.float32)
            self.labels = rng.integers(0, CLASSES, count)
            self.row, self.network = row, self.side(size, layers)
            getattr(self.network, task)(self.images[:BATCH], *([self.labels[:BATCH]] if task == "train" else []))
        start = time.perf_counter()
        getattr(self.network, task)(self.images, *([self.labels] if task == "train" else []))
        return (time.perf_counter() - start) / len(self.images) * 1e6


class Remote:
    """A timer of PyTorch in another process."""

    def __init__(self, python: str) -> None:
        command = [python, __file__, "--serve"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, row: str, task: str) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([row, task]), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", metavar="PYTHON", help="the Python of an environment with PyTorch")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose name holds this text")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        timer = Timer(Torch)
        for line in sys.stdin:
            print(timer(*json.loads(line)), flush=True)
        return
    rows = [row for row in NETWORKS if options.only in row]
    shares = measure(rows, options.rounds, Remote(options.torch) if options.torch else None)
    for growth in (BY_SIZE, BY_FILTERS):
        if growth.keys() <= shares.keys():
            print_picture({row: shares[row] for row in growth})


def measure(rows: list[str], rounds: int, theirs: Remote | None) -> dict[str, dict[str, float]]:
    """Print the table, and return each row's shares of the peak by task."""
    from machine import Peak  # which imports cnnx, that PyTorch's environment need not have

    ours, shares = Timer(Cnnx), {}
    print("| network | task | cnnx, µs | of peak | PyTorch, µs | PyTorch ÷ cnnx |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        peak = Peak(Path(folder))
        for row in rows:
            shares[row] = {}
            for task, count in zip(("predict", "train"), multiplications(*NETWORKS[row]), strict=True):
                turns = []
                for _ in range(rounds):
                    own, other = ours(row, task), theirs(row, task) if theirs else np.nan
                    peak.measure()
                    turns.append((own, other, other / own, 2 * count / own / 1e3 / peak.rounds[-1]["float32"]))
                own, other, ratio, of_peak = (statistics.median(column) for column in zip(*turns, strict=True))
                print(f"| {row} | {task} | {own:.1f} | {of_peak:.0%} | {other:.1f} | {ratio:.2f} |", flush=True)
                shares[row][task] = of_peak
    return shares


def print_picture(shares: dict[str, dict[str, float]]) -> None:
    """Print bars of the time that each operation takes, as multiples of the mean over the rows."""
    for task in ("predict", "train"):
        times = {row: 1 / share[task] for row, share in shares.items()}
        mean = statistics.mean(times.values())
        print(f"\n{task}: time of an operation, × the mean")
        for row, time_of_one in times.items():
            print(f"{row:34} {time_of_one / mean:4.2f} {'█' * round(20 * time_of_one / mean)}")


if __name__ == "__main__":
    main()
