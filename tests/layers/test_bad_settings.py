"""What cannot make a layer is refused by name."""

import decimal
import functools

import numpy as np
import pytest
from twins import parameters

import cnnx

SIZES = {
    "zero": (0, ValueError),
    "negative": (-3, ValueError),
    "numpy zero": (np.int64(0), ValueError),
    "float": (8.0, TypeError),
    "numpy float": (np.float64(8), TypeError),
    "string": ("8", TypeError),
    "None": (None, TypeError),
    "bool": (True, TypeError),
    "numpy bool": (np.bool_(True), TypeError),
    "list": ([8], TypeError),
    "decimal": (decimal.Decimal(8), TypeError),
}


@pytest.mark.parametrize("kind", SIZES)
def test_sizes_are_integers_of_at_least_one(kind):
    size, error = SIZES[kind]
    with pytest.raises(error, match=r"^num_filters: expected"):
        cnnx.Conv3x3(size)
    for dense in (cnnx.Dense, cnnx.Softmax):
        with pytest.raises(error, match=r"^input_len: expected"):
            dense(size, 5)
        with pytest.raises(error, match=r"^nodes: expected"):
            dense(12, size)
    if size is not None:  # the article's layer
        with pytest.raises(error, match=r"^in_channels: expected"):
            cnnx.Conv3x3(2, size)


def test_numpy_s_integers_are_sizes():
    assert cnnx.Conv3x3(np.int32(4)).filters.shape == (4, 3, 3)
    assert cnnx.Conv3x3(np.int32(4), np.uint8(2)).filters.shape == (4, 3, 3, 2)
    assert cnnx.Softmax(np.uint8(6), np.int64(5)).weights.shape == (6, 5)
    assert cnnx.Dense(np.uint8(6), np.int64(5)).weights.shape == (6, 5)


MAKERS = {
    "Conv3x3": functools.partial(cnnx.Conv3x3, 2),
    "stacked Conv3x3": functools.partial(cnnx.Conv3x3, 2, 3),
    "Dense": functools.partial(cnnx.Dense, 2, 2),
    "Softmax": functools.partial(cnnx.Softmax, 2, 2),
}
SWAPPED = np.dtype(np.float64).newbyteorder()


@pytest.mark.parametrize("name", MAKERS)
def test_a_layer_s_dtype_is_float32_or_float64(name):
    for dtype in ("float16", "longdouble", int, complex, bool, object, "S3", SWAPPED, "f4,f4", "x"):
        with pytest.raises(ValueError, match=r"^dtype: expected float32 or float64"):
            MAKERS[name](dtype=dtype)


@pytest.mark.parametrize("dtype", ["float", "double", "f4", np.dtype(np.float32), float])
@pytest.mark.parametrize("name", MAKERS)
def test_every_spelling_of_the_two_dtypes_works(name, dtype):
    for values in parameters(MAKERS[name](dtype=dtype)).values():
        assert values.dtype == dtype


@pytest.mark.parametrize(
    "rng", [0.5, "0", True, np.random, np.random.RandomState(0)], ids=lambda rng: type(rng).__name__
)
@pytest.mark.parametrize("name", MAKERS)
def test_rng_is_a_generator_a_seed_or_none(name, rng):
    with pytest.raises(TypeError, match=r"^rng: expected"):
        MAKERS[name](rng=rng)


def test_options_are_named():
    refused = "positional argument"
    with pytest.raises(TypeError, match=refused):
        cnnx.Conv3x3(2, 3, "same")
    with pytest.raises(TypeError, match=refused):
        cnnx.Dense(2, 2, np.float32)
    with pytest.raises(TypeError, match=refused):
        cnnx.Softmax(2, 2, np.float32)
    with pytest.raises(TypeError, match=refused):
        cnnx.MaxPool2("first")
