"""The layers past the article's compute what `cnnx.reference` computes, whatever the sizes."""

import numpy as np
import pytest
from tolerances import assert_close, assert_same_bits
from twins import LANE_EDGES, conv_twins, dense_twins, parameters, small_integers, uniform

import cnnx
from cnnx import reference

LEARN_RATE = 0.3

# (height, width, channels, num_filters), all different: around a lane count in filters, in channels, in the width
CONV_SIZES = [
    *((11, 6, 3 if filters != 3 else 5, filters) for filters in LANE_EDGES),
    *((10, 12, channels, 4) for channels in (1, 2, 3, 5, 8, 17)),
    *((5, width, 2, 1) for width in (3, 4, 6, 7, 8, 9, 10, 13, 14, 15)),
    (3, 4, 33, 32),
    (13, 14, 17, 18),
]
TOO_SMALL_UNLESS_PADDED = [(1, 2, 3, 4), (2, 1, 5, 3), (1, 1, 2, 9), (2, 5, 1, 8), (7, 2, 8, 5), (1, 13, 4, 2)]
CONVS = [
    *(("valid", size) for size in CONV_SIZES),
    *(("same", size) for size in CONV_SIZES + TOO_SMALL_UNLESS_PADDED),
]

# (shape of the input, nodes)
DENSE_SIZES = [
    ((5, 4, 17), 31),
    *(((input_len,), 10) for input_len in LANE_EDGES),
    *(((2, 3, 4), nodes) for nodes in LANE_EDGES),
]


def as_id(value):
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def assert_parameters_close(compiled, plain, terms):
    """Assert equal parameters to rounding, then make them equal, so that rounding does not add up over the steps."""
    assert parameters(compiled).keys() == parameters(plain).keys()
    for name, values in parameters(plain).items():
        assert_close(getattr(compiled, name), values, terms)
        getattr(compiled, name)[...] = values


@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("padding", "size"), CONVS, ids=as_id)
def test_conv_over_channels_forward_backprop_and_update(dtype, rng, padding, size, use_bias):
    height, width, channels, filters = size
    compiled, plain = conv_twins(filters, dtype, rng, in_channels=channels, padding=padding, use_bias=use_bias)
    border = 0 if padding == "same" else 2
    for _ in range(3):
        image = uniform(rng, (height, width, channels), dtype)
        out = compiled.forward(image)
        assert out.shape == (height - border, width - border, filters)
        assert_close(out, plain.forward(image), terms=9 * channels + 1)
        d_L_d_out = uniform(rng, out.shape, dtype)
        terms = 9 * filters + height * width
        assert_close(compiled.backprop(d_L_d_out, LEARN_RATE), plain.backprop(d_L_d_out, LEARN_RATE), terms)
        assert_parameters_close(compiled, plain, terms)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("use_bias", [True, False, None], ids=["bias", "no bias", "default"])
def test_the_article_s_layer_takes_padding_and_bias_too(dtype, rng, padding, use_bias):
    compiled, plain = conv_twins(5, dtype, rng, padding=padding, use_bias=use_bias)
    assert compiled.filters.shape == (5, 3, 3)
    assert (compiled.biases is None) == (not use_bias)
    image = uniform(rng, (7, 8), dtype)
    assert_close(compiled.forward(image), plain.forward(image), terms=10)
    d_L_d_out = uniform(rng, (7, 8, 5) if padding == "same" else (5, 6, 5), dtype)
    d_L_d_input = compiled.backprop(d_L_d_out, LEARN_RATE)
    assert_close(d_L_d_input, plain.backprop(d_L_d_out, LEARN_RATE), terms=45 + 56)
    assert d_L_d_input.shape == image.shape
    assert_parameters_close(compiled, plain, terms=45 + 56)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_one_channel_is_an_image_with_or_without_its_axis(layers, dtype, rng, padding):
    conv = layers.Conv3x3(6, 1, padding=padding, dtype=dtype, rng=rng)
    image = uniform(rng, (7, 9), dtype)
    d_L_d_out = uniform(rng, conv.forward(image).shape, dtype)
    without_axis = conv.forward(image), conv.backprop(d_L_d_out, 0.0)
    assert without_axis[1].shape == (7, 9)
    with_axis = conv.forward(image[..., np.newaxis]), conv.backprop(d_L_d_out, 0.0)
    assert with_axis[1].shape == (7, 9, 1)
    assert_same_bits(with_axis[0], without_axis[0])
    assert_same_bits(with_axis[1][..., 0], without_axis[1])


