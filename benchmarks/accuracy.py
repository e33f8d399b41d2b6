"""What each idea gains on training digits that were held out: the table in ACCURACY.md.

The program reads no test digits. It trains on all but the last digits of `--held-out`, and tests on these.
A row is one change to the row at the head of its group. Every row has the same seeds, and a seed gives the same initial
values to networks of the same layers.
"""

import argparse
import math
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from turns import line, table, wanted

import cnnx
from cnnx import RandomAffine, RandomFlip, RandomShift
from cnnx.layers import Layer


class Row(NamedTuple):
    """A network and how it is trained: `layers` as `layer` reads them, and options of `fit` that differ from `FIT`."""

    name: str
    layers: str
    learn_rate: float
    fit: dict[str, Any]
    weight_decay: float = 0.0


FIT = {"batch_size": 64, "schedule": "one_cycle"}
SMALL, NARROW = "conv16 pool relu conv32 pool relu", "conv8 pool relu conv32 pool relu"
DEEP = "conv32 relu pool same64 relu conv64 relu pool conv128 relu drop0.4"
CONVOLUTIONS = "same32 pool norm relu same64 pool norm relu same128 pool norm relu"
NORMALISED = f"{CONVOLUTIONS} drop0.4"
AFFINE, JITTER = RandomAffine(rotation=10, scale=0.1, shift=2), RandomAffine(shift=1)
TWO, THREE = {"epochs": 2}, {"epochs": 3}
MEAN, MOVED = {"average": 0.99}, {"augment": JITTER}
CLOTHES = {"epochs": 5, "average": 0.999, "augment": RandomFlip()}
LONG = {"epochs": 8, "average": 0.999, "augment": AFFINE, "schedule": "cosine"}

FAST = [
    Row("small_convnet, 2 epochs, one_cycle", SMALL, 0.01, TWO),
    Row("average 0.99", SMALL, 0.01, TWO | MEAN),
    Row("average 0.99, cosine", SMALL, 0.01, TWO | MEAN | {"schedule": "cosine"}),
    Row("label smoothing 0.1", SMALL, 0.01, TWO | {"label_smoothing": 0.1}),
    Row("weight decay 0.01", SMALL, 0.01, TWO, 0.01),
    Row("batch size 32", SMALL, 0.007, TWO | {"batch_size": 32}),
    Row("batch size 128", SMALL, 0.014, TWO | {"batch_size": 128}),
    Row("jitter", SMALL, 0.01, TWO | MOVED),
    Row("shift by 2 pixels", SMALL, 0.01, TWO | {"augment": RandomShift(2)}),
    Row("affine", SMALL, 0.01, TWO | {"augment": AFFINE}),
    Row("average, jitter", SMALL, 0.01, TWO | MEAN | MOVED),
    Row("batch normalisation", "conv16 norm pool relu conv32 norm pool relu", 0.01, TWO),
    Row("a dense layer of 64", f"{SMALL} dense64 relu", 0.007, TWO),
    Row("a third convolution, 64 filters", f"{SMALL} conv64 relu", 0.007, TWO),
    Row("16 and 48 filters", "conv16 pool relu conv48 pool relu", 0.01, TWO),
    Row("8 and 32 filters, 3 epochs", NARROW, 0.01, THREE),
    Row("8 and 32 filters, 3 epochs, average, jitter", NARROW, 0.01, THREE | MEAN | MOVED),
]
ACCURATE = [
    Row("deep_convnet, 8 epochs, cosine, affine, average 0.999", DEEP, 0.002, LONG),
    Row("no average", DEEP, 0.002, LONG | {"average": None}),
    Row("one_cycle", DEEP, 0.002, LONG | {"schedule": "one_cycle"}),
    Row("label smoothing 0.1", DEEP, 0.002, LONG | {"label_smoothing": 0.1}),
    Row("batch normalisation, half of the epochs", DEEP.replace(" relu", " norm relu"), 0.002, LONG | {"epochs": 4}),
    Row(
        "stronger affine: 15 degrees, 15%, 2.5 pixels",
        DEEP,
        0.002,
        LONG | {"augment": RandomAffine(rotation=15, scale=0.15, shift=2.5)},
    ),
    Row(
        "three quarters of the filters, 12 epochs",
        "conv32 relu pool same48 relu conv48 relu pool conv96 relu drop0.4",
        0.002,
        LONG | {"epochs": 12},
    ),
    Row(
        "batch normalisation after the poolings and the last convolution, 14 epochs",
        "conv32 pool norm relu same64 relu conv64 pool norm relu conv128 norm relu drop0.4",
        0.002,
        LONG | {"epochs": 14},
    ),
    Row(
        "pooling after each of three convolutions, 28 epochs",
        "same32 relu pool same64 relu pool same128 relu pool drop0.4",
        0.002,
        LONG | {"epochs": 28},
    ),
    Row("the same with norms after the poolings, 12 epochs", NORMALISED, 0.003, LONG | {"epochs": 12}),
    Row("the same with norms, 20 epochs", NORMALISED, 0.003, LONG | {"epochs": 20}),
    Row("the same with norms, one_cycle", NORMALISED, 0.008, LONG | {"epochs": 20, "schedule": "one_cycle"}),
]
FASHION = [
    Row("dropout 0.4, then the softmax", NORMALISED, 0.008, CLOTHES),
    Row("dropout 0.2, then the softmax", f"{CONVOLUTIONS} drop0.2", 0.008, CLOTHES),
    Row("a dense layer of 128 between them", f"{CONVOLUTIONS} drop0.2 dense128 relu", 0.008, CLOTHES),
    Row("the same with a norm", f"{CONVOLUTIONS} drop0.2 dense128 norm relu", 0.008, CLOTHES),
    Row("the same with dropout 0.1: batch_norm_convnet", f"{CONVOLUTIONS} drop0.1 dense128 norm relu", 0.008, CLOTHES),
]
GROUPS = {"fast": FAST, "accurate": ACCURATE, "fashion": FASHION}


