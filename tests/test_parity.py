"""The compiled layers compute what `cnnx.reference` computes, whatever the sizes."""

import numpy as np
import pytest
from tolerances import assert_close, assert_same_bits
from twins import LANE_EDGES, conv_twins, parameters, pool_twins, small_integers, softmax_twins, uniform

import cnnx
from cnnx import reference

LEARN_RATE = 0.3

# (height, width, num_filters), all different: around a lane count in filters, then in the output's width
CONV_SIZES = [
    (3, 3, 2),
    (28, 27, 8),
    *((6, 4, filters) if filters != 4 else (6, 5, filters) for filters in LANE_EDGES),
    *((5, width + 2, 6) for width in LANE_EDGES),
]

# (height, width, channels): even, odd, too small for a window, around a lane count
POOL_SIZES = [
    *((height, width, 3) for height in (1, 2, 5, 6) for width in (1, 2, 7, 8)),
    (26, 24, 8),
    *((5, 4, channels) for channels in LANE_EDGES),
    *((3, width, 2) for width in LANE_EDGES),
]

# (shape of the input, nodes)
SOFTMAX_SIZES = [
    ((13, 12, 8), 10),
    *(((input_len,), 10) for input_len in LANE_EDGES),
    *(((2, 3, 4), nodes) for nodes in LANE_EDGES),
]


def as_id(size):
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)


@pytest.mark.parametrize("size", CONV_SIZES, ids=as_id)
def test_conv_forward_backprop_and_update(dtype, rng, size):
    height, width, num_filters = size
    compiled, plain = conv_twins(num_filters, dtype, rng)
    for _ in range(3):
        image = uniform(rng, (height, width), dtype)
        assert_close(compiled.forward(image), plain.forward(image), terms=9)
        d_L_d_out = uniform(rng, (height - 2, width - 2, num_filters), dtype)
        d_L_d_input = compiled.backprop(d_L_d_out, LEARN_RATE)
        terms = 9 * num_filters + (height - 2) * (width - 2)
        assert_close(d_L_d_input, plain.backprop(d_L_d_out, LEARN_RATE), terms)
        assert_close(compiled.filters, plain.filters, terms)
        compiled.filters[...] = plain.filters  # so that rounding does not add up over the steps


