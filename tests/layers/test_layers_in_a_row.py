"""Layers stepped by hand, one after the other, give the derivative of the loss by everything before it."""

import numpy as np
from tolerances import assert_is_derivative, central_difference
from twins import parameters, uniform, with_equal_parameters


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
