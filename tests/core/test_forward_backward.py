"""`forward` and `backward` of a network: a training loop with any loss between them."""

import copy

import numpy as np
import pytest
from networks import IMAGES, as_floats, bits, forward_by_hand
from pairwise import pairwise
from reference_loop import TERMS, backward
from stacks import IMAGE, OF_BATCHES, OF_SAMPLES, STACKS, problem, stack
from tolerances import assert_close, assert_is_derivative, assert_same_bits, central_difference
from twins import DTYPES, uniform

import cnnx
from cnnx import Sequential, reference

REGRESSIONS = [
    "conv:6 relu pool:first dense:7 relu dense:5",
    "article:8 pool dense:3",
    "same:2 pool dense:108 relu dense:4 relu",
    "conv:3 relu average",
    "relu dense:4",
]
DROPPING = "same:3 relu pool dropout:0.25 conv:4 pool relu dense:6 relu dropout:0.5 softmax:5"


def images_of(rng, names, count, kind="bytes"):
    return problem(rng, names + " dense:1", count, kind)[0]


@pairwise(names=[*OF_SAMPLES, *REGRESSIONS], dtype=DTYPES, kind=["bytes", "floats", "blank"], target=cnnx.targets())
def test_both_are_the_layers_passes_one_after_another(rng, names, dtype, kind):
    images = images_of(rng, names, 7, kind)
    network, plain = Sequential(stack(cnnx, names, dtype)), stack(reference, names, dtype)
    outputs = network.forward(images)
    d_outputs = uniform(rng, outputs.shape, dtype)
    d_images = network.backward(d_outputs, d_images=True)

    expected, total = [], 0
    for image, gradient in zip(as_floats(images, dtype), d_outputs, strict=True):
        out, of_layers = forward_by_hand(plain, image), []
        for layer in reversed(plain):
            gradient, of_parameters = backward(layer, gradient)
            of_layers.insert(0, of_parameters)
        expected.append((out, gradient))
        total = total + np.concatenate([np.ravel(array) for arrays in of_layers for array in arrays])
    assert_close(outputs, np.array([out for out, _ in expected]), TERMS)
    assert_close(d_images, np.array([gradient for _, gradient in expected]), TERMS)
    assert_close(network.gradient, total, TERMS)


@pairwise(names=OF_BATCHES, dtype=DTYPES, target=cnnx.targets())
def test_both_take_the_statistics_of_the_batch(rng, names, dtype):
    network, (images, labels) = Sequential(stack(cnnx, names, dtype)), problem(rng, names, 7)
    network.gradients(images, labels)
    expected = network.gradient.copy()
    probabilities = network.forward(images)
    d_probabilities = np.zeros_like(probabilities)
    d_probabilities[np.arange(7), labels] = -1 / (7 * probabilities[np.arange(7), labels])  # of the mean cross-entropy
    assert network.backward(d_probabilities, d_images=True).shape == images.shape
    assert_close(network.gradient, expected, TERMS)


@pytest.mark.parametrize("names", [STACKS[0], STACKS[9], DROPPING, *REGRESSIONS])
def test_gradients_are_the_derivatives_dropout_included(rng, names):
    images = rng.uniform(-1, 1, (3, *IMAGE))
    network = Sequential(stack(cnnx, names))
    direction = uniform(rng, network.predict(images).shape)

    def loss():
        return float(np.sum(direction * network.forward(images, rng=4)))

    loss()
    d_images = network.backward(direction, d_images=True)
    gradient = network.gradient.copy()
    for values, analytic in ((images, d_images), (network.parameters, gradient)):
        flat, some = values.reshape(-1), rng.permutation(values.size)[:40]

        def loss_at(chosen, flat=flat, some=some):
            flat[some] = chosen
            return loss()

        chosen = flat[some].copy()
        numeric = central_difference(lambda chosen=chosen: loss_at(chosen), chosen)
        loss_at(chosen)
        assert np.abs(numeric).max() > 1e-3
        assert_is_derivative(analytic.reshape(-1)[some], numeric, terms=1000)


