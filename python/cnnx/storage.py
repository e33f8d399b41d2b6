"""Networks in files: each is one npz file without pickle.

The file has each parameter and buffer under the name "position.name", for example "0.filters", and a JSON text under
the name "network". The text has the format's version, the class and the constructor's arguments of each layer, and the
shape and the pixels of the images that the network was trained on. A layer at several positions is described at the
first of them, which the others name. `FORMATS` says what each version of the format adds.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import _stack, layers
from ._images import Pixels
from ._whole_files import check_writable, kind_of, naming, writing
from .layers.batch_norm import BatchNorm
from .layers.initial import UNINITIALISED
from .network import Sequential

__all__ = ["check_writable", "load", "save"]

FORMATS = {
    1: "layers with the arguments of their constructors",
    2: "layers at several positions, frozen layers, and BatchNorm",
}
FORMAT_VERSION = max(FORMATS)

_KINDS: dict[str, Any] = {name: getattr(layers, name) for name in layers.__all__ if name != "Layer"}
LONGEST_TEXT = 1 << 18  # characters: thousands of layers
_LONGEST_HEADER = 1 << 10  # characters: numpy writes about 100, and from 6000 on Python's parser may raise MemoryError
_BLOCK = 1 << 20  # bytes read at a time


def save(network: Sequential, path: str | os.PathLike[str]) -> None:
    """Write `network` to the file `path`, which appears whole or not at all.

    A file that exists is replaced, and keeps its mode. A symlink is followed. A pipe or a character device, such as
    /dev/null, is written into.

    Raises:
        OSError: the file cannot be written, or exists and is write-protected.
        ValueError: the network has too many layers to be described, many thousands.
    """
    _stack.check_saved(network.layers)
    first: dict[int, int] = {}  # a layer -> its first position
    described = [_description(layer, position, first) for position, layer in enumerate(network.layers)]
    images = {"image_shape": network.image_shape, "pixels": network.pixels and network.pixels._asdict()}
    is_simple = all(
        "same_as" not in entry and "trainable" not in entry and entry["layer"] != BatchNorm.kind for entry in described
    )
    version = 1 if is_simple else 2  # an older cnnx reads all that it can hold
    text = json.dumps({"format": "cnnx", "version": version, "layers": described, **images})
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"network: expected layers that {LONGEST_TEXT} characters describe, got {len(text)}")
    arrays: dict[str, Any] = {
        f"{position}.{name}": array
        for position, layer in enumerate(network.layers)
        if "same_as" not in described[position]
        for name, array in layer.arrays().items()
    }
    with naming(path), writing(Path(path)) as file:
        np.savez(file, network=np.array(text), **arrays)


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a network that `Sequential.save` has written.

    A file that is refused takes little memory, whatever it claims to hold: sizes are compared before arrays are read.

    Raises:
        OSError: the file does not exist, or cannot be opened or read.
        ValueError: the file is not a network's, is damaged, or was written by a newer cnnx.
        MemoryError: the network needs more memory than there is.
    """
    network: Sequential = read(path, "a network saved by cnnx", _network)
    return network


def read(path: str | os.PathLike[str], expected: str, take: Callable[[_Arrays], Any]) -> Any:
    """Return what `take` makes of the arrays in an npz file. `expected` says what the file should hold, for errors."""
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait for its writer
        raise ValueError(f"{path}: expected a regular file, got {kind_of(mode)}")
    with naming(path), Path(path).open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return take(_Arrays(archive, os.fstat(file.fileno()).st_size))
        except (MemoryError, SystemError):  # from bugs of numpy when memory ends, and not the file's fault
            raise
        except _NewerFormatError as error:
            raise ValueError(f"{path}: {error}") from None
        except Exception as error:  # a foreign file can make the parsers raise anything
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: the file says to seek below 0
                raise
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise ValueError(f"{path}: expected {expected}, got another or a damaged file ({reason})") from None


def _description(layer: Any, position: int, first: dict[int, int]) -> dict[str, Any]:
    """Describe the layer at a position. `first` has the first position of each layer before it, and gets this one's."""
    if (earlier := first.setdefault(id(layer), position)) < position:
        return {"same_as": earlier}
    return {"layer": layer.kind, **layer.settings(), **({} if layer.trainable else {"trainable": False})}


class _NewerFormatError(Exception):
    pass


def check_version(found: int, newest: int) -> None:
    """Refuse a file of a format that a newer cnnx has written."""
    if found < 1:
        raise ValueError("no version")
    if found > newest:
        raise _NewerFormatError(f"expected format version {newest} or older, got {found}: a newer cnnx wrote it")


def _network(arrays: _Arrays) -> Sequential:
    description = json.loads(arrays.text("network"))
    if not isinstance(description, dict) or description.get("format") != "cnnx":
        raise ValueError("no description of a network")
    check_version(description["version"], FORMAT_VERSION)
    made: list[Any] = []
    for position, entry in enumerate(description["layers"]):
        is_new = "same_as" not in entry
        made.append(_layer(position, entry, arrays) if is_new else _earlier(made, **entry))
    network = Sequential(made)
    if (shape := description.get("image_shape")) is not None:  # files of cnnx 0.1 lack it
        network.image_shape = tuple(shape)
    if (pixels := description.get("pixels")) is not None:
        network.pixels = _pixels(**pixels)
    return network


def _pixels(dtype: str, least: float, most: float, images: int) -> Pixels:
    if dtype not in ("uint8", "float"):
        raise ValueError(f"pixels: expected uint8 or float, got {dtype!r}")
    return Pixels(dtype, float(least), float(most), int(images))