def test_one_channel_gives_the_article_s_layer_to_the_bit(layers, dtype, rng):
    article, stacked = layers.Conv3x3(7, dtype=dtype), layers.Conv3x3(7, 1, use_bias=False, dtype=dtype)
    stacked.filters = article.filters[..., np.newaxis].copy()
    image, d_L_d_out = uniform(rng, (8, 9), dtype), uniform(rng, (6, 7, 7), dtype)
    assert_same_bits(stacked.forward(image), article.forward(image))
    assert_same_bits(stacked.backprop(d_L_d_out, 0.1), article.backprop(d_L_d_out, 0.1))
    assert_same_bits(stacked.filters[..., 0], article.filters)


def test_same_padding_is_a_border_of_zeros(layers, dtype, rng):
    same, valid = (layers.Conv3x3(4, 3, padding=padding, dtype=dtype) for padding in ("same", "valid"))
    same.filters, same.biases = uniform(rng, (4, 3, 3, 3), dtype), uniform(rng, 4, dtype)
    valid.filters, valid.biases = same.filters.copy(), same.biases.copy()
    image, d_L_d_out = uniform(rng, (5, 6, 3), dtype), uniform(rng, (5, 6, 4), dtype)
    framed = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    assert_same_bits(same.forward(image), valid.forward(framed))
    assert_same_bits(same.backprop(d_L_d_out, 0.1), valid.backprop(d_L_d_out, 0.1)[1:-1, 1:-1].copy())
    for name, values in parameters(valid).items():
        assert_same_bits(getattr(same, name), values)


@pytest.mark.parametrize("num_filters", LANE_EDGES)
def test_equal_windows_of_channels_give_bit_equal_outputs(layers, dtype, rng, num_filters):
    conv = layers.Conv3x3(num_filters, 5, dtype=dtype, rng=rng)
    conv.biases = uniform(rng, num_filters, dtype)
    out = conv.forward(np.tile(uniform(rng, (4, 5, 5), dtype), (4, 9, 1))[:-1, :-2])
    rows, columns = np.indices(out.shape[:2])
    assert_same_bits(out, out[rows % 4, columns % 5])


@pytest.mark.parametrize(("shape", "nodes"), DENSE_SIZES, ids=as_id)
def test_dense_forward_backprop_and_update(dtype, rng, shape, nodes):
    input_len = int(np.prod(shape))
    compiled, plain = dense_twins(input_len, nodes, dtype, rng)
    for _ in range(3):
        input, d_L_d_out = uniform(rng, shape, dtype), uniform(rng, nodes, dtype)
        assert_close(compiled.forward(input), plain.forward(input), terms=input_len + 1)
        assert_same_bits(compiled.last_input, input.flatten())
        assert compiled.last_input_shape == shape
        terms = input_len + nodes
        assert_close(compiled.backprop(d_L_d_out, LEARN_RATE), plain.backprop(d_L_d_out, LEARN_RATE), terms)
        assert_parameters_close(compiled, plain, terms)


def test_softmax_is_dense_and_then_the_softmax_function(layers, dtype, rng):
    dense, soft = layers.Dense(12, 7, dtype=dtype, rng=rng), layers.Softmax(12, 7, dtype=dtype)
    soft.weights, soft.biases = dense.weights.copy(), dense.biases.copy()
    input = uniform(rng, (4, 3), dtype)
    soft.forward(input)
    assert_same_bits(dense.forward(input), soft.last_totals)


