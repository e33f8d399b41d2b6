"""MaxPool2: who gets the gradient of a window, ties, NaN, odd edges, and too little to pool.

What it shares with every layer is in test_every_layer.py, which reads its sizes from cases.py.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import dtypes, seeds, targets
from tolerances import assert_same_bits
from twins import computing_on, conv_twins, pool_twins, uniform

import cnnx
from cnnx import reference

tie_rules = st.sampled_from(["all", "first"])


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 35), dtypes, tie_rules, st.integers(1, 5), targets, seeds)
def test_pool_equals_the_reference_to_the_bit(height, width, channels, dtype, ties, values, target, rng):
    with computing_on(target):
        compiled, plain = pool_twins(ties)
        input = rng.integers(0, values, (height, width, channels)).astype(dtype)
        d_L_d_out = uniform(rng, (height // 2, width // 2, channels), dtype)
        assert_same_bits(compiled.forward(input), plain.forward(input))
        assert_same_bits(compiled.backprop(d_L_d_out), plain.backprop(d_L_d_out))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), dtypes, seeds)
def test_ties_share_the_gradient_or_the_first_takes_it(height, width, channels, dtype, rng):
    tied = np.full((2 * height, 2 * width, channels), rng.normal(), dtype)
    d_L_d_out = uniform(rng, (height, width, channels), dtype)
    for ties, pixels in (("all", [(0, 0), (0, 1), (1, 0), (1, 1)]), ("first", [(0, 0)])):
        pool = cnnx.MaxPool2(ties=ties)
        pool.forward(tied)
        expected = np.zeros_like(tied)
        for row, column in pixels:
            expected[row::2, column::2] = d_L_d_out
        assert_same_bits(pool.backprop(d_L_d_out), expected)


@pytest.mark.smoke
@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("num_filters", [1, 3, 8, 17])
def test_a_blank_background_ties_through_convolution_and_pooling(dtype, rng, ties, num_filters):
    image = np.full((12, 15), -0.5, dtype)
    image[4:7, 5:9] = uniform(rng, (3, 4), dtype)
    received = []
    for conv, pool in zip(conv_twins(num_filters, dtype, rng), pool_twins(ties), strict=True):
        pool.forward(conv.forward(image))
        received.append(pool.backprop(np.ones((5, 6, num_filters), dtype)))
    np.testing.assert_array_equal(*received)
    blank_corner = [[1, 1], [1, 1]] if ties == "all" else [[1, 0], [0, 0]]
    for layer_gradient in received:
        np.testing.assert_array_equal(layer_gradient[-2:, -3:-1, 0], blank_corner)


def test_pooling_backprop_has_the_dtype_of_the_forward_pass(dtype, rng, ties):
    pool = cnnx.MaxPool2(ties=ties)
    pool.forward(uniform(rng, (4, 6, 3), dtype))
    assert pool.backprop(np.ones((2, 3, 3), np.float64)).dtype == dtype
    assert pool.backprop(np.ones((2, 3, 3), np.float32)).dtype == dtype


def test_pooling_less_than_a_window_gives_nothing_and_a_gradient_of_zeros(layers, dtype, ties):
    pool = layers.MaxPool2(ties=ties)
    for shape in ((1, 1, 3), (1, 5, 2), (5, 1, 2), (0, 4, 3), (4, 0, 3), (4, 6, 0), (0, 0, 0)):
        pooled = (shape[0] // 2, shape[1] // 2, shape[2])
        assert_same_bits(pool.forward(np.ones(shape, dtype)), np.zeros(pooled, dtype))
        assert_same_bits(pool.backprop(np.ones(pooled, dtype)), np.zeros(shape, dtype))


@pytest.mark.usefixtures("target")
def test_pool_windows_of_nan_infinity_and_signed_zero(dtype, rng, ties):
    compiled, plain = pool_twins(ties)
    candidates = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], dtype)
    for channels in (1, 3, 8, 17):
        input = rng.choice(candidates, (30, 20, channels), p=[0.1, 0.2, 0.3, 0.15, 0.15, 0.1])
        d_L_d_out = rng.choice(candidates, (15, 10, channels))
        np.testing.assert_array_equal(compiled.forward(input), plain.forward(input))
        np.testing.assert_array_equal(compiled.backprop(d_L_d_out), plain.backprop(d_L_d_out))


def test_a_window_with_a_nan_is_nan_and_passes_no_gradient(layers, dtype, ties):
    pool = layers.MaxPool2(ties=ties)
    for position in range(4):
        input = np.ones((2, 2, 5), dtype)
        input.reshape(4, 5)[position] = np.nan
        assert np.isnan(pool.forward(input)).all()
        assert_same_bits(pool.backprop(np.ones((1, 1, 5), dtype)), np.zeros((2, 2, 5), dtype))


@pytest.mark.parametrize("ties", ["last", "", "ALL", None, 1, True, b"all", ["all"]], ids=repr)
def test_unknown_ties_are_refused(ties):
    with pytest.raises(ValueError, match=r"^ties: expected"):
        cnnx.MaxPool2(ties=ties)
    pool = cnnx.MaxPool2(ties="first")
    with pytest.raises(ValueError, match=r"^ties: expected"):
        pool.ties = ties
    assert pool.ties == "first"


def test_the_gradient_is_the_input(dtype, ties):
    received = []
    for module in (cnnx, reference):
        pool = module.MaxPool2(ties=ties)
        shared = np.ones((2, 2, 3), dtype)
        pool.forward(shared)
        received.append(pool.backprop(shared[:1, :1]))
    assert_same_bits(*received)


def test_an_output_changed_between_the_passes_is_seen_by_the_pooling_that_took_it(rng, dtype, ties):
    features, received = uniform(rng, (6, 4, 3), dtype), []
    for module in (cnnx, reference):
        pool, given = module.MaxPool2(ties=ties), features.copy()
        pool.forward(given)
        given[...] = given[::-1].copy()
        received.append(pool.backprop(np.ones((3, 2, 3), dtype)))
    assert_same_bits(*received)