def _earlier(layers: list[Any], same_as: int) -> Any:
    """Return the layer at an earlier position."""
    if not 0 <= same_as < len(layers):
        raise ValueError(f"layers[{len(layers)}]: expected the position of a layer before it, got {same_as}")
    return layers[same_as]


def _layer(position: int, entry: dict[str, Any], arrays: _Arrays) -> Any:
    settings = {name: value for name, value in entry.items() if name not in ("layer", "trainable")}
    kind = _KINDS[entry["layer"]]
    if "rng" in kind.__init__.__annotations__:
        _check_initial_shape(position, kind, settings, arrays)
        settings["rng"] = UNINITIALISED
    elif "channels" in settings:
        _check_shape(position, (settings["channels"],), arrays)
    layer = kind(**settings)
    for name, array in layer.arrays().items():
        arrays.read(f"{position}.{name}", array)
    layer.trainable = entry.get("trainable", True)
    return layer


def _check_initial_shape(position: int, kind: Any, settings: dict[str, Any], arrays: _Arrays) -> None:
    """Refuse a layer whose array is not in the file, before the layer takes the memory for it."""
    try:
        kind(**{**settings, "rng": _ShapeProbe(np.random.PCG64(0))})
    except _InitialShapeError as error:
        (expected,) = error.args
        _check_shape(position, expected, arrays)


def _check_shape(position: int, expected: tuple[int, ...], arrays: _Arrays) -> None:
    got = arrays.shapes(position)
    if expected not in got:
        raise ValueError(f"layers[{position}]: expected an array of shape {expected}, got {got}") from None


class _InitialShapeError(Exception):
    """Has the shape of which a layer wants initial values."""


class _ShapeProbe(np.random.Generator):
    """Ends a layer's construction when it asks for initial values, before it takes most of its memory."""

    def standard_normal(self, size: Any = None, *_: Any, **__: Any) -> Any:
        raise _InitialShapeError(size)


class _Arrays:
    """The arrays of an npz file. The size of each is checked before memory is taken for it."""

    def __init__(self, archive: zipfile.ZipFile, file_size: int) -> None:
        self._archive, self._file_size = archive, file_size
        self._names: dict[str, list[str]] = defaultdict(list)
        for name in archive.namelist():
            self._names[name.partition(".")[0]].append(name.removesuffix(".npy"))
        unpacked, most = sum(member.file_size for member in archive.infolist()), max(1 << 22, 100 * file_size)
        if unpacked > most:
            raise ValueError(f"expected at most {most} bytes unpacked from {file_size}, got {unpacked}")

    def text(self, name: str) -> str:
        """Return the description."""
        with self._open(name) as (stream, shape, dtype):
            if shape != () or dtype.kind != "U" or dtype.itemsize > 4 * LONGEST_TEXT:
                raise ValueError(
                    f"{name}: expected a text of at most {LONGEST_TEXT} characters, got {dtype} of shape {shape}"
                )
            return str(np.frombuffer(stream.read(dtype.itemsize), dtype)[0])

    def shapes(self, position: int) -> list[tuple[int, ...]]:
        """Return the shapes of the arrays of the layer at `position`."""
        shapes = []
        for name in self._names[str(position)]:
            with self._open(name) as (_, shape, _):
                shapes.append(shape)
        return shapes

    def read(self, name: str, out: Any) -> None:
        """Fill the array `out`."""
        with self._open(name) as (stream, shape, dtype):
            if (shape, dtype) != (out.shape, out.dtype):
                raise ValueError(f"{name}: expected {out.dtype} of shape {out.shape}, got {dtype} of shape {shape}")
            items = out.reshape(-1).view(np.uint8).data
            for start in range(0, len(items), _BLOCK):
                part = items[start : start + _BLOCK]
                part[:] = stream.read(len(part))  # ValueError if the file is damaged and has fewer bytes

    def names(self) -> list[str]:
        """Return the names of all arrays."""
        return [name.removesuffix(".npy") for name in self._archive.namelist()]

    def array(self, name: str) -> Any:
        """Return an array of numbers."""
        with self._open(name) as (_, shape, dtype):
            if dtype.kind not in "biuf" or not dtype.isnative:
                raise ValueError(f"{name}: expected an array of numbers, got {dtype}")
        array = np.empty(shape, dtype)
        self.read(name, array)
        return array

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
        """Open an array's data, and return it with the shape and the dtype that the header declares."""
        member = self._archive.getinfo(f"{name}.npy")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name}: expected no compression or deflate, got method {member.compress_type}")
        is_whole = member.compress_type != zipfile.ZIP_STORED or member.compress_size == member.file_size
        if member.compress_size > self._file_size or not is_whole:
            raise ValueError(f"{name}: expected {member.file_size} bytes, got fewer")
        with self._archive.open(member) as stream:
            shape, is_fortran, dtype = _header(name, stream)
            if is_fortran:
                raise ValueError(f"{name}: expected an array in C order, got Fortran order")
            if stream.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
                raise ValueError(f"{name}: expected {dtype} of shape {shape}, got a member of {member.file_size} bytes")
            yield stream, shape, dtype


def _header(name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read an array's header: its shape, whether it is in Fortran order, and its dtype."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # a header of another version may have 4 GB
        raise ValueError(f"{name}: expected an array in npy format 1.0, got {version}")
    header: Any = np.lib.format.read_array_header_1_0(stream, max_header_size=_LONGEST_HEADER)
    return header  # type: ignore[no-any-return]
