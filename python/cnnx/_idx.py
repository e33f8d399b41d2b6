"""IDX files, plain or gzipped: the format of MNIST's four files.

An IDX file has the bytes `00 00 type ndim`, then ndim big-endian uint32 sizes, then the items in C order, big-endian. A
file's content, and not its name, tells whether it is gzipped.
"""

from __future__ import annotations

import math
import os
import sys
import zlib
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._gunzip import Gunzip

_TYPES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}


class DataError(ValueError):
    """Data is missing, damaged or not what it should be. The message is one sentence that names the file."""


def read_idx(path: str | os.PathLike[str], *, md5: str | None = None) -> NDArray[Any]:
    """Read an IDX file of any type, with 1 to 4 dimensions, into an array of the shape and type that it declares.

    A file cannot make the reader take memory that it does not fill. A plain file must have exactly the size that it
    declares. A gzipped file may declare at most 64 MiB or 100 times its own size (real digits reach 5 times), and
    unpacking stops one byte after the declared size.

    Args:
        path: the file, gzipped or not.
        md5: in hex, the MD5 that the uncompressed bytes must have; None for any.

    Returns:
        uint8, int8, int16, int32, float32 or float64, in this machine's order of bytes.

    Raises:
        DataError: the file cannot be read, is not such an IDX file, is longer or shorter than it declares, or has
            another MD5.
    """
    return read_named(Path(path), str(path), md5)


def read_named(path: Path, name: str, md5: str | None) -> NDArray[Any]:
    """Read a file as `read_idx` does. Errors call the file `name`."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise DataError("expected a regular file")
        with path.open("rb") as file:
            return _parse_idx(file, md5)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise DataError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _parse_idx(file: BufferedReader, md5: str | None) -> NDArray[Any]:
    """Read an open IDX file. Errors do not name it."""
    file_size = os.fstat(file.fileno()).st_size
    gzipped = file.peek(2)[:2] == b"\x1f\x8b"
    stream = Gunzip(file) if gzipped else file

    header = _read_header(stream)
    shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
    if 0 in shape:
        raise DataError(f"expected at least one item in every dimension, got shape {shape}")
    dtype = np.dtype(_TYPES[header[2]])
    count = math.prod(shape) * dtype.itemsize  # of Python's ints, which do not overflow
    most = max(1 << 26, 100 * file_size)
    if gzipped and count > most:
        raise DataError(f"expected at most {most} bytes in {file_size} gzipped ones, got {dtype} of shape {shape}")
    if not gzipped and len(header) + count != file_size:
        raise DataError(f"expected {len(header) + count} bytes for {dtype} of shape {shape}, got {file_size}")

    array = np.empty(shape, dtype)
    items = array.reshape(-1).view(np.uint8).data
    if (got := stream.readinto(items)) != count:
        raise DataError(f"expected {count} bytes for {dtype} of shape {shape}, got {got}")
    if stream.readinto(bytearray(1)):
        raise DataError(f"expected {count} bytes for {dtype} of shape {shape}, got more")
    if md5 is not None:
        _verify(header, items, md5)
    if dtype.itemsize > 1 and sys.byteorder == "little":
        array.byteswap(inplace=True)
    return array


def _read_header(stream: BufferedReader | Gunzip) -> bytes:
    """Return the header's bytes, after a check of all but the sizes, which start at offset 4."""
    magic = _read_exactly(stream, 4)
    if magic[:2] != b"\0\0":
        raise DataError(f"expected an IDX file, which begins with two zero bytes, got 0x{magic[:2].hex()}")
    if magic[2] not in _TYPES:
        known = ", ".join(f"0x{code:02x} ({name})" for code, name in _TYPES.items())
        raise DataError(f"expected items of type {known}, got type 0x{magic[2]:02x}")
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