@pytest.mark.parametrize("draw", [uniform, small_integers])
@pytest.mark.parametrize("shape", [(), *((size,) for size in LANE_EDGES), (3, 5), (5, 4, 7), (2, 1, 3, 17), (0,)])
def test_relu_forward_and_backprop_to_the_bit(dtype, rng, shape, draw):
    compiled, plain = cnnx.ReLU(), reference.ReLU()
    input, d_L_d_out = np.asarray(draw(rng, shape, np.float64), dtype), np.asarray(uniform(rng, shape), dtype)
    assert_same_bits(compiled.forward(input), plain.forward(input))
    assert_same_bits(compiled.backprop(d_L_d_out), plain.backprop(d_L_d_out))


@pytest.mark.parametrize("rate", [0, 0.0, 0.25, 0.5, 0.999])
@pytest.mark.parametrize("shape", [(9,), (3, 5), (5, 4, 7)])
def test_dropout_by_hand_changes_nothing(layers, dtype, rng, shape, rate):
    drop = layers.Dropout(rate)
    assert drop.rate == rate
    input, d_L_d_out = uniform(rng, shape, dtype), uniform(rng, shape, dtype)
    assert_same_bits(drop.forward(input), input)
    assert_same_bits(drop.backprop(d_L_d_out), d_L_d_out)


STACKED = {
    "conv": (lambda dtype, rng: conv_twins(5, dtype, rng, in_channels=3), (6, 7, 3), (4, 5, 5)),
    "padded conv": (lambda dtype, rng: conv_twins(9, dtype, rng, in_channels=2, padding="same"), (4, 3, 2), (4, 3, 9)),
    "dense": (lambda dtype, rng: dense_twins(24, 7, dtype, rng), (2, 3, 4), (7,)),
}


@pytest.mark.parametrize("name", STACKED)
class TestSteps:
    def test_backprop_twice_steps_twice_from_the_same_forward(self, dtype, rng, name):
        make_twins, input_shape, output_shape = STACKED[name]
        compiled, plain = make_twins(dtype, rng)
        input, d_L_d_out = uniform(rng, input_shape, dtype), uniform(rng, output_shape, dtype)
        compiled.forward(input)
        plain.forward(input)
        for step in (1, 2, 3):
            terms = step * 9 * 12
            d_L_d_input = compiled.backprop(d_L_d_out, LEARN_RATE)
            assert_close(d_L_d_input, plain.backprop(d_L_d_out, LEARN_RATE), terms)
            for parameter, values in parameters(plain).items():
                assert_close(getattr(compiled, parameter), values, terms)

    def test_the_returned_gradient_goes_through_the_old_parameters(self, layers, dtype, rng, name):
        make_twins, input_shape, output_shape = STACKED[name]
        layer = make_twins(dtype, rng)[layers is reference]
        d_L_d_out = uniform(rng, output_shape, dtype)
        layer.forward(uniform(rng, input_shape, dtype))
        without_a_step = layer.backprop(d_L_d_out, 0.0)
        assert_same_bits(layer.backprop(d_L_d_out, 100.0), without_a_step)

    def test_a_zero_gradient_gives_zeros_and_moves_nothing(self, layers, dtype, rng, name):
        make_twins, input_shape, output_shape = STACKED[name]
        layer = make_twins(dtype, rng)[layers is reference]
        before = {parameter: values.copy() for parameter, values in parameters(layer).items()}
        layer.forward(uniform(rng, input_shape, dtype))
        d_L_d_input = layer.backprop(np.zeros(output_shape, dtype), LEARN_RATE)
        np.testing.assert_array_equal(d_L_d_input, np.zeros(input_shape, dtype))
        for parameter, values in before.items():
            assert_same_bits(getattr(layer, parameter), values)


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


def test_what_a_convolution_is_can_be_read_from_it(layers):
    article, stacked = layers.Conv3x3(4), layers.Conv3x3(6, 5, padding="same", use_bias=False)
    assert (article.num_filters, article.in_channels, article.padding) == (4, None, "valid")
    assert (stacked.num_filters, stacked.in_channels, stacked.padding) == (6, 5, "same")
    assert article.biases is None
    assert stacked.biases is None
