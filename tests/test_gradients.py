"""Every backward pass, compiled or not, is the derivative of its forward pass."""

import numpy as np
import pytest
from tolerances import assert_is_derivative, central_difference
from twins import parameters, uniform, with_equal_parameters


def weighted_output(layer, input, d_L_d_out):
    """Return a loss whose gradient with respect to the layer's output is exactly `d_L_d_out`."""
    return lambda: float(np.sum(layer.forward(input) * d_L_d_out))


@pytest.mark.parametrize(("height", "width", "num_filters"), [(3, 3, 1), (5, 7, 4), (8, 6, 9)])
def test_conv_backprop_is_the_derivative_of_forward(layers, rng, height, width, num_filters):
    conv = layers.Conv3x3(num_filters)
    conv.filters = uniform(rng, (num_filters, 3, 3))
    image = uniform(rng, (height, width))
    d_L_d_out = uniform(rng, (height - 2, width - 2, num_filters))
    loss = weighted_output(conv, image, d_L_d_out)
    numeric_input = central_difference(loss, image)
    numeric_filters = central_difference(loss, conv.filters)

    before = conv.filters.copy()
    conv.forward(image)
    terms = 9 * d_L_d_out.size
    assert_is_derivative(conv.backprop(d_L_d_out, 1.0), numeric_input, terms)
    assert_is_derivative(before - conv.filters, numeric_filters, terms)


def assert_backprop_is_the_derivative(layer, input, d_L_d_out, terms):
    """Check the gradients of the input and of every parameter, which a step at a learn rate of 1 reveals."""
    loss = weighted_output(layer, input, d_L_d_out)
    numeric_input = central_difference(loss, input)
    numeric = {name: central_difference(loss, values) for name, values in parameters(layer).items()}

    before = {name: values.copy() for name, values in parameters(layer).items()}
    layer.forward(input)
    assert_is_derivative(layer.backprop(d_L_d_out, *([1.0] if before else [])), numeric_input, terms)
    for name, values in parameters(layer).items():
        assert_is_derivative(before[name] - values, numeric[name], terms)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [(3, 4, 2, 1), (5, 6, 1, 4), (4, 5, 3, 9), (3, 5, 8, 2)])
def test_conv_over_channels_backprop_is_the_derivative_of_forward(layers, rng, size, padding, use_bias):
    height, width, channels, num_filters = size
    conv = layers.Conv3x3(num_filters, channels, padding=padding, use_bias=use_bias)
    with_equal_parameters(rng, conv)
    image = uniform(rng, (height, width, channels))
    d_L_d_out = uniform(rng, conv.forward(image).shape)
    assert_backprop_is_the_derivative(conv, image, d_L_d_out, terms=9 * d_L_d_out.size)


@pytest.mark.parametrize("shape", [(17,), (3, 5), (4, 3, 5)])
def test_relu_backprop_is_the_derivative_of_forward(layers, rng, shape):
    away_from_zero = rng.choice([-1, 1], shape) * rng.uniform(0.1, 1, shape)
    assert_backprop_is_the_derivative(layers.ReLU(), away_from_zero, uniform(rng, shape), np.prod(shape))


@pytest.mark.parametrize(("shape", "nodes"), [((1,), 2), ((7,), 5), ((3, 4, 2), 9), ((5, 2), 17)])
def test_dense_backprop_is_the_derivative_of_forward(layers, rng, shape, nodes):
    dense = layers.Dense(int(np.prod(shape)), nodes)
    with_equal_parameters(rng, dense)
    assert_backprop_is_the_derivative(dense, uniform(rng, shape), uniform(rng, nodes), nodes)


