"""The one place that checks what an argument means: every message names the parameter, the expected and the got."""

from __future__ import annotations

import contextlib
import math
import operator
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
    """float32 or float64 as a numpy dtype."""
    with contextlib.suppress(TypeError):
        found = np.dtype(dtype)
        for known in (_FLOAT32, _FLOAT64):
            if found == known:
                return known
    raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")


def own_float_dtype(value: Any) -> np.dtype[Any]:
    """The dtype to compute in where a function has none of its own: float32 stays, all else becomes float64."""
    if type(value) is np.ndarray and (value.dtype is _FLOAT64 or value.dtype is _FLOAT32):
        return value.dtype
    is_float32 = isinstance(value, np.ndarray) and value.dtype.newbyteorder("=") == _FLOAT32
    return _FLOAT32 if is_float32 else _FLOAT64


def positive_integer(name: str, value: Any) -> int:
    """An integer of at least 1."""
    number = integer(name, value)
    if number < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, got {number}")
    return number


def count(name: str, value: Any) -> int:
    """An integer of at least 0."""
    number = integer(name, value)
    if number < 0:
        raise ValueError(f"{name}: expected an integer of at least 0, got {number}")
    return number


def integer(name: str, value: Any) -> int:
    """Any integer, numpy's included; a bool is none."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None


def learn_rate(value: Any) -> float:
    """A finite number of at least 0."""
    if type(value) is float and 0.0 <= value < math.inf:
        return value  # before another call: a layer's overhead counts
    return not_negative("learn_rate", value)


def number(name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """A real number, numpy's included, that `fits`; `expected` says which do."""
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
    """A finite number of at least 0."""
    return number(name, value, "a finite number of at least 0", lambda found: 0.0 <= found < math.inf)


def share(name: str, value: Any) -> float:
    """A number from 0 to less than 1."""
    return number(name, value, "a number from 0 to less than 1", lambda found: 0.0 <= found < 1.0)


def as_numbers(name: str, value: Any, dtype: np.dtype[Any]) -> Any:
    """`value` as a C-contiguous, aligned array of `dtype`.

    Real numbers of another dtype and arrays of another layout are converted, on purpose and once. What is no array
    of real numbers is refused: a mask or an imaginary part would be lost.
    """
    if type(value) is np.ndarray and value.dtype is dtype and value.flags.carray:
        return value
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: expected a numpy array, got {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask, got a masked array")
    if value.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected an array of real numbers, got dtype {value.dtype}")
    return np.require(value, dtype, ["C", "A", "E"])


def as_array(name: str, value: Any, dtype: np.dtype[Any], axes: tuple[str, ...]) -> Any:
    """`as_numbers` with as many dimensions as there are names in `axes`."""
    array = as_numbers(name, value, dtype)
    if array.ndim != len(axes):
        raise ValueError(f"{name}: expected shape ({', '.join(axes)}), got {array.shape}")
    return array


def as_shaped(name: str, value: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """`as_numbers` of exactly `shape`."""
    if type(value) is np.ndarray and value.dtype is dtype and value.shape == shape and value.flags.carray:
        return value  # before another call: a layer's overhead counts
    array = as_numbers(name, value, dtype)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array


def parameter_values(name: str, value: Any, like: FloatArray) -> Any:
    """`value` itself, if it can be copied into `like`: a numpy array of its dtype and shape, in any layout."""
    if type(value) is not np.ndarray:
        raise TypeError(f"{name}: expected a numpy array, got {type(value).__name__}")
    if value.dtype != like.dtype:
        raise TypeError(f"{name}: expected dtype {like.dtype}, got {value.dtype} (use .astype)")
    if value.shape != like.shape:
        raise ValueError(f"{name}: expected shape {like.shape}, got {value.shape}")
    return value


def parameter(name: str, value: Any, like: FloatArray, apart_from: FloatArray | None) -> Any:
    """`value` itself, if updates in place can go to it: `like`'s dtype and shape, C-contiguous, writable."""
    parameter_values(name, value, like)
    if not value.flags.carray:
        raise ValueError(f"{name}: expected a writable, aligned, C-contiguous array, which updates in place can reach")
    if apart_from is not None and np.may_share_memory(value, apart_from):
        raise ValueError(f"{name}: expected an array apart from the layer's others, got one that shares their memory")
    return value


def image_shape(name: str, value: Any) -> tuple[int, int]:
    """A height and a width, each at least 1."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name}: expected a height and a width, got {value!r}")
    height, width = (positive_integer(name, size) for size in value)
    return height, width


def one_of(name: str, value: Any, known: tuple[str, ...]) -> Any:
    """One of the words that are known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, known))}, got {value!r}")
    return value


def boolean(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def labels(labels: Any, count: int, nodes: int) -> NDArray[np.int32]:
    """Labels (count,), integers from 0 to nodes - 1, as int32."""
    if not isinstance(labels, np.ndarray) or isinstance(labels, np.ma.MaskedArray) or labels.dtype.kind not in "iu":
        got = f"dtype {labels.dtype}" if type(labels) is np.ndarray else type(labels).__name__
        raise TypeError(f"labels: expected a numpy array of integers, got {got}")
    if labels.shape != (count,):
        raise ValueError(f"labels: expected shape ({count},), one label an image, got {labels.shape}")
    if labels.min() < 0 or labels.max() >= nodes:
        raise ValueError(f"labels: expected 0 to {nodes - 1}, got {labels.min()} to {labels.max()}")
    return np.ascontiguousarray(labels, np.int32)
