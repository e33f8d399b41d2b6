"""Every backward pass, compiled or not, is the derivative of its forward pass."""

import numpy as np
import pytest
from tolerances import assert_is_derivative, central_difference
from twins import uniform


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