@pytest.mark.parametrize("optimizer", [lambda: cnnx.SGD(0.1), lambda: cnnx.Adam(1e-2)], ids=["sgd", "adam"])
def test_forward_backward_and_apply_are_fit_step_by_step(dtype, rng, optimizer):
    names = REGRESSIONS[0]
    images, targets = images_of(rng, names, 21), uniform(rng, (21, 5), dtype)

    def loss(outputs, targets):
        return np.mean((outputs - targets) ** 2, axis=1), 2 * (outputs - targets) / dtype(5)

    whole, named, by_hand = (Sequential(stack(cnnx, names, dtype)) for _ in range(3))
    options = {"epochs": 1, "batch_size": 5, "shuffle": False}
    history = whole.fit(images, targets, optimizer=optimizer(), loss=loss, **options)
    named.fit(images, targets, optimizer=optimizer(), loss="mean_squared_error", **options)
    steps, losses = optimizer(), []
    for start in range(0, 21, 5):
        batch = slice(start, start + 5)
        outputs = by_hand.forward(images[batch])
        of_batch, d_outputs = loss(outputs, targets[batch])
        losses.extend(of_batch)
        by_hand.backward(d_outputs / dtype(len(outputs)))
        by_hand.apply(steps)
    assert_close(np.array(losses, dtype), history.losses.astype(dtype), TERMS)
    assert_close(by_hand.parameters, whole.parameters, TERMS)
    assert_close(by_hand.parameters, named.parameters, TERMS)


@pairwise(threads=[2, 3, 5, None], count=[1, 8, 37], names=[DROPPING, REGRESSIONS[1]], dtype=DTYPES)
def test_the_number_of_threads_changes_no_bit(rng, threads, count, names, dtype):
    images, seen = images_of(rng, names, count), []
    network = Sequential(stack(cnnx, names, dtype))
    for used in (1, threads):
        outputs = network.forward(images, threads=used, rng=6)
        d_images = network.backward(outputs, d_images=True, threads=used)
        seen.append((outputs, d_images, network.gradient.copy()))
    for one, many in zip(*seen, strict=True):
        assert_same_bits(many, one)


def test_forward_drops_values_as_fit_does_and_predict_does_not(rng):
    network = Sequential(stack(cnnx, DROPPING))
    images = images_of(rng, DROPPING, 5)
    first, again, other = (network.forward(images, rng=seed) for seed in (1, 1, 2))
    assert_same_bits(again, first)
    assert (other != first).any()
    assert_close(Sequential(stack(cnnx, STACKS[0])).forward(images), stack_predict(images), TERMS)
    labels = np.zeros(5, int)
    loss, _ = network.gradients(images, labels, rng=1)
    assert loss == pytest.approx(-np.log(first[:, 0]).mean(), rel=1e-12)


def stack_predict(images):
    return Sequential(stack(cnnx, STACKS[0])).predict(images)


@pairwise(names=[*OF_SAMPLES, *OF_BATCHES, DROPPING], dtype=DTYPES, target=cnnx.targets())
def test_without_the_images_gradient_it_is_the_gradient_of_the_loss(rng, names, dtype):
    """To the bit, because both then take the same fused layers."""
    network, images = Sequential(stack(cnnx, names, dtype)), problem(rng, names, 8)[0]

    def loss(outputs, targets):
        return np.sum(outputs * targets, axis=1), targets

    weights = uniform(rng, network.predict(images).shape, dtype)
    network.gradients(images, weights, loss=loss, rng=2)
    expected = network.gradient * dtype(8)  # of the sum, which is exact for a power of two
    network.forward(images, rng=2)
    assert network.backward(weights) is None
    assert_same_bits(network.gradient, expected)


