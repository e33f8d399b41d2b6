"""How time and memory of a training step grow with filters, with the image's side, with the number of digits.

`python benchmarks/growth.py --data FOLDER` prints a Markdown table. Every size has a process of its own, so
its peak memory is its own too; the sizes take turns, and the median over the rounds counts. Images of other
sizes than the digits' are the digits with pixels repeated or left out, which keeps their share of background.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
from memory import forget_peak, peak_megabytes
from problem import LEARN_RATE

import cnnx
from cnnx import data as cnnx_data

SECONDS = 0.3  # at least this long a turn


class Size(NamedTuple):
    """One row of the table."""

    filters: int = 8
    side: int = 28
    digits: int = 10_000

    @property
    def megaflop(self) -> float:
        """Return a step's work as the floor counts it: convolution and its gradient, dense three times."""
        convolution = 9 * self.filters * (self.side - 2) ** 2
        dense = 10 * self.filters * (self.side // 2 - 1) ** 2
        return 2 * (2 * convolution + 3 * dense) / 1e6


SIZES = [
    *(Size(filters=filters) for filters in (4, 8, 16, 32, 64)),
    *(Size(side=side) for side in (12, 28, 56, 112)),
    *(Size(digits=digits) for digits in (1_000, 10_000, 60_000)),
]


def measure(size: Size, data: str) -> dict[str, float]:
    """Return microseconds a step and the megabytes that training took, images included."""
    loaded = cnnx_data.load(data)
    pixels = np.arange(size.side) * loaded.train_images.shape[1] // size.side
    order = np.arange(size.digits) % len(loaded.train_images)
    images = np.ascontiguousarray(loaded.train_images[order][:, pixels][:, :, pixels])
    labels = loaded.train_labels[order]
    del loaded
    network = cnnx.Sequential(
        [
            cnnx.Conv3x3(size.filters, dtype=np.float32),
            cnnx.MaxPool2(),
            cnnx.Softmax((size.side // 2 - 1) ** 2 * size.filters, 10, dtype=np.float32),
        ]
    )
    forget_peak()
    before = peak_megabytes()
    network.fit(images, labels, epochs=1, learn_rate=LEARN_RATE, shuffle=False)
    after = peak_megabytes()
    epochs, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        network.fit(images, labels, epochs=1, learn_rate=LEARN_RATE, shuffle=False)
        epochs += 1
    seconds = time.perf_counter() - start
    return {
        "microseconds": seconds / size.digits / epochs * 1e6,
        "images": images.nbytes / 2**20,
        "training": after - before,
    }


def in_own_process(size: Size, data: str) -> dict[str, float]:
    one = subprocess.run(
        [sys.executable, __file__, "--data", data, "--one", json.dumps(size)],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(one.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="sample", metavar="FOLDER", help="a folder of MNIST's IDX files")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each size (default 5)")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(Size(*args.one), args.data)))
        return
    rounds = [[in_own_process(size, args.data) for size in SIZES] for _ in range(args.rounds)]
    print("| filters | side | digits | µs a step | GFLOP/s | images, MB | more for training, MB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for size, turns in zip(SIZES, zip(*rounds, strict=True), strict=True):
        middle = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
        speed = size.megaflop / middle["microseconds"] * 1000
        print(
            f"| {size.filters} | {size.side} | {size.digits:,} | {middle['microseconds']:.2f} | {speed:.0f} "
            f"| {middle['images']:.1f} | {middle['training']:.1f} |"
        )


if __name__ == "__main__":
    main()
