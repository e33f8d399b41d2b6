"""A network's one array of all parameters, of which the layers' arrays are slices."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import FloatArray

if TYPE_CHECKING:
    from .layers.base import Layer

__all__ = ["Slot", "adopt", "fill"]

_CACHE_LINE = 64


class Slot:
    """Where a network keeps a layer's arrays: in its flat array, one after another, from index `start` on."""

    __slots__ = ("flat", "network", "start")

    def __init__(self, flat: FloatArray, start: int, network: weakref.ref[Any]) -> None:
        self.flat, self.start, self.network = flat, start, network


def fill(layers: Sequence[Layer], flat: FloatArray) -> bool:
    """Tell whether the layers' arrays are the slices of `flat`, in order, from its start to its end."""
    at = 0
    for layer in layers:
        slot = layer.slot
        if slot is None or slot.flat is not flat or slot.start != at:
            return False
        at += layer.parameter_count()
    return at == flat.size


def adopt(layers: Sequence[Layer], dtype: np.dtype[Any], network: Any) -> FloatArray:
    """Move the layers' arrays into one flat array, in order, make `network` their owner, and return the flat array.

    Layers that fill a flat array already stay there: a network that is gone had them in the same order.
    """
    slot = layers[0].slot if layers else None
    if slot is not None and fill(layers, slot.flat):
        flat = slot.flat
    else:
        flat = _aligned(sum(layer.parameter_count() for layer in layers), dtype)
    at = 0
    for layer in layers:
        if layer.slot is None or layer.slot.flat is not flat:
            layer._move(flat, at)
        layer.slot = Slot(flat, at, weakref.ref(network))
        at += layer.parameter_count()
    return flat


def _aligned(count: int, dtype: np.dtype[Any]) -> FloatArray:
    """Return an array that starts at a cache line."""
    memory = np.empty(count * dtype.itemsize + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + count * dtype.itemsize].view(dtype)
