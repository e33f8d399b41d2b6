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


@pytest.mark.parametrize("dtype", ["float16", "longdouble", int, complex, bool, object, "S3", SWAPPED, "f4,f4", "x"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_layer_s_dtype_is_float32_or_float64(name, dtype):
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


@pytest.mark.parametrize("ties", ["last", "", "ALL", None, 1, True, b"all", ["all"]], ids=repr)
def test_unknown_ties_are_refused(ties):
    with pytest.raises(ValueError, match=r"^ties: expected"):
        cnnx.MaxPool2(ties=ties)
    pool = cnnx.MaxPool2(ties="first")
    with pytest.raises(ValueError, match=r"^ties: expected"):
        pool.ties = ties
    assert pool.ties == "first"


PADDINGS = ["full", "", "VALID", None, 0, 1, True, b"same", ["same"], (1, 1), np.array("same"), np.array(["same"])]


@pytest.mark.parametrize("padding", PADDINGS, ids=repr)
@pytest.mark.parametrize("in_channels", [None, 3])
def test_unknown_paddings_are_refused(in_channels, padding):
    with pytest.raises(ValueError, match=r"^padding: expected"):
        cnnx.Conv3x3(2, in_channels, padding=padding)


@pytest.mark.parametrize("use_bias", [0, 1, 1.0, "yes", "", [], np.array(True), np.array([True])], ids=repr)
@pytest.mark.parametrize("in_channels", [None, 3])
def test_use_bias_is_a_bool_or_none(in_channels, use_bias):
    with pytest.raises(TypeError, match=r"^use_bias: expected"):
        cnnx.Conv3x3(2, in_channels, use_bias=use_bias)


RATES = {
    "one": (1, ValueError),
    "above one": (1.5, ValueError),
    "negative": (-1e-9, ValueError),
    "NaN": (float("nan"), ValueError),
    "infinite": (float("inf"), ValueError),
    "minus infinite": (float("-inf"), ValueError),
    "numpy one": (np.float32(1), ValueError),
    "integer beyond float64": (-(10**400), ValueError),
    "None": (None, TypeError),
    "string": ("0.5", TypeError),
    "bool": (False, TypeError),
    "numpy bool": (np.bool_(False), TypeError),
    "complex": (0.5 + 0j, TypeError),
    "list": ([0.5], TypeError),
    "array": (np.array([0.5]), TypeError),
}


@pytest.mark.parametrize("kind", RATES)
def test_a_dropout_rate_is_a_number_from_zero_to_below_one(kind):
    rate, error = RATES[kind]
    with pytest.raises(error, match=r"^rate: expected"):
        cnnx.Dropout(rate)


@pytest.mark.parametrize("rate", [0, 0.0, np.float32(0.5), np.float64(0.999), np.int64(0)])
def test_any_real_number_type_is_a_rate(rate):
    assert cnnx.Dropout(rate).rate == rate


def test_a_convolution_without_biases_takes_none():
    conv = cnnx.Conv3x3(2, 3, use_bias=False)
    with pytest.raises(ValueError, match=r"^biases: expected"):
        conv.biases = np.zeros(2)
    assert conv.biases is None


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