@pytest.mark.parametrize("draw", [uniform, small_integers])
@pytest.mark.parametrize("size", POOL_SIZES, ids=as_id)
def test_pool_forward_and_backprop_to_the_bit(dtype, rng, ties, size, draw):
    height, width, channels = size
    compiled, plain = pool_twins(ties)
    input = draw(rng, size, dtype)
    d_L_d_out = uniform(rng, (height // 2, width // 2, channels), dtype)
    assert_same_bits(compiled.forward(input), plain.forward(input))
    assert_same_bits(compiled.backprop(d_L_d_out), plain.backprop(d_L_d_out))


@pytest.mark.parametrize(("shape", "nodes"), SOFTMAX_SIZES, ids=as_id)
def test_softmax_forward_backprop_and_update(dtype, rng, shape, nodes):
    input_len = int(np.prod(shape))
    compiled, plain = softmax_twins(input_len, nodes, dtype, rng)
    terms = 2 * input_len + 4 * nodes
    for _ in range(3):
        input, d_L_d_out = uniform(rng, shape, dtype), uniform(rng, nodes, dtype)
        assert_close(compiled.forward(input), plain.forward(input), terms)
        assert_close(compiled.last_totals, plain.last_totals, input_len + 1)
        d_L_d_input = compiled.backprop(d_L_d_out, LEARN_RATE)
        assert_close(d_L_d_input, plain.backprop(d_L_d_out, LEARN_RATE), terms)
        for name, values in parameters(plain).items():
            assert_close(getattr(compiled, name), values, terms)
            getattr(compiled, name)[...] = values


@pytest.mark.parametrize("nodes", LANE_EDGES)
def test_cross_entropy_loss_and_gradient(dtype, rng, nodes):
    out = rng.uniform(0.1, 1, nodes).astype(dtype)
    for label in range(nodes):
        loss, d_L_d_out = cnnx.cross_entropy(out, label)
        expected_loss, expected = reference.cross_entropy(out, label)
        assert_close(np.asarray(loss, dtype), np.asarray(expected_loss, dtype), terms=2)
        assert_close(d_L_d_out, expected, terms=1, largest=10)


def test_backprop_twice_steps_twice_from_the_same_forward(dtype, rng):
    image, d_L_d_features = uniform(rng, (7, 6), dtype), uniform(rng, (5, 4, 3), dtype)
    input, d_L_d_out = uniform(rng, (5, 4, 3), dtype), uniform(rng, 7, dtype)
    for compiled, plain, forward_input, gradient, terms in (
        (*conv_twins(3, dtype, rng), image, d_L_d_features, 9 * 3 + 5 * 4),
        (*softmax_twins(5 * 4 * 3, 7, dtype, rng), input, d_L_d_out, 2 * 60 + 4 * 7),
    ):
        compiled.forward(forward_input)
        plain.forward(forward_input)
        for step in (1, 2, 3):
            d_L_d_input = compiled.backprop(gradient, LEARN_RATE)
            assert_close(d_L_d_input, plain.backprop(gradient, LEARN_RATE), step * terms)
            for name, values in parameters(plain).items():
                assert_close(getattr(compiled, name), values, step * terms)


def test_the_returned_gradient_does_not_depend_on_the_learn_rate(dtype, rng):
    image, d_L_d_features = uniform(rng, (7, 6), dtype), uniform(rng, (5, 4, 9), dtype)
    input, d_L_d_out = uniform(rng, (17,), dtype), uniform(rng, 10, dtype)
    for layer, forward_input, gradient in (
        (conv_twins(9, dtype, rng)[0], image, d_L_d_features),
        (softmax_twins(17, 10, dtype, rng)[0], input, d_L_d_out),
    ):
        layer.forward(forward_input)
        without_a_step = layer.backprop(gradient, 0.0)
        assert_same_bits(layer.backprop(gradient, 100.0), without_a_step)


def test_a_learn_rate_of_zero_leaves_every_bit(dtype, rng):
    conv, _ = conv_twins(5, dtype, rng)
    conv.filters[0] = -0.0
    before = conv.filters.copy()
    conv.forward(uniform(rng, (6, 7), dtype))
    conv.backprop(uniform(rng, (4, 5, 5), dtype), 0.0)
    np.testing.assert_array_equal(conv.filters, before)


def test_a_zero_gradient_gives_zeros_and_moves_nothing(dtype, rng):
    conv, _ = conv_twins(5, dtype, rng)
    soft, _ = softmax_twins(9, 4, dtype, rng)
    for layer, input, output_shape in (
        (conv, uniform(rng, (6, 7), dtype), (4, 5, 5)),
        (soft, uniform(rng, (3, 3), dtype), (4,)),
    ):
        before = {name: values.copy() for name, values in parameters(layer).items()}
        layer.forward(input)
        d_L_d_input = layer.backprop(np.zeros(output_shape, dtype), LEARN_RATE)
        np.testing.assert_array_equal(d_L_d_input, np.zeros_like(input))
        for name, values in before.items():
            assert_same_bits(getattr(layer, name), values)


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


@pytest.mark.parametrize("num_filters", LANE_EDGES)
def test_a_constant_image_gives_each_filter_one_value_to_the_bit(dtype, rng, num_filters):
    conv, _ = conv_twins(num_filters, dtype, rng)
    for width in LANE_EDGES:
        out = conv.forward(np.full((7, width + 2), 0.3, dtype))
        assert_same_bits(out, np.broadcast_to(out[0, 0], out.shape))


@pytest.mark.parametrize("num_filters", LANE_EDGES)
def test_equal_windows_give_bit_equal_outputs(dtype, rng, num_filters):
    conv, _ = conv_twins(num_filters, dtype, rng)
    patch = uniform(rng, (4, 5), dtype)
    out = conv.forward(np.tile(patch, (4, 9))[:-1, :-2])
    rows, columns = np.indices(out.shape[:2])
    assert_same_bits(out, out[rows % 4, columns % 5])


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
