"""Softmax: probabilities, the full Jacobian, totals of any size, and what it remembers.

What it shares with every layer is in test_every_layer.py, which reads its sizes from cases.py.
"""

import numpy as np
import pytest
from cases import CASES, assert_refused
from hypothesis import given
from hypothesis import strategies as st
from properties import dtypes, seeds, targets
from tolerances import assert_close
from twins import computing_on, parameters, softmax_twins, uniform

import cnnx
from cnnx import Sequential, Softmax


@given(st.lists(st.integers(1, 7), max_size=4), st.integers(1, 35), dtypes, targets, seeds)
def test_softmax_equals_the_reference(shape, nodes, dtype, target, rng):
    with computing_on(target):
        input_len = int(np.prod(shape))
        compiled, plain = softmax_twins(input_len, nodes, dtype, rng)
        input, d_L_d_out = uniform(rng, tuple(shape), dtype), uniform(rng, nodes, dtype)
        input = np.asarray(input, dtype)
        terms = 2 * input_len + 4 * nodes
        assert_close(compiled.forward(input), plain.forward(input), terms)
        assert_close(compiled.backprop(d_L_d_out, 0.1), plain.backprop(d_L_d_out, 0.1), terms)
        for name, values in parameters(plain).items():
            assert_close(getattr(compiled, name), values, terms)


@given(st.integers(1, 40), dtypes, st.floats(0, 1e4), seeds)
def test_probabilities_are_positive_and_sum_to_one(nodes, dtype, spread, rng):
    soft, _ = softmax_twins(1, nodes, dtype, rng)
    soft.biases[...] = spread * uniform(rng, nodes)
    probabilities = soft.forward(np.zeros(1, dtype))
    assert (probabilities >= 0).all()
    assert_close(probabilities.sum(keepdims=True), np.ones(1, dtype), terms=4 * nodes)


@given(dtypes, seeds)
def test_a_float64_gradient_of_a_float32_layer_is_converted_once(dtype, rng):
    soft, plain = softmax_twins(11, 6, np.float32, rng)
    input, d_L_d_out = uniform(rng, 11, dtype), uniform(rng, 6, dtype)
    assert_close(soft.forward(input), plain.forward(input.astype(np.float32)), 46)
    expected = plain.backprop(d_L_d_out.astype(np.float32), 0.1)
    assert_close(soft.backprop(d_L_d_out, 0.1), expected, 46)


@pytest.mark.usefixtures("target")
def test_the_totals_are_remembered(dtype, rng):
    compiled, plain = softmax_twins(17, 11, dtype, rng)
    input = uniform(rng, 17, dtype)
    for layer in (compiled, plain):
        layer.forward(input)[...] = 0
        layer.backprop(uniform(rng, 11, dtype), 0.0)[...] = 0
    assert_close(compiled.last_totals, plain.last_totals, terms=18)


@pytest.mark.parametrize("label", [0, 5, 9])
def test_the_gradient_of_one_label_goes_where_the_article_sends_it(dtype, rng, label):
    compiled, plain = softmax_twins(33, 10, dtype, rng)
    input = uniform(rng, 33, dtype)
    _, d_L_d_out = cnnx.cross_entropy(compiled.forward(input), label)
    plain.forward(input)
    d_L_d_biases = plain.forward(input) - np.eye(10, dtype=dtype)[label]  # softmax with cross-entropy: p − 1
    before = compiled.biases.copy()
    compiled.backprop(d_L_d_out, 1.0)
    assert_close(before - compiled.biases, d_L_d_biases, terms=2 * 33 + 40)


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_totals_of_ten_thousand_neither_overflow_nor_vanish(dtype, rng, size):
    compiled, plain = softmax_twins(6, 5, dtype, rng)
    for layer in (compiled, plain):
        layer.biases[...] = size * np.array([1, 0.5, 1, -1, 0.25], dtype)
    input, d_L_d_out = uniform(rng, 6, dtype), uniform(rng, 5, dtype)
    terms = 2 * 6 + 4 * 5
    probabilities = compiled.forward(input)
    assert_close(probabilities, plain.forward(input), terms, largest=1e4)
    assert np.isfinite(probabilities).all()
    assert_close(probabilities.sum(keepdims=True), np.ones(1, dtype), terms)
    assert_close(compiled.backprop(d_L_d_out, 0.1), plain.backprop(d_L_d_out, 0.1), terms, largest=1e4)


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("nodes", [2, 3, 4, 5, 11, 1001])
def test_small_probabilities_are_right_to_rounding_too(dtype, rng, nodes):
    """Down to the smallest subnormal numbers, and 0 below them."""
    soft, numbers = Softmax(1, nodes, dtype=dtype), np.finfo(dtype)
    soft.weights[...] = 0
    soft.biases[...] = rng.permutation(np.linspace(0, 1.1 * np.log(float(numbers.smallest_subnormal)), nodes))
    probabilities = soft.forward(np.zeros(1, dtype)).astype(np.float64)
    largest, smallest = probabilities.max(), float(numbers.smallest_subnormal)
    expected = np.exp(soft.biases.astype(np.float64))
    np.testing.assert_allclose(
        probabilities / largest, expected, rtol=2 * float(numbers.eps), atol=2 * smallest / largest
    )
    assert probabilities[soft.biases.argmin()] == 0