@pytest.mark.parametrize("shape", [(2, 2, 1), (4, 6, 5), (5, 7, 9), (6, 3, 4)])
def test_pool_backprop_is_the_derivative_of_forward(layers, rng, ties, shape):
    pool = layers.MaxPool2(ties=ties)
    untied = rng.permutation(np.prod(shape)).reshape(shape) / np.prod(shape)
    d_L_d_out = uniform(rng, (shape[0] // 2, shape[1] // 2, shape[2]))
    numeric = central_difference(weighted_output(pool, untied, d_L_d_out), untied)

    pool.forward(untied)
    assert_is_derivative(pool.backprop(d_L_d_out), numeric, d_L_d_out.size)


@pytest.mark.parametrize(("shape", "nodes"), [((1,), 2), ((7,), 5), ((3, 4, 2), 9), ((5, 2), 17)])
def test_softmax_backprop_is_the_derivative_of_forward(layers, rng, shape, nodes):
    input_len = int(np.prod(shape))
    soft = layers.Softmax(input_len, nodes)
    soft.weights, soft.biases = uniform(rng, (input_len, nodes)), uniform(rng, nodes)
    input, d_L_d_out = uniform(rng, shape), uniform(rng, nodes)
    loss = weighted_output(soft, input, d_L_d_out)
    numeric_input = central_difference(loss, input)
    numeric_weights = central_difference(loss, soft.weights)
    numeric_biases = central_difference(loss, soft.biases)

    weights, biases = soft.weights.copy(), soft.biases.copy()
    soft.forward(input)
    assert_is_derivative(soft.backprop(d_L_d_out, 1.0), numeric_input, nodes)
    assert_is_derivative(weights - soft.weights, numeric_weights, nodes)
    assert_is_derivative(biases - soft.biases, numeric_biases, nodes)


@pytest.mark.parametrize("label", [0, 3, 6])
def test_cross_entropy_gradient_is_the_derivative_of_its_loss(layers, rng, label):
    out = rng.uniform(0.1, 1, 7)
    numeric = central_difference(lambda: layers.cross_entropy(out, label)[0], out)
    _, d_L_d_out = layers.cross_entropy(out, label)
    assert_is_derivative(d_L_d_out, numeric, terms=100)


def test_the_network_returns_the_derivative_of_the_loss_with_respect_to_the_image(layers, rng):
    conv, pool, soft = layers.Conv3x3(3), layers.MaxPool2(), layers.Softmax(3 * 4 * 3, 5)
    conv.filters = uniform(rng, (3, 3, 3))
    soft.weights, soft.biases = uniform(rng, (3 * 4 * 3, 5)), uniform(rng, 5)
    image = uniform(rng, (9, 10))

    def forward():
        return layers.cross_entropy(soft.forward(pool.forward(conv.forward(image))), 2)

    numeric = central_difference(lambda: forward()[0], image)
    _, d_L_d_out = forward()
    d_L_d_image = conv.backprop(pool.backprop(soft.backprop(d_L_d_out, 0.1)), 0.1)
    assert_is_derivative(d_L_d_image, numeric, terms=9 * 36)


def three_blocks(layers, rng):
    """Return two convolutions with ReLU and pooling, a dense layer with ReLU, and a softmax, for images of 13x12."""
    row = [
        *(layers.Conv3x3(3, 1, padding="same"), layers.ReLU(), layers.MaxPool2()),
        *(layers.Conv3x3(5, 3), layers.MaxPool2(ties="first"), layers.ReLU()),
        *(layers.Dense(2 * 2 * 5, 7), layers.ReLU(), layers.Softmax(7, 4)),
    ]
    for layer in row:
        with_equal_parameters(rng, layer)
    return row


def test_three_blocks_return_the_derivative_of_the_loss_with_respect_to_everything(layers, rng):
    row, image = three_blocks(layers, rng), uniform(rng, (13, 12))

    def forward():
        out = image
        for layer in row:
            out = layer.forward(out)
        return layers.cross_entropy(out, 2)

    def loss():
        return forward()[0]

    numeric_image = central_difference(loss, image)
    numeric = [central_difference(loss, values) for layer in row for values in parameters(layer).values()]
    before = [values.copy() for layer in row for values in parameters(layer).values()]
    _, gradient = forward()
    for layer in reversed(row):
        gradient = layer.backprop(gradient, *([1.0] if parameters(layer) else []))
    assert_is_derivative(gradient, numeric_image, terms=1000)
    after = [values for layer in row for values in parameters(layer).values()]
    for old, new, expected in zip(before, after, numeric, strict=True):
        assert np.abs(expected).max() > 1e-3
        assert_is_derivative(old - new, expected, terms=1000)
