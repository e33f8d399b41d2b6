"""NaN, infinities, huge totals and vanished probabilities give numpy's answer, and a finite loss."""

import numpy as np
import pytest
from networks import bits, forward_by_hand
from stacks import IMAGE, stack
from tolerances import assert_close, assert_same_bits
from twins import conv_twins, dense_twins, parameters, pool_twins, softmax_twins, uniform

import cnnx
from cnnx import Sequential

EXTREMES = [np.nan, np.inf, -np.inf]


LAYERS = ["conv", "stacked conv", "padded conv", "dense", "softmax"]


def layer_pair(name, dtype, rng):
    """Return compiled and plain twins, the shapes of input and output, and the sums' length."""
    if name == "conv":
        return *conv_twins(9, dtype, rng), (7, 12), (5, 10, 9), 9 * 9 + 50
    if name == "stacked conv":
        return *conv_twins(9, dtype, rng, in_channels=3), (7, 12, 3), (5, 10, 9), 9 * 9 + 50
    if name == "padded conv":
        twins = conv_twins(6, dtype, rng, in_channels=5, padding="same")
        return *twins, (7, 12, 5), (7, 12, 6), 9 * 6 + 84
    if name == "dense":
        return *dense_twins(35, 9, dtype, rng), (5, 7), (9,), 36
    return *softmax_twins(35, 9, dtype, rng), (5, 7), (9,), 2 * 35 + 4 * 9


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("name", LAYERS)
def test_extremes_in_the_input_spread_as_in_numpy(dtype, rng, name, extreme):
    compiled, plain, input_shape, output_shape, terms = layer_pair(name, dtype, rng)
    input, d_L_d_out = uniform(rng, input_shape, dtype), uniform(rng, output_shape, dtype)
    input[3, 4] = extreme
    with np.errstate(all="ignore"):
        assert_close(compiled.forward(input), plain.forward(input), terms)
        assert_close(compiled.backprop(d_L_d_out, 0.1), plain.backprop(d_L_d_out, 0.1), terms)
        for parameter, values in parameters(plain).items():
            assert_close(getattr(compiled, parameter), values, terms)


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("elsewhere", ["random", "zero"])
@pytest.mark.parametrize("name", LAYERS)
def test_extremes_in_the_gradient_spread_as_in_numpy(dtype, rng, name, elsewhere, extreme):
    compiled, plain, input_shape, output_shape, terms = layer_pair(name, dtype, rng)
    input = uniform(rng, input_shape, dtype)
    d_L_d_out = uniform(rng, output_shape, dtype) if elsewhere == "random" else np.zeros(output_shape, dtype)
    d_L_d_out.flat[d_L_d_out.size // 2] = extreme
    with np.errstate(all="ignore"):
        compiled.forward(input)
        plain.forward(input)
        assert_close(compiled.backprop(d_L_d_out, 0.1), plain.backprop(d_L_d_out, 0.1), terms)
        for parameter, values in parameters(plain).items():
            assert_close(getattr(compiled, parameter), values, terms)


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("name", LAYERS)
def test_extremes_in_the_parameters_spread_as_in_numpy(dtype, rng, name, extreme):
    compiled, plain, input_shape, output_shape, terms = layer_pair(name, dtype, rng)
    input, d_L_d_out = uniform(rng, input_shape, dtype), uniform(rng, output_shape, dtype)
    for layer in (compiled, plain):
        first, *_ = parameters(layer).values()
        first.flat[4] = extreme
    with np.errstate(all="ignore"):
        assert_close(compiled.forward(input), plain.forward(input), terms)
        assert_close(compiled.backprop(d_L_d_out, 0.1), plain.backprop(d_L_d_out, 0.1), terms)
        for parameter, values in parameters(plain).items():
            assert_close(getattr(compiled, parameter), values, terms)


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_zero_gradient_beside_an_extreme_input_spreads_as_in_numpy(dtype, rng, name, extreme):
    compiled, plain, input_shape, output_shape, terms = layer_pair(name, dtype, rng)
    input = uniform(rng, input_shape, dtype)
    input[3, 4] = extreme
    with np.errstate(all="ignore"):
        compiled.forward(input)
        plain.forward(input)
        d_L_d_out = np.zeros(output_shape, dtype)
        assert_close(compiled.backprop(d_L_d_out, 0.1), plain.backprop(d_L_d_out, 0.1), terms)
        for parameter, values in parameters(plain).items():
            assert_close(getattr(compiled, parameter), values, terms)


def test_pool_windows_of_nan_infinity_and_signed_zero(dtype, rng, ties):
    compiled, plain = pool_twins(ties)
    candidates = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], dtype)
    for channels in (1, 3, 8, 17):
        input = rng.choice(candidates, (30, 20, channels), p=[0.1, 0.2, 0.3, 0.15, 0.15, 0.1])
        d_L_d_out = rng.choice(candidates, (15, 10, channels))
        np.testing.assert_array_equal(compiled.forward(input), plain.forward(input))
        np.testing.assert_array_equal(compiled.backprop(d_L_d_out), plain.backprop(d_L_d_out))


