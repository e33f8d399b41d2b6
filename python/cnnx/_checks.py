"""Checks of arguments. Each message names the parameter, what was expected and what was given."""

from __future__ import annotations

import contextlib
import math
import operator
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

FloatArray: TypeAlias = NDArray[Any]
"""float32 or float64. A type checker cannot know which, so that results fit NDArray[np.float32] and [np.float64]."""

RealArray: TypeAlias = NDArray[np.floating[Any] | np.integer[Any]]
"""Real numbers of any dtype, which a layer converts to its own."""

_FLOAT32: np.dtype[Any] = np.dtype(np.float32)
_FLOAT64: np.dtype[Any] = np.dtype(np.float64)


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return float32 or float64 as a numpy dtype."""
    with contextlib.suppress(TypeError):
        found = np.dtype(dtype)
        for known in (_FLOAT32, _FLOAT64):
            if found == known:
                return known
    raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")


def own_float_dtype(value: Any) -> np.dtype[Any]:
    """Return the dtype in which a layer without parameters computes: float32 for float32, and else float64."""
    if type(value) is np.ndarray and (value.dtype is _FLOAT64 or value.dtype is _FLOAT32):
        return value.dtype
    is_float32 = isinstance(value, np.ndarray) and value.dtype.newbyteorder("=") == _FLOAT32
    return _FLOAT32 if is_float32 else _FLOAT64


def positive_integer(name: str, value: Any) -> int:
    """Return an integer of at least 1."""
    number = integer(name, value)
    if number < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, got {number}")
    return number


def count(name: str, value: Any) -> int:
    """Return an integer of at least 0."""
    number = integer(name, value)
    if number < 0:
        raise ValueError(f"{name}: expected an integer of at least 0, got {number}")
    return number


def integer(name: str, value: Any) -> int:
    """Return any integer, numpy's included. A bool is refused."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None


def learn_rate(value: Any) -> float:
    """Return a finite number of at least 0."""
    if type(value) is float and 0.0 <= value < math.inf:
        return value  # the usual case without another call, since every step by hand comes here
    return not_negative("learn_rate", value)


def number(name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """Return a real number, numpy's included, as a float.

    Args:
        name: the parameter, for the message.
        value: what was given. A bool is refused.
        expected: says which numbers fit, for the message.
        fits: tells whether a number fits.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not fits(found):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return found


def not_negative(name: str, value: Any) -> float:
    """Return a finite number of at least 0."""
    return number(name, value, "a finite number of at least 0", lambda found: 0.0 <= found < math.inf)


def share(name: str, value: Any) -> float:
    """Return a number from 0 to less than 1."""
    return number(name, value, "a number from 0 to less than 1", lambda found: 0.0 <= found < 1.0)


def is_masked(value: Any) -> bool:
    """Return whether `value` is a masked array.

    There is none before somebody imports `numpy.ma`, and that import takes longer than some trainings.
    """
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(value, masked.MaskedArray)


def as_numbers(name: str, value: Any, dtype: np.dtype[Any]) -> Any:
    """Return `value` as a C-contiguous, aligned array of `dtype`.

    An array of another real dtype or in another layout is converted. Anything but a numpy array of real numbers is
    refused: a mask or an imaginary part would be lost.
    """
    if type(value) is np.ndarray and value.dtype is dtype and value.flags.carray:
        return value
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: expected a numpy array, got {type(value).__name__}")
    if is_masked(value):
        raise TypeError(f"{name}: expected an array without a mask, got a masked array")
    if value.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected an array of real numbers, got dtype {value.dtype}")
    return np.require(value, dtype, ["C", "A", "E"])


def as_array(name: str, value: Any, dtype: np.dtype[Any], axes: tuple[str, ...]) -> Any:
    """Return `as_numbers`, after a check that there are as many dimensions as names in `axes`."""
    array = as_numbers(name, value, dtype)
    if array.ndim != len(axes):
        raise ValueError(f"{name}: expected shape ({', '.join(axes)}), got {array.shape}")
    return array


def as_shaped(name: str, value: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """Return `as_numbers`, after a check that it has exactly `shape`."""
    if type(value) is np.ndarray and value.dtype is dtype and value.shape == shape and value.flags.carray:
        return value  # the usual case without another call, since every step by hand comes here
    array = as_numbers(name, value, dtype)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array


def parameter_values(name: str, value: Any, like: FloatArray) -> Any:
    """Return `value` itself if it can be copied into `like`: a numpy array of its dtype and shape, in any layout."""
    if type(value) is not np.ndarray:
        raise TypeError(f"{name}: expected a numpy array, got {type(value).__name__}")
    if value.dtype != like.dtype:
        raise TypeError(f"{name}: expected dtype {like.dtype}, got {value.dtype} (use .astype)")
    if value.shape != like.shape:
        raise ValueError(f"{name}: expected shape {like.shape}, got {value.shape}")
    return value


def parameter(name: str, value: Any, like: FloatArray, apart_from: FloatArray | None) -> Any:
    """Return `value` itself if it can be updated in place: of `like`'s dtype and shape, C-contiguous and writable.

    `apart_from` is the layer's other array, whose memory it must not share.
    """
    parameter_values(name, value, like)
    if not value.flags.carray:
        raise ValueError(f"{name}: expected a writable, aligned, C-contiguous array, which updates in place can reach")
    if apart_from is not None and np.may_share_memory(value, apart_from):
        raise ValueError(f"{name}: expected an array apart from the layer's others, got one that shares their memory")
    return value


def image_shape(name: str, value: Any, least: int = 1) -> tuple[int, ...]:
    """Return a height and a width, each at least `least`, and the number of channels if it is not one."""
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        raise TypeError(f"{name}: expected a height and a width, and perhaps a number of channels, got {value!r}")
    height, width, *channels = (integer(name, size) for size in value)
    if height < least or width < least:
        raise ValueError(f"{name}: expected at least {least}x{least} pixels, got {height}x{width}")
    if channels and channels[0] < 1:
        raise ValueError(f"{name}: expected at least one channel, got {channels[0]}")
    return (height, width) if channels in ([], [1]) else (height, width, *channels)


def one_of(name: str, value: Any, known: tuple[str, ...]) -> Any:
    """Return one of the words in `known`."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, known))}, got {value!r}")
    return value


def boolean(name: str, value: Any) -> bool:
    """Return True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def labels(labels: Any, count: int, nodes: int) -> NDArray[np.int32]:
    """Return labels as int32 (count,), after a check that they are integers from 0 to nodes - 1."""
    if not isinstance(labels, np.ndarray) or is_masked(labels) or labels.dtype.kind not in "iu":
        got = f"dtype {labels.dtype}" if type(labels) is np.ndarray else type(labels).__name__
        raise TypeError(f"labels: expected a numpy array of integers, got {got}")
    if labels.shape != (count,):
        raise ValueError(f"labels: expected shape ({count},), one label an image, got {labels.shape}")
    if labels.min() < 0 or labels.max() >= nodes:
        raise ValueError(f"labels: expected 0 to {nodes - 1}, got {labels.min()} to {labels.max()}")
    return np.ascontiguousarray(labels, np.int32)