@pytest.mark.parametrize("kind", ["few pixels", "blocks with a lone corner", "digits"])
def test_the_gradient_for_images_of_any_kind(rng, kind):
    """Also where the article's network would look only at what is not background."""
    images = IMAGES[kind](rng, (3, 12, 14))
    layers = [cnnx.Conv3x3(4, rng=0), cnnx.MaxPool2(ties="first"), cnnx.Softmax(5 * 6 * 4, 3, rng=0)]
    network, floats = Sequential(layers), as_floats(images, np.float64)
    d_outputs = uniform(rng, (3, 3))
    network.forward(images)
    for image, expected, gradient in zip(floats, network.backward(d_outputs, d_images=True), d_outputs, strict=True):
        forward_by_hand(layers, image)
        for layer in reversed(copy.deepcopy(layers)):
            gradient = layer.backprop(gradient, *([0.0] if layer.parameters() else []))
        assert_close(gradient, expected, TERMS)


@pytest.mark.parametrize("shape", [(4, *IMAGE, 1), IMAGE, (*IMAGE, 1), (4, IMAGE[0] * IMAGE[1])])
def test_the_images_gradient_has_the_images_shape(rng, shape):
    network = Sequential(stack(cnnx, REGRESSIONS[0], np.float32))
    network.image_shape = IMAGE
    outputs = network.forward(rng.integers(0, 256, shape, np.uint8))
    assert outputs.shape == (4 if shape[0] == 4 else 1, 5)
    d_images = network.backward(np.ones_like(outputs), d_images=True)
    assert d_images.shape == shape
    assert d_images.dtype == np.float32


def test_a_colour_image_has_a_gradient_for_every_channel(rng):
    network = Sequential([cnnx.Conv3x3(4, 3, rng=0), cnnx.ReLU(), cnnx.MaxPool2(), cnnx.Dense(2 * 3 * 4, 2, rng=0)])
    images, direction = rng.uniform(-1, 1, (2, 6, 8, 3)), uniform(rng, (2, 2))
    network.forward(images)
    d_images = network.backward(direction, d_images=True)
    numeric = central_difference(lambda: float(np.sum(direction * network.forward(images))), images)
    assert_is_derivative(d_images, numeric, terms=100)


def test_neither_changes_parameters_or_what_layers_remember(rng):
    network = Sequential(stack(cnnx, DROPPING))
    before = bits(network)
    remembered = [getattr(layer, "last_input", None) for layer in network.layers]
    network.backward(network.forward(images_of(rng, DROPPING, 5)))
    assert bits(network) == before
    assert all(
        a is b for a, b in zip(remembered, (getattr(x, "last_input", None) for x in network.layers), strict=True)
    )


def test_backward_needs_forward_and_a_copy_needs_its_own(rng):
    network = Sequential(stack(cnnx, REGRESSIONS[0]))
    with pytest.raises(RuntimeError, match=r"^backward: expected forward before it, got none$"):
        network.backward(np.zeros((5, 5)))
    network.forward(images_of(rng, REGRESSIONS[0], 5))
    with pytest.raises(RuntimeError, match=r"^backward: expected forward before it"):
        copy.deepcopy(network).backward(np.zeros((5, 5)))


@pytest.mark.parametrize(
    ("d_outputs", "error"),
    [
        (np.zeros((4, 5)), ValueError),
        (np.zeros((5, 4)), ValueError),
        (np.zeros(25), ValueError),
        (np.zeros((5, 5), complex), TypeError),
        ([[0.0] * 5] * 5, TypeError),
        (None, TypeError),
    ],
)
def test_the_outputs_gradient_has_the_outputs_shape(rng, d_outputs, error):
    network = Sequential(stack(cnnx, REGRESSIONS[0]))
    network.forward(images_of(rng, REGRESSIONS[0], 5))
    before = network.gradient.copy()
    with pytest.raises(error, match=r"^d_outputs: expected"):
        network.backward(d_outputs)
    assert_same_bits(network.gradient, before)


def test_forward_checks_its_images_as_fit_does(rng):
    network = Sequential(stack(cnnx, REGRESSIONS[0]))
    for images, error in ((np.zeros((0, *IMAGE)), ValueError), (np.full((2, *IMAGE), np.nan), ValueError)):
        with pytest.raises(error, match=r"^images: expected"):
            network.forward(images)
    with pytest.raises(ValueError, match=r"^layers\[3\] \(Dense\): expected input of 144 values, got"):
        network.forward(rng.integers(0, 256, (2, 9, 9), np.uint8))
