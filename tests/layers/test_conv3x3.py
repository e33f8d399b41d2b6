"""Conv3x3: padding, biases, one channel or many, and windows that are equal.

What it shares with every layer is in test_every_layer.py, which reads its sizes from cases.py.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairwise import pairwise
from properties import dtypes, seeds, targets
from tolerances import assert_close, assert_same_bits
from twins import DTYPES, LANE_EDGES, computing_on, conv_twins, parameters, uniform

import cnnx
from cnnx import Conv3x3, reference

LEARN_RATE = 0.3


@given(st.integers(3, 40), st.integers(3, 40), st.integers(1, 35), dtypes, targets, seeds)
def test_conv_equals_the_reference(height, width, num_filters, dtype, target, rng):
    with computing_on(target):
        compiled, plain = conv_twins(num_filters, dtype, rng)
        image = uniform(rng, (height, width), dtype)
        d_L_d_out = uniform(rng, (height - 2, width - 2, num_filters), dtype)
        terms = 9 * num_filters + (height - 2) * (width - 2)
        assert_close(compiled.forward(image), plain.forward(image), terms=9)
        assert_close(compiled.backprop(d_L_d_out, 0.1), plain.backprop(d_L_d_out, 0.1), terms)
        assert_close(compiled.filters, plain.filters, terms)


def assert_parameters_close(compiled, plain, terms):
    """Assert equal parameters to rounding, then make them equal, so that rounding does not add up over the steps."""
    assert parameters(compiled).keys() == parameters(plain).keys()
    for name, values in parameters(plain).items():
        assert_close(getattr(compiled, name), values, terms)
        getattr(compiled, name)[...] = values


@pytest.mark.usefixtures("target")
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


def test_what_a_convolution_is_can_be_read_from_it(layers):
    article, stacked = layers.Conv3x3(4), layers.Conv3x3(6, 5, padding="same", use_bias=False)
    assert (article.num_filters, article.in_channels, article.padding) == (4, None, "valid")
    assert (stacked.num_filters, stacked.in_channels, stacked.padding) == (6, 5, "same")
    assert article.biases is None
    assert stacked.biases is None


def test_a_convolution_s_sizes_are_its_filters():
    assert [(conv.num_filters, conv.in_channels) for conv in (Conv3x3(5), Conv3x3(6, 1), Conv3x3(7, 4))] == [
        (5, None),
        (6, 1),
        (7, 4),
    ]


@pairwise(num_filters=LANE_EDGES, dtype=DTYPES, target=cnnx.targets())
def test_a_constant_image_gives_each_filter_one_value_to_the_bit(rng, num_filters, dtype):
    conv, _ = conv_twins(num_filters, dtype, rng)
    for width in LANE_EDGES:
        out = conv.forward(np.full((7, width + 2), 0.3, dtype))
        assert_same_bits(out, np.broadcast_to(out[0, 0], out.shape))


@pairwise(num_filters=LANE_EDGES, dtype=DTYPES, target=cnnx.targets())
def test_equal_windows_give_bit_equal_outputs(rng, num_filters, dtype):
    conv, _ = conv_twins(num_filters, dtype, rng)
    patch = uniform(rng, (4, 5), dtype)
    out = conv.forward(np.tile(patch, (4, 9))[:-1, :-2])
    rows, columns = np.indices(out.shape[:2])
    assert_same_bits(out, out[rows % 4, columns % 5])


@pairwise(num_filters=LANE_EDGES, layers=[cnnx, reference], dtype=DTYPES, target=cnnx.targets())
def test_equal_windows_of_channels_give_bit_equal_outputs(rng, num_filters, layers, dtype):
    conv = layers.Conv3x3(num_filters, 5, dtype=dtype, rng=rng)
    conv.biases = uniform(rng, num_filters, dtype)
    out = conv.forward(np.tile(uniform(rng, (4, 5, 5), dtype), (4, 9, 1))[:-1, :-2])
    rows, columns = np.indices(out.shape[:2])
    assert_same_bits(out, out[rows % 4, columns % 5])


@pairwise(varies=["nowhere", "by row", "by column"], padding=["valid", "same"], dtype=DTYPES, target=cnnx.targets())
def test_equal_windows_of_a_pooling_window_tie_with_many_channels(rng, varies, padding, dtype):
    conv = Conv3x3(30, 17, padding=padding, dtype=dtype, rng=rng)
    conv.biases = uniform(rng, 30, dtype)
    shape = {"nowhere": (1, 1, 17), "by row": (10, 1, 17), "by column": (1, 11, 17)}[varies]
    out = conv.forward(np.broadcast_to(uniform(rng, shape, dtype), (10, 11, 17)).copy())
    inner = out[2:8, 2:8] if padding == "same" else out  # the ring of zeros is another pixel
    if varies != "by row":
        assert_same_bits(inner[::2], inner[1::2])
    if varies != "by column":
        assert_same_bits(inner[:, : inner.shape[1] // 2 * 2 : 2], inner[:, 1::2])


@pairwise(extreme=[np.inf, -np.inf, np.nan], padding=["valid", "same"], dtype=DTYPES, target=cnnx.targets())
def test_an_extreme_pixel_stays_in_its_windows_with_many_channels(rng, extreme, padding, dtype):
    compiled, plain = conv_twins(30, dtype, rng, in_channels=17, padding=padding)
    image = uniform(rng, (10, 11, 17), dtype)
    image[4, 5, 3] = extreme
    with np.errstate(all="ignore"):
        assert_close(compiled.forward(image), plain.forward(image), terms=9 * 17 + 1)


PADDINGS = ["full", "", "VALID", None, 0, 1, True, b"same", ["same"], (1, 1), np.array("same"), np.array(["same"])]


@pytest.mark.parametrize("padding", PADDINGS, ids=repr)
@pytest.mark.parametrize("in_channels", [None, 3])
def test_unknown_paddings_are_refused(in_channels, padding):
    with pytest.raises(ValueError, match=r"^padding: expected"):
        cnnx.Conv3x3(2, in_channels, padding=padding)


@pytest.mark.parametrize("use_bias", [0, 1, 1.0, "yes", "", [], np.array(True), np.array([True])], ids=repr)
@pytest.mark.parametrize("in_channels", [None, 3])
def test_use_bias_is_a_bool_or_none(in_channels, use_bias):
    with pytest.raises(TypeError, match=r"^use_bias: expected"):
        cnnx.Conv3x3(2, in_channels, use_bias=use_bias)


def test_a_convolution_without_biases_takes_none():
    conv = cnnx.Conv3x3(2, 3, use_bias=False)
    with pytest.raises(ValueError, match=r"^biases: expected"):
        conv.biases = np.zeros(2)
    assert conv.biases is None


def test_the_image_is_one_of_the_filters(rng, dtype):
    compiled, plain = conv_twins(4, dtype, rng)
    d_L_d_out = uniform(rng, (1, 1, 4), dtype)
    for layer in (compiled, plain):
        layer.forward(layer.filters[2])
    assert_close(compiled.backprop(d_L_d_out, 0.5), plain.backprop(d_L_d_out, 0.5), terms=37)
    assert_close(compiled.filters, plain.filters, terms=37)


def test_the_gradient_is_a_view_of_the_filters(rng, dtype):
    compiled, plain = conv_twins(4, dtype, rng)
    image = uniform(rng, (5, 5), dtype)
    for layer in (compiled, plain):
        layer.forward(image)
    d_L_d_input = compiled.backprop(compiled.filters.reshape(3, 3, 4), 0.5)
    assert_close(d_L_d_input, plain.backprop(plain.filters.reshape(3, 3, 4), 0.5), terms=45)
    assert_close(compiled.filters, plain.filters, terms=45)


def test_an_image_changed_between_the_passes_is_seen_by_the_convolution_that_took_it(rng, dtype):
    compiled, plain = conv_twins(4, dtype, rng)
    image, d_L_d_out = uniform(rng, (6, 5), dtype), uniform(rng, (4, 3, 4), dtype)
    compiled.forward(image)
    plain.forward(image)
    image[...] = image[::-1].copy()
    compiled.backprop(d_L_d_out, 0.5)
    plain.backprop(d_L_d_out, 0.5)
    assert_close(compiled.filters, plain.filters, terms=4 * 9 + 12)
