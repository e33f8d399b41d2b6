"""What scikit-learn's checks would misread or describe badly: samples and labels of unusual kinds."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _checks


def samples(X: Any) -> Any:
    """Return X as it is, or as an array if it was a list. Refuse what would be read as numbers that it does not mean.

    Raises:
        TypeError: X is a masked array or a list of them, or holds dates, times or records.
        ValueError: X is a list of samples whose shapes differ.
    """
    refuse_mask("X", X)
    if isinstance(X, (list, tuple)):
        try:
            X = np.asarray(X)
        except ValueError:  # numpy's message does not say which argument it is
            raise ValueError("X: expected samples of one shape, got a list of samples whose shapes differ") from None
    if isinstance(X, np.ndarray) and X.dtype.kind in "mMV":
        raise TypeError(f"X: expected numbers, got an array of dtype {X.dtype}")
    return X


def labels(name: str, y: Any) -> Any:
    """Return y, with integers and strings in arrays of their own dtypes if they were objects.

    Raises:
        TypeError: strings are mixed with others, or y is a masked array or has masked labels.
        ValueError: a label is neither a number nor a string, or an integer does not fit into 64 bits.
    """
    refuse_mask(name, y)
    if isinstance(y, np.ndarray) and y.dtype.kind == "T":
        return np.array(y.tolist())
    is_list = isinstance(y, (list, tuple))
    if not is_list and getattr(y, "dtype", None) != np.dtype(object):
        return y
    values = list(y) if is_list else np.asarray(y).reshape(-1).tolist()
    if (texts := sum(isinstance(value, str) for value in values)) not in (0, len(values)):
        raise TypeError(f"{name}: expected labels of one kind, got strings and others (Unknown label type)")
    for index, value in enumerate(values):
        if value is None:
            raise ValueError(f"{name}: expected integers or strings, got None at index {index} (Unknown label type)")
    if texts or not all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in values):
        return y
    if values and not -(2**63) <= min(values) <= max(values) < 2 ** (63 if min(values) < 0 else 64):
        raise ValueError(f"{name}: expected integers of 64 bits, got {min(values)} to {max(values)}")
    return np.array(values).reshape(len(values) if is_list else np.shape(y))


def refuse_texts(y: Any) -> None:
    """Refuse targets that are no numbers; TypeError."""
    refuse_mask("y", y)
    dtype = np.asarray(y).dtype if isinstance(y, (list, tuple)) else getattr(y, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "USTmMV":
        raise TypeError(f"y: expected numbers, got an array of dtype {dtype}")


def refuse_mask(name: str, array: Any) -> None:
    """Refuse a masked array, and a list of them, whose masks would be lost; TypeError."""
    if _checks.is_masked(array) or (isinstance(array, (list, tuple)) and any(map(_checks.is_masked, array))):
        raise TypeError(f"{name}: expected an array without a mask, got a masked array (.filled() may help)")
