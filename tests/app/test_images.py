"""Images of another size, with another axis or with a NaN are refused in words about the image."""

import copy
import pickle

import numpy as np
import pytest
from networks import bits, sample, small_problem, three_layers
from pairwise import pairwise
from tolerances import assert_same_bits

import cnnx
from cnnx import Conv3x3, GlobalAveragePool, Sequential, Softmax
from cnnx.models import article_cnn, keras_convnet

FLAT = r" \(for flattened images use images\.reshape\(-1, 28, 28\)\)$"
COLOUR = r" \(a network whose first layer has in_channels=3 reads colour; images\.mean\(axis=-1\) is grey\)$"
OTHER_SHAPES = {
    (5, 29, 29): r"got \(5, 29, 29\)$",
    (29, 29): r"got \(29, 29\)$",
    (4, 340): r"got \(4, 340\)$",
    (5, 28, 29): r"got \(5, 28, 29\)$",
    (280, 280): r"got \(280, 280\)$",
    (3, 2, 2): r"got \(3, 2, 2\)$",
    (784, 1): r"got \(784, 1\)$",
    (5, 1, 784): r"got \(5, 1, 784\)" + FLAT,
    (5, 29, 29, 1): r"got \(5, 29, 29, 1\)$",
    (5, 1, 28, 28): r"got \(5, 1, 28, 28\)" + FLAT,
    (28, 28, 3): r"got \(28, 28, 3\)" + COLOUR,
    (5, 28, 28, 3): r"got \(5, 28, 28, 3\)" + COLOUR,
}


def trained_by_hand():
    """Return a network of 28x28 images that no model has made, after training."""
    network = Sequential(three_layers(cnnx, (28, 28, 8, 10)))
    digits = sample()
    network.fit(digits.train_images[:20], digits.train_labels[:20], epochs=1, learn_rate=0.01)
    return network


def stepped_by_hand():
    network = Sequential(three_layers(cnnx, (28, 28, 8, 10)))
    digits = sample()
    network.gradients(digits.train_images[:20], digits.train_labels[:20])
    return network


MAKERS = {
    "a model": article_cnn,
    "Keras's": keras_convnet,
    "trained": trained_by_hand,
    "stepped": stepped_by_hand,
    "copied": lambda: copy.deepcopy(trained_by_hand()),
    "pickled": lambda: pickle.loads(pickle.dumps(trained_by_hand())),
}


@pairwise(shape=OTHER_SHAPES, make=MAKERS)
def test_images_of_another_shape_are_refused(shape, make):
    network = MAKERS[make]()
    images, labels = np.zeros(shape, np.uint8), np.zeros(shape[0], int)
    before = bits(network)
    message = r"^images: expected shape \(n, 28, 28\), " + OTHER_SHAPES[shape]
    with pytest.raises(ValueError, match=message):
        network.predict(images)
    if len(shape) != 2:
        for use in (
            lambda: network.evaluate(images, labels),
            lambda: network.gradients(images, labels),
            lambda: network.fit(images, labels, epochs=1, learn_rate=0.1),
        ):
            with pytest.raises(ValueError, match=message):
                use()
    assert bits(network) == before


@pytest.mark.parametrize("make", MAKERS)
def test_flattened_images_need_no_reshape_once_the_size_is_known(make):
    network, images = MAKERS[make](), sample().test_images[:5]
    for shape in ((5, 784), (5, 28, 28, 1)):
        assert_same_bits(network.predict(images.reshape(shape)), network.predict(images))
    for shape in ((784,), (28, 28, 1)):
        assert_same_bits(network.predict(images[0].reshape(shape)), network.predict(images[0]))


@pytest.mark.parametrize("shape", [(280, 280), (5, 27, 28), (1000, 784), (28, 28, 3)])
def test_a_network_that_has_seen_no_image_speaks_of_the_image_too(shape):
    network = Sequential(three_layers(cnnx, (28, 28, 8, 10)))
    with pytest.raises(ValueError, match=r"^images: expected shape \(n, 28, 28\), got \(.*\) \(.*\)$"):
        network.predict(np.zeros(shape, np.uint8))


def test_an_average_over_the_image_takes_images_of_any_size(rng):
    network = Sequential([Conv3x3(4, 1), GlobalAveragePool(), Softmax(4, 3)])
    images, labels = rng.integers(0, 256, (6, 9, 12), np.uint8), rng.integers(0, 3, 6)
    other = rng.integers(0, 256, (6, 8, 7), np.uint8)
    network.fit(images, labels, epochs=1, learn_rate=0.1, validation=(other, labels))
    assert network.predict(other).shape == (6, 3)


def test_validation_images_of_another_size_are_refused_even_if_their_pixels_are_as_many(rng):
    network, images, labels = small_problem()
    before = bits(network)
    other = rng.integers(0, 256, (12, 6, 9), np.uint8)
    with pytest.raises(ValueError, match=r"^validation: images: expected shape \(n, 7, 8\), got \(12, 6, 9\)"):
        network.fit(images, labels, epochs=1, learn_rate=0.1, validation=(other, labels))
    assert bits(network) == before


def test_other_layers_may_make_it_a_network_for_other_images():
    network, images, labels = small_problem()
    network.fit(images, labels, epochs=1, learn_rate=0.1)
    assert network.image_shape == (7, 8)
    network.layers[2] = Softmax(3 * 4 * 5, 4)
    assert network.predict(np.zeros((2, 8, 10), np.uint8)).shape == (2, 4)


@pytest.mark.parametrize("bad", [28, (28,), (28, 0), (28.0, 28), "28x28", (28, 28, 0), (28, 28, 1, 1)])
def test_an_assigned_image_shape_is_checked(bad):
    network = article_cnn()
    with pytest.raises((TypeError, ValueError), match=r"^image_shape: expected .*, got"):
        network.image_shape = bad
    assert network.image_shape == (28, 28)


def test_a_summary_takes_the_network_s_own_size():
    assert "(7, 10, 8)" in article_cnn(image_shape=(9, 12)).summary()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("use", ["fit", "gradients", "validation", "evaluate"])
def test_pixels_that_are_not_finite_are_refused_with_their_place(dtype, rng, use, bad):
    network = Sequential(three_layers(cnnx, (7, 8, 5, 4), dtype))
    images, labels = rng.uniform(-0.5, 0.5, (700, 7, 8)).astype(dtype), rng.integers(0, 4, 700)
    broken = images.copy()
    broken[600, 3, 5] = broken[601, 2, 2] = bad
    if use == "evaluate" and np.isinf(bad):
        broken[600, :, :] = bad  # an infinity that no filter prefers would harm nobody
    before = bits(network)
    calls = {
        "fit": lambda: network.fit(broken, labels, epochs=1, learn_rate=0.1),
        "gradients": lambda: network.gradients(broken, labels),
        "validation": lambda: network.fit(images, labels, epochs=1, learn_rate=0.1, validation=(broken, labels)),
        "evaluate": lambda: network.evaluate(broken, labels),
    }
    place = r"600, \d, \d" if use == "evaluate" else "600, 3, 5"
    prefix = "validation: " if use == "validation" else ""
    with pytest.raises(ValueError, match=rf"^{prefix}images: expected finite pixels, got {bad} at images\[{place}\]$"):
        calls[use]()
    assert bits(network) == before
