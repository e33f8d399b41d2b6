"""What a run of `Sequential.fit` is asked to do, in words, to compare it with another run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ._training import Run
    from .layers import Layer


def asked(run: Run) -> dict[str, Any]:
    """Return what decides the bits of a run, in words for the message of an error."""
    return {
        "images": digest(run.images),
        "loss": str(run.loss),
        "labels": _digest_of_labels(run.targets),
        "sample_weight and class_weight": None if run.weights is None else digest(run.weights),
        "validation": None if run.validation is None else " and ".join(map(digest, run.validation)),
        "batch_size": run.course.batch_size,
        "optimizer": words(run.optimizer),
        "early_stopping": None if run.best is None else words(run.best.settings),
        "average": None if run.average is None else run.average.decay,
        **layers_in_words(run.network.layers),
    }


def layers_in_words(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return how many layers there are, and the kind, the settings and `trainable` of each."""
    found: dict[str, Any] = {"layers": len(layers)}
    for position, layer in enumerate(layers):
        first = next(i for i, other in enumerate(layers) if other is layer)
        known = {} if layer._own is not None else layer.settings()  # nobody can tell what an own layer is like
        given = ", ".join(f"{name}={value!r}" for name, value in known.items())
        described = f"{layer.kind}({given}){'' if layer.trainable else ' with trainable=False'}"
        found[f"layers[{position}]"] = described if first == position else f"layers[{first}] again"
    return found


def _digest_of_labels(labels: NDArray[Any]) -> str:
    """Return words for labels. Those of a loss function may be objects, which have no bytes to compare."""
    if labels.dtype.hasobject:
        raise TypeError(f"labels: expected numbers or text for a checkpoint or several ranks, got dtype {labels.dtype}")
    return digest(labels)


def digest(array: NDArray[Any]) -> str:
    """Return words for an array that tell it from others."""
    return f"{array.dtype} of shape {array.shape} with checksum {checksum(array)}"


def checksum(*arrays: NDArray[Any]) -> str:
    """Return a few hexadecimal digits that tell arrays from others."""
    found = hashlib.blake2b(digest_size=6)
    for array in arrays:
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def words(value: Any) -> Any:
    """Return what JSON can hold and a message can show."""
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.random.Generator):
        return f"a generator with {type(value.bit_generator).__name__}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    given = ", ".join(f"{name}={setting!r}" for name, setting in sorted(settings(value).items()))
    return f"{type(value).__name__}({given})"


def settings(value: Any) -> dict[str, Any]:
    """Return the settings of an optimizer, an augmentation or an early stopping, without an optimizer's arrays."""
    past = getattr(value, "_past", ())
    return {name: setting for name, setting in value._arguments().items() if name not in past}