def test_relu_keeps_a_nan_and_passes_it_no_gradient(layers, dtype):
    relu = layers.ReLU()
    tiny = np.finfo(dtype).smallest_subnormal
    input = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, 1.5, -1.5], dtype)
    assert_same_bits(relu.forward(input), np.array([np.nan, np.inf, 0, 0, 0, tiny, 0, 1.5, 0], dtype))
    d_L_d_out = np.array([1, 2, 3, 4, 5, np.nan, np.nan, -np.inf, np.inf], dtype)
    assert_same_bits(relu.backprop(d_L_d_out), np.array([0, 2, 0, 0, 0, np.nan, 0, -np.inf, 0], dtype))


@pytest.mark.parametrize("position", range(4))
def test_a_window_with_a_nan_is_nan_and_passes_no_gradient(layers, dtype, ties, position):
    pool = layers.MaxPool2(ties=ties)
    input = np.ones((2, 2, 5), dtype)
    input.reshape(4, 5)[position] = np.nan
    assert np.isnan(pool.forward(input)).all()
    assert_same_bits(pool.backprop(np.ones((1, 1, 5), dtype)), np.zeros((2, 2, 5), dtype))


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


@pytest.mark.parametrize("kind", ["zero", "subnormal", "smallest normal", "negative zero"])
def test_cross_entropy_of_a_vanished_probability_is_finite(layers, dtype, kind):
    smallest_normal = np.finfo(dtype).smallest_normal
    p = {"zero": 0.0, "subnormal": smallest_normal / 8, "negative zero": -0.0}.get(kind, smallest_normal)
    out = np.array([1, p, 0.5], dtype)
    loss, d_L_d_out = layers.cross_entropy(out, 1)
    assert loss == pytest.approx(-np.log(np.float64(smallest_normal)), rel=4 * float(np.finfo(dtype).eps))
    np.testing.assert_array_equal(d_L_d_out, np.array([0, -1 / smallest_normal, 0], dtype))


def test_a_vanished_probability_never_poisons_the_weights(layers, dtype, rng):
    soft = layers.Softmax(4, 3, dtype=dtype)
    soft.biases[...] = [1e4, -1e4, 0]
    out = soft.forward(uniform(rng, 4, dtype))
    assert out[1] == 0
    _, d_L_d_out = layers.cross_entropy(out, 1)
    assert np.isfinite(soft.backprop(d_L_d_out, 0.005)).all()
    assert np.isfinite(soft.weights).all()
    assert np.isfinite(soft.biases).all()


def test_a_certain_answer_costs_nothing(layers, dtype):
    loss, d_L_d_out = layers.cross_entropy(np.array([0, 1, 0], dtype), 1)
    assert loss == 0
    assert_same_bits(d_L_d_out, np.array([0, -1, 0], dtype))


def test_the_compiled_layers_leave_numpy_s_error_state_alone(rng):
    before = np.geterr()
    conv = cnnx.Conv3x3(3)
    conv.forward(np.full((5, 5), np.inf))
    conv.backprop(uniform(rng, (3, 3, 3)), 0.1)
    assert np.geterr() == before


@pytest.mark.parametrize("count", [2, 12])  # few images and many take different kernels
@pytest.mark.parametrize("filters", [3, 8, 9])
def test_an_infinity_that_loses_its_windows_harms_nobody(dtype, rng, filters, count):
    network, images = (
        Sequential(stack(cnnx, f"article:{filters} pool softmax:5", dtype)),
        uniform(rng, (count, *IMAGE), dtype),
    )
    network.layers[0].filters[:, 2, 2] = -1
    images[:, 9, 13] = np.inf  # of one window alone, as its last pixel
    with np.errstate(all="ignore"):
        expected = np.array([forward_by_hand(network.layers, image) for image in images])
    assert np.isfinite(expected).all()
    assert_close(network.predict(images), expected, terms=400)


