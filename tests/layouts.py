"""The same numbers in other layouts, dtypes and types of array."""

import numpy as np


class Subclass(np.ndarray):
    """An array type of the user's own."""


def misaligned(values):
    raw = np.empty(values.nbytes + 1, np.uint8)
    moved = raw[1:].view(values.dtype).reshape(values.shape)
    moved[...] = values
    return moved


def read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def every_other(values):
    spread = np.full([3 * size for size in values.shape], np.nan, values.dtype)
    within = tuple(slice(1, None, 3) for _ in values.shape)
    spread[within] = values
    return spread[within]


CONVERTED = {
    "float16": lambda values: values.astype(np.float16),
    "float32": lambda values: values.astype(np.float32),
    "float64": lambda values: values.astype(np.float64),
    "longdouble": lambda values: values.astype(np.longdouble),
    "int8": lambda values: (4 * values).astype(np.int8),
    "int64": lambda values: (4 * values).astype(np.int64),
    "uint8": lambda values: np.abs(40 * values).astype(np.uint8),
    "uint64": lambda values: np.abs(40 * values).astype(np.uint64),
    "byte-swapped": lambda values: values.astype(values.dtype.newbyteorder()),
    "misaligned": misaligned,
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "sliced": every_other,
    "negative strides": lambda values: np.flip(np.flip(values).copy()),
    "transposed": lambda values: values.T.copy().T,
    "zero strides": lambda values: np.broadcast_to(values.flat[3], values.shape),
    "one zero stride": lambda values: np.broadcast_to(values[..., :1], values.shape),
    "subclass": lambda values: values.view(Subclass),
}

NOT_REAL_ARRAYS = {
    "None": lambda _: None,
    "list": lambda values: values.tolist(),
    "number": lambda _: 3.5,
    "numpy scalar": lambda _: np.float64(3.5),
    "memoryview": lambda values: memoryview(values),
    "masked": lambda values: np.ma.masked_less(values, 0),
    "masked nowhere": lambda values: np.ma.array(values),
    "bool": lambda values: values > 0,
    "complex": lambda values: values.astype(complex),
    "object": lambda values: values.astype(object),
    "string": lambda values: values.astype(str),
    "bytes": lambda values: values.astype(bytes),
    "datetime": lambda values: values.astype("datetime64[s]"),
    "structured": lambda values: values.astype([("x", float)]),
}
