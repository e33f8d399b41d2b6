"""What cannot be right is refused by name, and a refused call leaves the parameters as they were."""

import math
import re

import numpy as np
import pytest
from entries import ENTRIES, LAYERS, WITHOUT_PARAMETERS, assert_refused, entry_of, make_layer, new_layer
from tolerances import assert_close
from twins import parameters, uniform

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
    elif entry.layer == "Conv3x3":
        yield from [(2, 7), (6, 2), (1, 1), (2, 2), (0, 7), (6, 0), (0, 0)]
    elif entry.layer == "stacked Conv3x3":
        yield from [(2, 7, 3), (6, 2, 3), (0, 7, 3), (6, 0, 3), (6, 7, 0), (6, 7, 1), (6, 7, 2), (6, 7, 4), (6, 7, 6)]
    elif entry.layer == "padded Conv3x3":
        yield from [(0, 6, 2), (4, 0, 2), (0, 0, 2), (4, 6, 0), (4, 6, 1), (4, 6, 3), (2, 4, 6)]
    elif entry.layer in ("Dense", "Softmax"):
        count = math.prod(entry.shape)
        yield from [(0,), (count - 1,), (count + 1,), (*entry.shape, 2), (4, 0, 3)]


def harmless(entry, shape):
    """Tell whether a layer that takes its values in any shape takes this one."""
    any_shape = entry.layer in ("ReLU", "Dropout")
    any_shape_of_a_size = entry.layer in ("Dense", "Softmax") and np.prod(shape) == np.prod(entry.shape)
    return entry.method == "forward" and (any_shape or any_shape_of_a_size)


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


@pytest.mark.parametrize("name", LAYERS)
def test_a_refused_forward_leaves_the_last_one_in_place(rng, name):
    forward, backprop = (entry_of(name, method) for method in ("forward", "backprop"))
    compiled, plain = make_layer(cnnx, name), make_layer(reference, name)
    for bad in (None, np.zeros((1, 1, 1, 1, 1)), np.zeros(forward.shape, complex)):
        if isinstance(bad, np.ndarray) and bad.dtype == float and harmless(forward, bad.shape):
            continue
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


LEARNING = [name for name in LAYERS if name not in WITHOUT_PARAMETERS]


@pytest.mark.parametrize("kind", LEARN_RATES)
@pytest.mark.parametrize("name", LEARNING)
def test_a_learn_rate_is_a_finite_number_of_at_least_zero(rng, name, kind):
    learn_rate, error = LEARN_RATES[kind]
    layer, d_L_d_out = make_layer(cnnx, name), uniform(rng, entry_of(name, "backprop").shape)
    assert_refused(layer, lambda: layer.backprop(d_L_d_out, learn_rate), error, r"^learn_rate: expected")


@pytest.mark.parametrize("learn_rate", [0, 1, np.int64(1), np.float32(0.25), np.float64(0.25), np.float16(0.25)])
@pytest.mark.parametrize("name", LEARNING)
def test_any_real_number_type_is_a_learn_rate(rng, dtype, name, learn_rate):
    compiled, plain = make_layer(cnnx, name, dtype), make_layer(cnnx, name, dtype)
    d_L_d_out = uniform(rng, entry_of(name, "backprop").shape, dtype)
    compiled.backprop(d_L_d_out, learn_rate)
    plain.backprop(d_L_d_out, float(learn_rate))
    for parameter, values in parameters(plain).items():
        np.testing.assert_array_equal(getattr(compiled, parameter), values)


@pytest.mark.parametrize("name", LAYERS)
def test_backprop_before_forward_is_refused(name):
    layer, backprop = new_layer(cnnx, name), entry_of(name, "backprop")
    d_L_d_out = np.ones(backprop.shape)
    assert_refused(layer, lambda: backprop.call(layer, d_L_d_out), RuntimeError, "backprop.*forward")


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