def test_few_huge_images_are_predicted_as_many_are(dtype, rng):
    network = Sequential(stack(cnnx, "article:8 pool softmax:5", dtype, image_shape=(28, 28)))
    images = np.finfo(dtype).max / 10 * uniform(rng, (9, 28, 28), dtype)  # their pooled values add up to an inf
    few = network.predict(images[:3])
    assert np.isfinite(few).all()
    assert_same_bits(network.predict(images)[:3], few)


@pytest.mark.parametrize("filters", [5, 8])
def test_nothing_is_left_of_a_run_that_diverged(dtype, rng, filters):
    names = f"article:{filters} pool softmax:5"
    network, fresh = (Sequential(stack(cnnx, names, dtype)) for _ in range(2))
    images, labels = uniform(rng, (12, *IMAGE), dtype), rng.integers(0, 5, 12)
    with pytest.raises(FloatingPointError, match="expected a finite number"):
        network.fit(images, labels, epochs=1, learn_rate=float(np.finfo(dtype).max), shuffle=False)
    images[:, 4, 5] = 2**21  # large enough that infinities are looked for
    assert_same_bits(network.predict(images), fresh.predict(images))
    for one in (network, fresh):
        one.fit(images, labels, epochs=1, learn_rate=1e-15, shuffle=False)
    assert_same_bits(network.parameters, fresh.parameters)


NETWORKS = ["article:9 pool softmax:5", "biased:8 relu pool:first softmax:5", "conv:3 pool relu conv:4 softmax:5"]


@pytest.mark.parametrize("extreme", [*EXTREMES, 1e30])
@pytest.mark.parametrize("place", ["a pixel", "the last pixel of the last window", "the background", "a filter"])
@pytest.mark.parametrize("names", NETWORKS)
def test_extremes_spread_through_a_network_as_through_its_layers(dtype, rng, names, place, extreme):
    network, images = Sequential(stack(cnnx, names, dtype)), uniform(rng, (3, *IMAGE), dtype)
    images[:, :5] = 0.25  # the first pixel's value is that of half the image
    if place == "a filter":
        network.layers[0].filters[1, 1] = extreme
    elif place == "the background":
        images[1, images[1] == 0.25] = extreme
    else:
        images[1][(6, 7) if place == "a pixel" else (9, 13)] = extreme
    with np.errstate(all="ignore"):
        expected = np.array([forward_by_hand(network.layers, image) for image in images])
        for times in (1, 3):  # few images and many take different kernels
            assert_close(network.predict(np.tile(images, (times, 1, 1))), np.tile(expected, (times, 1)), terms=400)
    assert not np.isfinite(extreme) or np.isfinite(expected).all()


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("names", ["article:8 pool softmax:5", "biased:5 relu pool:first conv:4 softmax:5"])
def test_huge_pixels_in_some_images_change_no_window(dtype, rng, names, batch_size):
    """The steps on them go by the plain plan, whatever the windows."""
    images, labels = uniform(rng, (40, *IMAGE), dtype), rng.integers(0, 5, 40)
    images[[3, 17, 18, 33], 4, 5] = 2**21
    trained = []
    for progress_every in (1, 3, 40):
        network = Sequential(stack(cnnx, names, dtype))
        network.fit(
            images,
            labels,
            epochs=2,
            learn_rate=1e-15,
            batch_size=batch_size,
            shuffle=False,
            progress_every=progress_every,
            on_progress=lambda _: None,
        )
        trained.append(bits(network))
    assert trained[0] == trained[1] == trained[2]


@pytest.mark.parametrize("parameter", ["weights", "biases"])
@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("count", [1, 12])
def test_extreme_weights_of_the_last_layer_spread_as_through_its_layers(dtype, rng, parameter, extreme, count):
    network, images = Sequential(stack(cnnx, "article:8 pool softmax:5", dtype)), uniform(rng, (count, *IMAGE), dtype)
    images[:, :5] = 0.25
    getattr(network.layers[2], parameter).flat[3] = extreme
    with np.errstate(all="ignore"):
        expected = np.array([forward_by_hand(network.layers, image) for image in images])
    assert_close(network.predict(images), expected, terms=400)
