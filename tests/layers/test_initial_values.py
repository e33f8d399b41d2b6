"""New layers have the article's values or He's, from numpy's global generator or from one's own."""

import numpy as np
from tolerances import assert_same_bits


def test_the_network_starts_from_the_article_s_values_to_the_bit(layers):
    np.random.seed(5)
    filters = np.random.randn(8, 3, 3) / 9
    weights = np.random.randn(12, 10) / 12
    np.random.seed(5)
    conv, soft = layers.Conv3x3(8), layers.Softmax(12, 10)
    assert_same_bits(conv.filters, filters)
    assert_same_bits(soft.weights, weights)
    assert_same_bits(soft.biases, np.zeros(10))
    np.random.seed(5)
    conv, soft = layers.Conv3x3(8, dtype=np.float32), layers.Softmax(12, 10, dtype="float32")
    assert_same_bits(conv.filters, filters.astype(np.float32))
    assert_same_bits(soft.weights, weights.astype(np.float32))
    assert_same_bits(soft.biases, np.zeros(10, np.float32))


def test_a_generator_of_one_s_own_leaves_numpy_s_global_one_alone(layers, dtype):
    np.random.seed(5)
    untouched = np.random.random()
    np.random.seed(5)
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    conv = layers.Conv3x3(4, dtype=dtype, rng=rng)
    soft = layers.Softmax(6, 5, dtype=dtype, rng=rng)
    assert_same_bits(conv.filters, (twin.standard_normal((4, 3, 3)) / 9).astype(dtype))
    assert_same_bits(soft.weights, (twin.standard_normal((6, 5)) / 6).astype(dtype))
    assert np.random.random() == untouched


def test_stacked_layers_start_from_he_s_values_to_the_bit(layers, dtype):
    np.random.seed(5)
    filters = np.random.randn(8, 3, 3, 5) * np.sqrt(2 / 45)
    weights = np.random.randn(12, 10) * np.sqrt(2 / 12)
    np.random.seed(5)
    conv, dense = layers.Conv3x3(8, 5, dtype=dtype), layers.Dense(12, 10, dtype=dtype)
    assert_same_bits(conv.filters, filters.astype(dtype))
    assert_same_bits(conv.biases, np.zeros(8, dtype))
    assert_same_bits(dense.weights, weights.astype(dtype))
    assert_same_bits(dense.biases, np.zeros(10, dtype))


def test_stacked_layers_draw_from_a_generator_of_one_s_own(layers, dtype):
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    conv, dense = layers.Conv3x3(4, 2, dtype=dtype, rng=rng), layers.Dense(6, 5, dtype=dtype, rng=rng)
    assert_same_bits(conv.filters, (twin.standard_normal((4, 3, 3, 2)) * np.sqrt(2 / 18)).astype(dtype))
    assert_same_bits(dense.weights, (twin.standard_normal((6, 5)) * np.sqrt(2 / 6)).astype(dtype))
