"""Arrays and learn rates that cannot be right are refused by name, and a refused call changes nothing."""

import re
from typing import NamedTuple

import numpy as np
import pytest
from cases import CASES, LEARNING, Case, assert_refused
from layouts import NOT_REAL_ARRAYS
from pairwise import pairwise
from tolerances import assert_agree
from twins import DTYPES, parameters, uniform

import cnnx
from cnnx import reference


class Entry(NamedTuple):
    """A layer's method that takes an array of `shape` as its argument `parameter`."""

    name: str
    case: Case
    method: str
    parameter: str
    shape: tuple[int, ...]

    def __str__(self):
        return f"{self.name}.{self.method}"

    def call(self, layer, array):
        return layer.forward(array) if self.method == "forward" else self.case.backprop(layer, array)

    def wrong_shapes(self):
        """Yield shapes that do not fit: too few axes, too many, and any axis off by one or empty."""
        if self.method == "backprop":
            yield from [(), self.shape[:-1], (1, *self.shape), (*self.shape, 1)]
            for axis, size in enumerate(self.shape):
                for wrong in (0, 1, size - 1, size + 1, 2 * size):
                    yield (*self.shape[:axis], wrong, *self.shape[axis + 1 :])
        elif not self.case.any_rank:
            yield from [(), self.shape[:-1], (1, *self.shape), (*self.shape, 1), *self.case.refused]
        else:
            yield from self.case.refused


ENTRIES = [
    entry
    for name, case in CASES.items()
    for entry in (
        Entry(name, case, "forward", "input", case.input_shape),
        Entry(name, case, "backprop", "d_L_d_out", case.output_shape),
    )
]


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_only_arrays_of_real_numbers_are_accepted(rng, entry):
    layer = entry.case.after_forward(cnnx)
    for make in NOT_REAL_ARRAYS.values():
        bad = make(uniform(rng, entry.shape))
        assert_refused(layer, lambda bad=bad: entry.call(layer, bad), TypeError, rf"^{entry.parameter}: expected")


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_shapes_that_do_not_fit_are_refused_with_the_shape_they_had(entry):
    layer = entry.case.after_forward(cnnx)
    for shape in {*entry.wrong_shapes()} - {entry.shape}:
        message = rf"^{entry.parameter}: expected .+, got .*{re.escape(str(shape))}"
        assert_refused(layer, lambda shape=shape: entry.call(layer, np.zeros(shape)), ValueError, message)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.method == "backprop"], ids=str)
def test_a_gradient_s_error_states_the_shape_expected(entry):
    layer = entry.case.after_forward(cnnx)
    message = rf"^d_L_d_out: expected .*{re.escape(str(entry.shape))}.*, got .*\(3, 11\)"
    assert_refused(layer, lambda: entry.call(layer, np.zeros((3, 11))), ValueError, message)


@pytest.mark.parametrize("name", CASES)
def test_a_refused_forward_leaves_the_last_one_in_place(rng, name):
    case = CASES[name]
    compiled, plain = case.after_forward(cnnx), case.after_forward(reference)
    for bad in (None, np.zeros(case.input_shape, complex), *(np.zeros(shape) for shape in case.refused)):
        with pytest.raises((TypeError, ValueError), match=r"^input: expected"):
            compiled.forward(bad)
    d_L_d_out = uniform(rng, case.output_shape)
    _, terms = case.terms(*case.sizes[0])
    assert_agree(case.backprop(compiled, d_L_d_out), case.backprop(plain, d_L_d_out), terms)


@pytest.mark.parametrize("name", CASES)
def test_backprop_before_forward_is_refused(name):
    case = CASES[name]
    layer, d_L_d_out = case.make(cnnx), np.ones(case.output_shape)
    assert_refused(layer, lambda: case.backprop(layer, d_L_d_out), RuntimeError, "backprop.*forward")


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


@pytest.mark.parametrize("name", LEARNING)
def test_a_learn_rate_is_a_finite_number_of_at_least_zero(rng, name):
    layer, d_L_d_out = CASES[name].after_forward(cnnx), uniform(rng, CASES[name].output_shape)
    for bad, error in LEARN_RATES.values():
        assert_refused(layer, lambda bad=bad: layer.backprop(d_L_d_out, bad), error, r"^learn_rate: expected")


REAL_NUMBERS = [0, 1, np.int64(1), np.float32(0.25), np.float64(0.25), np.float16(0.25)]


@pairwise(name=LEARNING, learn_rate=REAL_NUMBERS, dtype=DTYPES)
def test_any_real_number_type_is_a_learn_rate(rng, name, learn_rate, dtype):
    compiled, twin = CASES[name].after_forward(cnnx, dtype), CASES[name].after_forward(cnnx, dtype)
    d_L_d_out = uniform(rng, CASES[name].output_shape, dtype)
    compiled.backprop(d_L_d_out, learn_rate)
    twin.backprop(d_L_d_out, float(learn_rate))
    for parameter, values in parameters(twin).items():
        np.testing.assert_array_equal(getattr(compiled, parameter), values)
