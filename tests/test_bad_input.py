"""What cannot be right is refused by name, and a refused call leaves the parameters as they were."""

import decimal
import functools
import re

import numpy as np
import pytest
from entries import CONV_OUT, ENTRIES, SOFTMAX_OUT, assert_refused, make_layer
from tolerances import assert_close
from twins import uniform

import cnnx
from cnnx import reference

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


@pytest.mark.parametrize("kind", NOT_REAL_ARRAYS)
@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_only_arrays_of_real_numbers_are_accepted(rng, entry, kind):
    layer = make_layer(cnnx, entry.layer)
    bad = NOT_REAL_ARRAYS[kind](uniform(rng, entry.shape))
    assert_refused(layer, lambda: entry.call(layer, bad), TypeError, rf"^{entry.parameter}: expected")


def wrong_shapes(entry):
    """Yield shapes that do not fit: too few axes, too many, and any axis off by one or empty."""
    yield from [(), entry.shape[:-1], (1, *entry.shape), (*entry.shape, 1)]
    if entry.method == "backprop":
        for axis, size in enumerate(entry.shape):
            for wrong in (0, 1, size - 1, size + 1, 2 * size):
                yield (*entry.shape[:axis], wrong, *entry.shape[axis + 1 :])
    if entry == ENTRIES[0]:
        yield from [(2, 7), (6, 2), (1, 1), (2, 2), (0, 7), (6, 0), (0, 0)]
    if entry.layer == "Softmax" and entry.method == "forward":
        yield from [(0,), (11,), (13,), (4, 3, 2), (4, 0, 3)]


def harmless(entry, shape):
    """Tell whether a softmax, which takes its values in any shape, takes this one."""
    same_count = np.prod(shape) == np.prod(entry.shape)
    return entry.layer == "Softmax" and entry.method == "forward" and same_count


@pytest.mark.parametrize(
    ("entry", "shape"),
    [
        pytest.param(entry, shape, id=f"{entry} {shape}")
        for entry in ENTRIES
        for shape in dict.fromkeys(wrong_shapes(entry))
        if shape != entry.shape and not harmless(entry, shape)
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_shape_they_had(entry, shape):
    layer = make_layer(cnnx, entry.layer)
    message = rf"^{entry.parameter}: expected .+, got .*{re.escape(str(shape))}"
    assert_refused(layer, lambda: entry.call(layer, np.zeros(shape)), ValueError, message)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.method == "backprop"], ids=str)
def test_a_gradient_s_error_states_the_shape_expected(entry):
    layer = make_layer(cnnx, entry.layer)
    message = rf"^d_L_d_out: expected .*{re.escape(str(entry.shape))}.*, got .*\(3, 9\)"
    assert_refused(layer, lambda: entry.call(layer, np.zeros((3, 9))), ValueError, message)


@pytest.mark.parametrize("name", ["Conv3x3", "MaxPool2", "Softmax"])
def test_a_refused_forward_leaves_the_last_one_in_place(rng, name):
    forward, backprop = (entry for entry in ENTRIES if entry.layer == name)
    compiled, plain = make_layer(cnnx, name), make_layer(reference, name)
    for bad in (None, np.zeros((1, 1, 1, 1, 1)), np.zeros(forward.shape, complex)):
        with pytest.raises((TypeError, ValueError), match=r"^input: expected"):
            compiled.forward(bad)
    d_L_d_out = uniform(rng, backprop.shape)
    expected = backprop.call(plain, d_L_d_out)
    assert_close(backprop.call(compiled, d_L_d_out), expected, terms=100)


LEARN_RATES = {
    "None": (None, TypeError),
    "string": ("0.005", TypeError),
    "bool": (True, TypeError),
    "numpy bool": (np.bool_(True), TypeError),
    "complex": (0.1 + 0j, TypeError),
    "numpy complex": (np.complex128(0.1), TypeError),
    "list": ([0.1], TypeError),
    "array": (np.array([0.1, 0.2]), TypeError),
    "NaN": (float("nan"), ValueError),
    "float32 NaN": (np.float32("nan"), ValueError),
    "infinite": (float("inf"), ValueError),
    "minus infinite": (float("-inf"), ValueError),
    "negative": (-0.1, ValueError),
    "negative integer": (-1, ValueError),
    "negative float32": (np.float32(-0.1), ValueError),
    "integer beyond float64": (10**400, ValueError),
    "infinite longdouble": (np.longdouble("inf"), ValueError),
}


@pytest.mark.parametrize("kind", LEARN_RATES)
@pytest.mark.parametrize(("name", "shape"), [("Conv3x3", CONV_OUT), ("Softmax", SOFTMAX_OUT)])
def test_a_learn_rate_is_a_finite_number_of_at_least_zero(rng, name, shape, kind):
    learn_rate, error = LEARN_RATES[kind]
    layer, d_L_d_out = make_layer(cnnx, name), uniform(rng, shape)
    assert_refused(layer, lambda: layer.backprop(d_L_d_out, learn_rate), error, r"^learn_rate: expected")