def layer(kind: str, number: str, shape: tuple[int, ...], rng: np.random.Generator) -> Layer:
    """Return a layer in float32 that takes `shape`. `number` is of filters or nodes, or the share that is dropped."""
    match kind:
        case "conv":
            return cnnx.Conv3x3(int(number), shape[-1], dtype=np.float32, rng=rng)
        case "same":
            return cnnx.Conv3x3(int(number), shape[-1], padding="same", dtype=np.float32, rng=rng)
        case "dense":
            return cnnx.Dense(math.prod(shape), int(number), dtype=np.float32, rng=rng)
        case "norm":
            return cnnx.BatchNorm(shape[-1], dtype=np.float32)
        case "drop":
            return cnnx.Dropout(float(number))
    return {"pool": cnnx.MaxPool2(ties="first"), "relu": cnnx.ReLU()}[kind]


def network(layers: str, seed: int) -> cnnx.Sequential:
    """Return a network for MNIST's images and classes, whose initial values the seed draws."""
    rng = np.random.default_rng(seed)
    made: list[Layer] = []
    shape: tuple[int, ...] = (28, 28, 1)
    for name in layers.split():
        kind = name.rstrip("0123456789.")
        made.append(layer(kind, name.removeprefix(kind), shape, rng))
        shape = made[-1].output_shape(shape)
    return cnnx.Sequential([*made, cnnx.Softmax(math.prod(shape), 10, dtype=np.float32, rng=rng)])


def run(row: Row, images: Any, labels: Any, held_out: int, seed: int) -> tuple[float, float, float]:
    """Return how many percent of the held-out digits are right, their loss, and the CPU seconds of training."""
    kept = len(images) - held_out
    trained = network(row.layers, seed)
    optimizer = cnnx.Adam(row.learn_rate, weight_decay=row.weight_decay)
    start = time.process_time()
    trained.fit(images[:kept], labels[:kept], optimizer=optimizer, rng=seed, threads=1, **FIT | row.fit)
    seconds = time.process_time() - start
    loss, accuracy = trained.evaluate(images[kept:], labels[kept:], threads=1)
    return 100 * accuracy, loss, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="has the two training files of MNIST or Fashion-MNIST",
    )
    parser.add_argument("--group", choices=list(GROUPS), required=True)
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose name holds this text")
    parser.add_argument("--seeds", type=int, default=4, metavar="N", help="seeds 0 to N - 1 (default %(default)s)")
    parser.add_argument("--held-out", type=int, default=5000, metavar="N", help="test on the last N (default 5000)")
    args = parser.parse_args()
    images, labels = (
        cnnx.data.read_idx(next(args.data.glob(f"train-{name}-ubyte*"))) for name in ("images-idx3", "labels-idx1")
    )
    chosen = wanted([row.name for row in GROUPS[args.group]], args.only)
    rows = [row for row in GROUPS[args.group] if row.name in chosen]
    table("change", ">right, %", ">one seed's spread", ">loss", ">CPU seconds")
    for row in rows:
        runs = [run(row, images, labels, args.held_out, seed) for seed in range(args.seeds)]
        right, losses, seconds = zip(*runs, strict=True)
        spread = f"{statistics.stdev(right):.2f}" if args.seeds > 1 else "unknown"
        mean = f"{statistics.mean(right):.2f}", spread, f"{statistics.mean(losses):.4f}"
        line(row.name, *mean, f"{statistics.median(seconds):.1f}")


if __name__ == "__main__":
    main()
