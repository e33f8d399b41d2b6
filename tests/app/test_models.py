"""The ready-made networks: MNIST's by default, and of the size and classes that one asks for."""

import numpy as np
import pytest
from networks import bits
from tolerances import assert_same_bits

from cnnx import BatchNorm, Conv3x3, Dense, Dropout, MaxPool2, ReLU, Sequential, Softmax, models

SMALLEST = {"article_cnn": 4, "batch_norm_convnet": 8, "keras_convnet": 10, "small_convnet": 10, "deep_convnet": 18}
PARAMETERS = {
    "article_cnn": 13_602,
    "batch_norm_convnet": 242_026,
    "deep_convnet": 141_130,
    "keras_convnet": 34_826,
    "small_convnet": 12_810,
}


def make(name, **settings):
    return getattr(models, name)(**settings)


def by_hand(name, dtype):
    """Return the layers of a network for MNIST, drawn one after another from numpy's global generator."""
    pool = MaxPool2(ties="first")
    unbiased = {"use_bias": False, "padding": "same", "dtype": dtype}
    rows = {
        "article_cnn": lambda: [Conv3x3(8, dtype=dtype), MaxPool2(), Softmax(1352, 10, dtype=dtype)],
        "batch_norm_convnet": lambda: [
            *(Conv3x3(32, 1, **unbiased), pool, BatchNorm(32, dtype=dtype), ReLU()),
            *(Conv3x3(64, 32, **unbiased), pool, BatchNorm(64, dtype=dtype), ReLU()),
            *(Conv3x3(128, 64, **unbiased), pool, BatchNorm(128, dtype=dtype), ReLU()),
            *(Dropout(0.1), Dense(1152, 128, dtype=dtype), BatchNorm(128, dtype=dtype), ReLU()),
            Softmax(128, 10, dtype=dtype),
        ],
        "keras_convnet": lambda: [
            *(Conv3x3(32, 1, dtype=dtype), ReLU(), pool, Conv3x3(64, 32, dtype=dtype), ReLU(), pool),
            *(Dropout(0.5), Softmax(1600, 10, dtype=dtype)),
        ],
        "small_convnet": lambda: [
            *(Conv3x3(16, 1, dtype=dtype), pool, ReLU(), Conv3x3(32, 16, dtype=dtype), pool, ReLU()),
            Softmax(800, 10, dtype=dtype),
        ],
        "deep_convnet": lambda: [
            *(Conv3x3(32, 1, dtype=dtype), ReLU(), pool, Conv3x3(64, 32, padding="same", dtype=dtype), ReLU()),
            *(Conv3x3(64, 64, dtype=dtype), ReLU(), pool, Conv3x3(128, 64, dtype=dtype), ReLU()),
            *(Dropout(0.4), Softmax(1152, 10, dtype=dtype)),
        ],
    }
    return rows[name]()


def test_every_network_is_tested():
    assert sorted(SMALLEST) == sorted(PARAMETERS) == sorted(models.__all__)


@pytest.mark.parametrize("name", models.__all__)
def test_the_defaults_are_mnist_s_to_the_bit(dtype, name):
    np.random.seed(2)
    network = make(name, dtype=dtype)
    np.random.seed(2)
    twin = Sequential(by_hand(name, dtype))
    assert [repr(layer) for layer in network.layers] == [repr(layer) for layer in twin.layers]
    assert_same_bits(network.parameters, twin.parameters)
    assert network.parameters.size == PARAMETERS[name]
    assert network.image_shape == (28, 28)


@pytest.mark.parametrize("size", ["smallest", "one wider", (28, 28), (19, 33), (32, 32)])
@pytest.mark.parametrize("name", models.__all__)
def test_a_network_takes_the_size_and_the_classes_that_were_asked_for(rng, name, size):
    least = SMALLEST[name]
    shape = {"smallest": (least, least), "one wider": (least, least + 1)}.get(size, size)
    network = make(name, image_shape=shape, nodes=47, rng=1)
    images, labels = rng.integers(0, 256, (5, *shape), np.uint8), np.array([0, 46, 1, 45, 9])
    network.fit(images, labels, epochs=1, batch_size=5, learn_rate=0.01)  # a norm needs two values of each channel
    assert network.predict(images).shape == (5, 47)
    assert network.image_shape == shape
    if shape == (28, 28):
        assert bits(make(name, rng=1)) == bits(make(name, image_shape=list(shape), rng=1))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", models.__all__)
def test_a_network_takes_the_channels_that_were_asked_for(rng, name, channels):
    shape = (19, 33, channels)
    network = make(name, image_shape=shape, nodes=4, rng=1)
    images, labels = rng.integers(0, 256, (6, *shape), np.uint8), np.array([0, 3, 1, 2, 3, 0])
    network.fit(images, labels, epochs=1, batch_size=3, learn_rate=0.01, rng=2)
    assert network.predict(images).shape == (6, 4)
    assert network.predict(images.reshape(6, -1)).shape == (6, 4)
    assert network.image_shape == (shape if channels > 1 else shape[:2])
    grey = make(name, image_shape=shape[:2], nodes=4, rng=1)
    if channels == 1:
        grey.fit(images[..., 0], labels, epochs=1, batch_size=3, learn_rate=0.01, rng=2)
        assert bits(network) == bits(grey)
    else:
        assert len(grey.parameters) + (channels - 1) * 9 * grey.layers[0].num_filters == len(network.parameters)
        assert [type(layer) for layer in grey.layers] == [type(layer) for layer in network.layers]


@pytest.mark.parametrize("name", models.__all__)
def test_a_size_that_is_too_small_is_refused_with_the_smallest(name):
    least = SMALLEST[name]
    drawn = np.random.get_state()[2]
    for height, width in ((least - 1, least), (least, least - 1), (1, 1), (0, 28), (-28, 28)):
        message = rf"^image_shape: expected at least {least}x{least} pixels, got {height}x{width}$"
        with pytest.raises(ValueError, match=message):
            make(name, image_shape=(height, width))
    assert np.random.get_state()[2] == drawn


BAD_SETTINGS = [
    *(("image_shape", bad, "a height and a width") for bad in (28, (28,), (28, 28, 1, 1), "28x28", None)),
    *(("image_shape", bad, "an integer") for bad in ((28.0, 28), (28, True), ("28", "28"))),
    ("image_shape", (28, 28, 0), "at least one channel"),
    *(("nodes", bad, "an integer") for bad in (0, -1, 10.0, True, None, "10")),
]


@pytest.mark.parametrize(("setting", "bad", "expected"), BAD_SETTINGS)
@pytest.mark.parametrize("name", models.__all__)
def test_a_bad_setting_is_refused_by_name_before_anything_is_drawn(name, setting, bad, expected):
    drawn = np.random.get_state()[2]
    with pytest.raises((TypeError, ValueError), match=rf"^{setting}: expected {expected}.*, got"):
        make(name, **{setting: bad})
    assert np.random.get_state()[2] == drawn