@pytest.mark.parametrize("learn_rate", [0, 1, np.int64(1), np.float32(0.25), np.float64(0.25), np.float16(0.25)])
@pytest.mark.parametrize("name", ["Conv3x3", "Softmax"])
def test_any_real_number_type_is_a_learn_rate(rng, dtype, name, learn_rate):
    (backprop,) = (entry for entry in ENTRIES if str(entry) == f"{name}.backprop")
    compiled, plain = make_layer(cnnx, name, dtype), make_layer(cnnx, name, dtype)
    d_L_d_out = uniform(rng, backprop.shape, dtype)
    compiled.backprop(d_L_d_out, learn_rate)
    plain.backprop(d_L_d_out, float(learn_rate))
    parameter = "filters" if name == "Conv3x3" else "weights"
    np.testing.assert_array_equal(getattr(compiled, parameter), getattr(plain, parameter))


@pytest.mark.parametrize("name", ["Conv3x3", "MaxPool2", "Softmax"])
def test_backprop_before_forward_is_refused(name):
    make = {"Conv3x3": (cnnx.Conv3x3, 5), "MaxPool2": (cnnx.MaxPool2,), "Softmax": (cnnx.Softmax, 12, 5)}
    layer_class, *sizes = make[name]
    layer = layer_class(*sizes)
    (backprop,) = (entry for entry in ENTRIES if str(entry) == f"{name}.backprop")
    d_L_d_out = np.ones(backprop.shape)
    assert_refused(layer, lambda: backprop.call(layer, d_L_d_out), RuntimeError, "backprop.*forward")


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
    with pytest.raises(error, match=r"^input_len: expected"):
        cnnx.Softmax(size, 5)
    with pytest.raises(error, match=r"^nodes: expected"):
        cnnx.Softmax(12, size)


def test_numpy_s_integers_are_sizes():
    assert cnnx.Conv3x3(np.int32(4)).filters.shape == (4, 3, 3)
    assert cnnx.Softmax(np.uint8(6), np.int64(5)).weights.shape == (6, 5)


MAKERS = {"Conv3x3": functools.partial(cnnx.Conv3x3, 2), "Softmax": functools.partial(cnnx.Softmax, 2, 2)}
SWAPPED = np.dtype(np.float64).newbyteorder()


@pytest.mark.parametrize("dtype", ["float16", "longdouble", int, complex, bool, object, "S3", SWAPPED, "f4,f4", "x"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_layer_s_dtype_is_float32_or_float64(name, dtype):
    with pytest.raises(ValueError, match=r"^dtype: expected float32 or float64"):
        MAKERS[name](dtype=dtype)


@pytest.mark.parametrize("dtype", ["float", "double", "f4", np.dtype(np.float32), float])
@pytest.mark.parametrize("name", MAKERS)
def test_every_spelling_of_the_two_dtypes_works(name, dtype):
    layer = MAKERS[name](dtype=dtype)
    assert (layer.filters if name == "Conv3x3" else layer.biases).dtype == dtype


@pytest.mark.parametrize("rng", [0, "0", np.random, np.random.RandomState(0)], ids=lambda rng: type(rng).__name__)
@pytest.mark.parametrize("name", MAKERS)
def test_rng_is_a_generator_or_none(name, rng):
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


def test_options_are_named():
    with pytest.raises(TypeError):
        cnnx.Conv3x3(2, np.float32)
    with pytest.raises(TypeError):
        cnnx.Softmax(2, 2, np.float32)
    with pytest.raises(TypeError):
        cnnx.MaxPool2("first")


CROSS_ENTROPY_OUTS = {
    **{kind: (make, TypeError) for kind, make in NOT_REAL_ARRAYS.items()},
    "0-d": (lambda _: np.array(0.5), ValueError),
    "2-d": (lambda values: values.reshape(1, -1), ValueError),
    "NaN at the label": (lambda values: np.where(np.arange(5) == 2, np.nan, values), ValueError),
    "infinite at the label": (lambda values: np.where(np.arange(5) == 2, np.inf, values), ValueError),
    "NaN everywhere": (lambda values: values * np.nan, ValueError),
}


@pytest.mark.parametrize("kind", CROSS_ENTROPY_OUTS)
def test_cross_entropy_s_out_is_a_float_array_of_one_axis(kind):
    make, error = CROSS_ENTROPY_OUTS[kind]
    with pytest.raises(error, match=r"^out: expected"):
        cnnx.cross_entropy(make(np.array([0.1, 0.3, 0.2, 0.3, 0.1])), 2)


LABELS = {
    "too large": (5, ValueError),
    "minus one": (-1, ValueError),
    "huge": (2**70, ValueError),
    "float": (2.0, TypeError),
    "numpy float": (np.float32(2), TypeError),
    "string": ("2", TypeError),
    "None": (None, TypeError),
    "bool": (True, TypeError),
    "numpy bool": (np.bool_(True), TypeError),
    "one-hot": (np.array([0, 0, 1, 0, 0]), TypeError),
}


@pytest.mark.parametrize("kind", LABELS)
def test_a_label_is_an_integer_within_out(kind):
    label, error = LABELS[kind]
    with pytest.raises(error, match=r"^label: expected"):
        cnnx.cross_entropy(np.full(5, 0.2), label)


def test_there_is_no_label_in_an_empty_out():
    with pytest.raises(ValueError, match=r"^label: expected"):
        cnnx.cross_entropy(np.zeros(0), 0)


@pytest.mark.parametrize("label", [3, np.uint8(3), np.int64(3)], ids=lambda label: type(label).__name__)
def test_any_integer_type_is_a_label(label):
    loss, d_L_d_out = cnnx.cross_entropy(np.array([0.1, 0.1, 0.1, 0.5, 0.2]), label)
    assert loss == pytest.approx(np.log(2))
    np.testing.assert_array_equal(d_L_d_out, [0, 0, 0, -2, 0])