@pytest.mark.usefixtures("target")
def test_the_series_of_the_exponential_function_is_long_enough(dtype):
    """Half-way between powers of two, where it converges most slowly."""
    soft = Softmax(1, 100, dtype=dtype)
    soft.weights[...] = 0
    soft.biases[...] = np.append(0, -np.log(2) * np.arange(0.5, 99))
    probabilities = soft.forward(np.zeros(1, dtype)).astype(np.float64)
    errors = np.abs(probabilities / probabilities[0] / np.exp(soft.biases.astype(np.float64)) - 1)
    assert errors.mean() < 0.6 * np.finfo(dtype).eps


def test_a_vanished_probability_never_poisons_the_weights(layers, dtype, rng):
    soft = layers.Softmax(4, 3, dtype=dtype)
    soft.biases[...] = [1e4, -1e4, 0]
    out = soft.forward(uniform(rng, 4, dtype))
    assert out[1] == 0
    _, d_L_d_out = layers.cross_entropy(out, 1)
    assert np.isfinite(soft.backprop(d_L_d_out, 0.005)).all()
    assert np.isfinite(soft.weights).all()
    assert np.isfinite(soft.biases).all()


@pytest.mark.parametrize("shape", [(5, 5), (13,), "4x3", None], ids=str)
def test_a_last_input_shape_that_does_not_fit_is_refused_before_the_update(rng, shape):
    soft = CASES["Softmax"].after_forward(cnnx)
    soft.last_input_shape = shape
    error = (TypeError, ValueError, RuntimeError)
    assert_refused(soft, lambda: soft.backprop(uniform(rng, 5), 0.1), error, "last_input_shape|backprop")


def test_the_gradient_is_the_biases(rng, dtype):
    compiled, plain = softmax_twins(12, 5, dtype, rng)
    input = uniform(rng, 12, dtype)
    for layer in (compiled, plain):
        layer.forward(input)
    assert_close(compiled.backprop(compiled.biases, 0.5), plain.backprop(plain.biases, 0.5), terms=44)
    assert_close(compiled.biases, plain.biases, terms=44)
    assert_close(compiled.weights, plain.weights, terms=44)


def test_the_gradient_is_a_row_of_the_weights(rng, dtype):
    compiled, plain = softmax_twins(12, 5, dtype, rng)
    input = uniform(rng, 12, dtype)
    for layer in (compiled, plain):
        layer.forward(input)
    assert_close(compiled.backprop(compiled.weights[0], 0.5), plain.backprop(plain.weights[0], 0.5), terms=44)
    assert_close(compiled.weights, plain.weights, terms=44)


def test_the_input_is_a_view_of_the_weights(rng, dtype):
    compiled, plain = softmax_twins(12, 5, dtype, rng)
    d_L_d_out = uniform(rng, 5, dtype)
    for layer in (compiled, plain):
        layer.forward(layer.weights.reshape(-1)[7:19])
    assert_close(compiled.backprop(d_L_d_out, 0.5), plain.backprop(d_L_d_out, 0.5), terms=44)
    assert_close(compiled.weights, plain.weights, terms=44)


def test_an_input_changed_between_the_passes_is_not_seen_by_the_dense_layer(rng, dtype):
    twins, input = softmax_twins(12, 5, dtype, rng), uniform(rng, (3, 4), dtype)
    d_L_d_out, received = uniform(rng, 5, dtype), []
    for layer in twins:
        given = input.copy()
        layer.forward(given)
        given[...] = 0
        received.append(layer.backprop(d_L_d_out, 0.5))
    assert_close(*received, terms=44)
    assert_close(twins[0].weights, twins[1].weights, terms=44)


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("nodes", [3, 18])
def test_of_equal_probabilities_the_first_is_a_network_s_answer(dtype, rng, nodes):
    network = Sequential([Softmax(12, nodes, dtype=dtype)])
    network.parameters[...] = 0
    network.layers[0].biases[0] = -1  # so the answer is 1
    images, labels = rng.integers(0, 256, (nodes, 3, 4), np.uint8), np.arange(nodes)
    assert network.evaluate(images, labels)[1] == 1 / nodes
    history = network.fit(images, labels, epochs=1, learn_rate=0.0, shuffle=False)
    np.testing.assert_array_equal(history.correct, labels == 1)
