"""cross_entropy: the loss, its gradient, probabilities that vanish, and what it refuses."""

import numpy as np
import pytest
from layouts import NOT_REAL_ARRAYS
from tolerances import assert_close, assert_is_derivative, assert_same_bits, central_difference
from twins import LANE_EDGES

import cnnx
from cnnx import reference


@pytest.mark.parametrize("nodes", LANE_EDGES)
def test_cross_entropy_loss_and_gradient(dtype, rng, nodes):
    out = rng.uniform(0.1, 1, nodes).astype(dtype)
    for label in range(nodes):
        loss, d_L_d_out = cnnx.cross_entropy(out, label)
        expected_loss, expected = reference.cross_entropy(out, label)
        assert_close(np.asarray(loss, dtype), np.asarray(expected_loss, dtype), terms=2)
        assert_close(d_L_d_out, expected, terms=1, largest=10)


@pytest.mark.parametrize("label", [0, 3, 6])
def test_cross_entropy_gradient_is_the_derivative_of_its_loss(layers, rng, label):
    out = rng.uniform(0.1, 1, 7)
    numeric = central_difference(lambda: layers.cross_entropy(out, label)[0], out)
    _, d_L_d_out = layers.cross_entropy(out, label)
    assert_is_derivative(d_L_d_out, numeric, terms=100)


@pytest.mark.parametrize("nodes", LANE_EDGES)
def test_soft_labels_loss_and_gradient(dtype, rng, nodes):
    out, row = (rng.uniform(0.1, 1, nodes).astype(dtype) for _ in range(2))
    row[rng.random(nodes) < 0.3] = 0
    loss, d_L_d_out = cnnx.cross_entropy(out, row)
    expected_loss, expected = reference.soft_cross_entropy(out, row)
    assert_close(np.asarray(loss, dtype), np.asarray(expected_loss, dtype), terms=nodes + 2, largest=3)
    assert_close(d_L_d_out, expected, terms=1, largest=10)


@pytest.mark.parametrize("soft", [cnnx.cross_entropy, reference.soft_cross_entropy], ids=["cnnx", "reference"])
def test_the_gradient_of_a_soft_label_is_the_derivative_of_its_loss(rng, soft):
    out, row = rng.uniform(0.1, 1, 7), rng.uniform(0, 1, 7)
    numeric = central_difference(lambda: soft(out, row)[0], out)
    assert_is_derivative(soft(out, row)[1], numeric, terms=100)


@pytest.mark.parametrize("soft", [cnnx.cross_entropy, reference.soft_cross_entropy], ids=["cnnx", "reference"])
def test_a_row_with_a_single_one_is_its_label(dtype, rng, soft):
    out = rng.uniform(0.1, 1, 7).astype(dtype)
    out[2] = 0
    for label in (2, 5):
        loss, d_L_d_out = soft(out, np.eye(7, dtype=dtype)[label])
        expected_loss, expected = cnnx.cross_entropy(out, label)
        assert loss == pytest.approx(expected_loss, rel=float(np.finfo(dtype).eps))
        np.testing.assert_array_equal(d_L_d_out, expected)


def test_smoothing_takes_a_share_of_the_probability_and_gives_it_to_all_alike(dtype):
    smoothed = reference.smoothed(np.array([0, 1, 0, 0], dtype), 0.2)
    assert_close(smoothed, np.array([0.05, 0.85, 0.05, 0.05], dtype), terms=2)


@pytest.mark.parametrize("kind", ["zero", "subnormal", "smallest normal", "negative zero"])
def test_cross_entropy_of_a_vanished_probability_is_finite(layers, dtype, kind):
    smallest_normal = np.finfo(dtype).smallest_normal
    p = {"zero": 0.0, "subnormal": smallest_normal / 8, "negative zero": -0.0}.get(kind, smallest_normal)
    out = np.array([1, p, 0.5], dtype)
    loss, d_L_d_out = layers.cross_entropy(out, 1)
    assert loss == pytest.approx(-np.log(np.float64(smallest_normal)), rel=4 * float(np.finfo(dtype).eps))
    np.testing.assert_array_equal(d_L_d_out, np.array([0, -1 / smallest_normal, 0], dtype))


@pytest.mark.smoke
def test_a_certain_answer_costs_nothing(layers, dtype):
    loss, d_L_d_out = layers.cross_entropy(np.array([0, 1, 0], dtype), 1)
    assert loss == 0
    assert_same_bits(d_L_d_out, np.array([0, -1, 0], dtype))


def test_the_probabilities_stay_as_they_are_and_the_gradient_is_fresh(layers, dtype, rng):
    out = rng.uniform(0.1, 1, 7).astype(dtype)
    before = out.copy()
    _, first = layers.cross_entropy(out, 3)
    _, second = layers.cross_entropy(out, 3)
    assert_same_bits(out, before)
    assert not np.shares_memory(first, second)
    assert not np.shares_memory(first, out)


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
    "0-d": (np.array(2.0), TypeError),
    "short row": (np.full(4, 0.25), ValueError),
    "column": (np.full((5, 1), 0.2), ValueError),
    "negative row": (np.array([0.5, -0.1, 0.2, 0.2, 0.2]), ValueError),
    "NaN in the row": (np.array([0.5, np.nan, 0.1, 0.2, 0.2]), ValueError),
    "row of bools": (np.array([0, 0, 1, 0, 0], bool), TypeError),
}


@pytest.mark.parametrize("kind", LABELS)
def test_a_label_is_an_integer_within_out_or_a_row_of_probabilities(kind):
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
