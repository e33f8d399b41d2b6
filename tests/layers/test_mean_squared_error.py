"""mean_squared_error: the loss, its gradient, and what it refuses."""

import numpy as np
import pytest
from layouts import NOT_REAL_ARRAYS
from tolerances import assert_close, assert_is_derivative, assert_same_bits, central_difference
from twins import LANE_EDGES, uniform

import cnnx
from cnnx import reference


@pytest.mark.parametrize("nodes", LANE_EDGES)
def test_loss_and_gradient(dtype, rng, nodes):
    out, target = uniform(rng, nodes, dtype), uniform(rng, nodes, dtype)
    loss, d_L_d_out = cnnx.mean_squared_error(out, target)
    expected_loss, expected = reference.mean_squared_error(out, target)
    assert_close(np.asarray(loss, dtype), np.asarray(expected_loss, dtype), terms=nodes + 2, largest=4)
    assert_close(d_L_d_out, expected, terms=3, largest=4)


def test_the_gradient_is_the_derivative_of_the_loss(layers, rng):
    out, target = uniform(rng, 7), uniform(rng, 7)
    numeric = central_difference(lambda: layers.mean_squared_error(out, target)[0], out)
    assert_is_derivative(layers.mean_squared_error(out, target)[1], numeric, terms=10)


@pytest.mark.smoke
def test_it_is_the_mean_over_the_outputs(layers, dtype):
    loss, d_L_d_out = layers.mean_squared_error(np.array([1, 5], dtype), np.array([3, 1], dtype))
    assert loss == (2**2 + 4**2) / 2
    assert_same_bits(d_L_d_out, np.array([-2, 4], dtype))


@pytest.mark.parametrize("kind", NOT_REAL_ARRAYS)
@pytest.mark.parametrize("name", ["out", "target"])
def test_both_are_arrays_of_real_numbers(kind, name):
    values = np.array([0.1, 0.3, 0.2])
    arguments = {"out": values, "target": values, name: NOT_REAL_ARRAYS[kind](values)}
    with pytest.raises(TypeError, match=rf"^{name}: expected"):
        cnnx.mean_squared_error(**arguments)


@pytest.mark.parametrize(
    ("name", "out", "target"),
    [
        ("out", np.zeros((1, 3)), np.zeros((1, 3))),
        ("out", np.zeros(0), np.zeros(0)),
        ("target", np.zeros(3), np.zeros(2)),
        ("target", np.zeros(3), np.zeros((3, 1))),
        ("target", np.zeros(3), np.array(0.0)),
    ],
)
def test_both_have_the_same_number_of_entries(name, out, target):
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        cnnx.mean_squared_error(out, target)
