"""A network as one file: an npz without pickle.

It holds each layer's arrays as "position.name" and a JSON text, "network": the format's version and, for each layer,
its class and the arguments to construct it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from . import _checks, layers
from .network import Sequential

__all__ = ["load", "save"]

FORMAT_VERSION = 1

_KINDS: dict[str, Any] = {name: getattr(layers, name) for name in layers.__all__ if name != "Layer"}


def save(network: Sequential, path: str | os.PathLike[str]) -> None:
    """Write `network` to the file `path`; it appears whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    described = [{"layer": layer.kind, **layer.settings()} for layer in network.layers]
    arrays = {
        f"{position}.{name}": array
        for position, layer in enumerate(network.layers)
        for name, array in layer.parameters().items()
    }
    text = json.dumps({"format": "cnnx", "version": FORMAT_VERSION, "layers": described})
    target = Path(path)
    handle, scratch = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, network=np.array(text), **arrays)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o666 & ~_umask())
        Path(scratch).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(scratch).unlink()
        raise


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a network that `Sequential.save` wrote.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is truncated, no such file, or written by a newer cnnx.
    """
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                return _network(archive)
        except _NewerFormatError as error:
            raise ValueError(f"{path}: {error}") from None
        except Exception as error:  # a foreign file can make the parsers raise anything
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"{path}: expected a network saved by cnnx, got another or a damaged file ({reason})"
            ) from None


class _NewerFormatError(Exception):
    pass


def _network(archive: Any) -> Sequential:
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise TypeError("no npz archive")
    description = json.loads(str(archive["network"]))
    if not isinstance(description, dict) or description.get("format") != "cnnx":
        raise ValueError("no description of a network")
    if description["version"] < 1:
        raise ValueError("no version")
    if description["version"] > FORMAT_VERSION:
        raise _NewerFormatError(
            f"expected format version {FORMAT_VERSION} or older, got {description['version']}: a newer cnnx wrote it"
        )
    return Sequential(_layer(position, entry, archive) for position, entry in enumerate(description["layers"]))


def _layer(position: int, entry: dict[str, Any], archive: Any) -> Any:
    settings = {name: value for name, value in entry.items() if name != "layer"}
    kind = _KINDS[entry["layer"]]
    if "rng" in kind.__init__.__annotations__:
        settings["rng"] = _checks.UNINITIALISED
    layer = kind(**settings)
    for name in layer.parameters():
        setattr(layer, name, archive[f"{position}.{name}"])
    return layer


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
