"""Images may have an axis for their one channel, or be flattened, and one image may be given alone."""

import copy

import numpy as np
import pytest
from networks import IMAGES, bits, small_problem, three_layers
from tolerances import assert_same_bits

import cnnx
from cnnx import Conv3x3, GlobalAveragePool, Sequential, Softmax
from cnnx.models import article_cnn

STACKS = {
    "with an axis for the channel": lambda images: images[..., np.newaxis],
    "flattened": lambda images: images.reshape(len(images), -1),
    "sliced from three channels": lambda images: images[..., np.newaxis].repeat(3, axis=3)[..., 1:2],
}
SINGLE = {
    "height and width": lambda image: image,
    "with an axis for the channel": lambda image: image[..., np.newaxis],
    "flattened": lambda image: image.reshape(-1),
}
KINDS = ["blocks of bytes", "blocks of float32", "random float64"]


def two_networks(dtype=np.float64):
    """Return two equal networks that know the size of their images, 7x8."""
    networks = [small_problem(dtype)[0] for _ in range(2)]
    for network in networks:
        network.image_shape = (7, 8)
    return networks


def problem(rng, kind, count=12):
    return IMAGES[kind](rng, (count, 7, 8)), rng.integers(0, 4, count)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", STACKS)
def test_every_method_takes_every_form_of_many_images(dtype, rng, form, kind):
    network, twin = two_networks(dtype)
    images, labels = problem(rng, kind)
    given = STACKS[form](images)
    before = given.copy()
    for one, pixels in ((network, given), (twin, images)):
        one.fit(pixels, labels, epochs=2, learn_rate=0.1, shuffle=False, validation=(pixels[:5], labels[:5]))
    assert bits(network) == bits(twin)
    assert_same_bits(network.history.validation, twin.history.validation)
    assert network.evaluate(given, labels) == twin.evaluate(images, labels)
    assert network.gradients(given, labels) == twin.gradients(images, labels)
    assert_same_bits(network.gradient, twin.gradient)
    assert_same_bits(network.predict(given), twin.predict(images))
    assert network.predict(given[:0]).shape == (0, 4)
    assert network.image_shape == (7, 8)
    assert_same_bits(given, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", SINGLE)
def test_every_method_takes_every_form_of_one_image(dtype, rng, form, kind):
    network, twin = two_networks(dtype)
    images, labels = problem(rng, kind, 1)
    given = SINGLE[form](images[0])
    for one, pixels in ((network, given), (twin, images)):
        one.fit(pixels, labels, epochs=2, learn_rate=0.1, validation=(pixels, labels))
    assert bits(network) == bits(twin)
    assert_same_bits(network.history.validation, twin.history.validation)
    assert network.evaluate(given, labels) == twin.evaluate(images, labels)
    assert network.gradients(given, labels) == twin.gradients(images, labels)
    assert_same_bits(network.predict(given), twin.predict(images)[0])
    assert_same_bits(network.activations(given)["2 Softmax"], twin.activations(images[0])["2 Softmax"])


def test_a_network_that_knows_no_size_takes_the_axis_of_the_channel(rng):
    images, labels = problem(rng, "blocks of bytes")
    networks = [small_problem()[0] for _ in range(2)]
    assert_same_bits(networks[0].predict(images[0, :, :, np.newaxis]), networks[1].predict(images[0]))
    for network, given in zip(networks, (images[..., np.newaxis], images), strict=True):
        network.fit(given, labels, epochs=1, learn_rate=0.1, shuffle=False)
        assert network.image_shape == (7, 8)
    assert bits(networks[0]) == bits(networks[1])


def test_a_network_knows_its_size_from_training_from_a_file_and_from_a_model(tmp_path):
    network, images, labels = small_problem()
    flat = images.reshape(12, -1)
    for one in (images[:3].reshape(3, -1), flat[0]):
        with pytest.raises(ValueError, match=r"^images: expected .* \(for flattened images use images\.reshape\(-1, "):
            Sequential(three_layers(cnnx, (28, 28, 8, 10))).predict(one.repeat(14, axis=-1))
    network.gradients(images, labels)
    network.save(tmp_path / "network.npz")
    loaded = cnnx.load(tmp_path / "network.npz")
    for known in (network, loaded):
        assert_same_bits(known.predict(flat), network.predict(images))
    model = article_cnn(image_shape=(9, 12))
    assert model.predict(np.zeros((5, 9 * 12), np.uint8)).shape == (5, 10)


@pytest.mark.parametrize(
    ("shape", "got"),
    [
        ((784,), r"n at least 1, got \(784,\) \(for flattened images use images\.reshape\(-1, height, width\)\)"),
        ((6, 784), r"which is one image \(.*for flattened images use images\.reshape\(-1, height, width\)\)"),
        ((28, 28), r"got \(28, 28\), which is one image \(its label has shape \(1,\); .*\)"),
    ],
)
def test_flattened_images_need_a_network_of_one_size(rng, shape, got):
    network = Sequential([Conv3x3(4, 1, padding="same"), GlobalAveragePool(), Softmax(4, 3)])
    network.fit(rng.integers(0, 256, (6, 28, 28), np.uint8), rng.integers(0, 3, 6), epochs=1, learn_rate=0.1)
    before = bits(network)
    with pytest.raises(ValueError, match=rf"^images: expected shape \(n, height, width\).*{got}$"):
        network.fit(np.zeros(shape, np.uint8), rng.integers(0, 3, 6), epochs=1, learn_rate=0.1)
    assert bits(network) == before


def test_an_array_of_exactly_the_known_size_is_one_image_and_not_flattened_ones(rng):
    network = Sequential([Softmax(8, 3, rng=rng)])
    network.fit(rng.random((4, 1, 8)), np.array([0, 1, 2, 0]), epochs=1, learn_rate=0.1)
    for one in (network, copy.deepcopy(network)):  # the copy has not seen that shape yet
        assert one.predict(np.zeros((1, 8))).shape == (3,)
    assert network.predict(np.zeros((2, 8))).shape == (2, 3)
    assert network.predict(np.zeros(8)).shape == (3,)


def test_a_last_axis_of_one_is_a_width_where_the_layers_take_it(rng):
    narrow = Sequential([Softmax(6, 3, rng=rng)])
    images, labels = rng.random((5, 6, 1)), np.array([0, 1, 2, 0, 1])
    assert narrow.predict(images).shape == (5, 3)
    narrow.fit(images, labels, epochs=1, learn_rate=0.1)
    assert narrow.image_shape == (6, 1)
    for count in (6, 5):
        assert narrow.predict(rng.random((count, 6, 1))).shape == (count, 3)
    assert narrow.predict(rng.random((5, 6, 1, 1))).shape == (5, 3)
    assert narrow.predict(rng.random((6, 1))).shape == (3,)
    single = Sequential([Softmax(1, 3, rng=rng)])
    single.fit(rng.random((3, 1, 1)), labels[:3], epochs=1, learn_rate=0.1)
    assert single.predict(rng.random((1, 1, 1))).shape == (1, 3)


def test_the_size_of_the_training_decides_what_a_last_axis_of_one_is(rng):
    network = Sequential([Conv3x3(4, 1, padding="same"), GlobalAveragePool(), Softmax(4, 3)])
    network.fit(rng.random((6, 9, 5)), rng.integers(0, 3, 6), epochs=1, learn_rate=0.1)
    image = rng.random((9, 5))
    for _ in range(2):
        assert_same_bits(network.predict(image[..., np.newaxis]), network.predict(image))
        assert network.predict(rng.random((9, 6, 1))).shape == (9, 3)
        network.predict(rng.random((2, 5, 1)))  # leaves a plan for images of 5x1


@pytest.mark.parametrize(
    "shape", [(12, 7, 7, 1), (12, 1, 7, 8), (7, 8, 2), (8, 7, 1), (12, 57), (57,), (1, 12, 7, 8, 1)]
)
def test_other_shapes_are_refused_by_every_method_in_the_caller_s_words(rng, shape):
    network, _ = two_networks()
    given, labels = np.zeros(shape, np.uint8), rng.integers(0, 4, shape[0])
    before, got = bits(network), ", ".join(map(str, shape))
    calls = {
        "": (
            lambda: network.fit(given, labels, epochs=1, learn_rate=0.1),
            lambda: network.evaluate(given, labels),
            lambda: network.gradients(given, labels),
            lambda: network.predict(given),
        ),
        "validation: ": (
            lambda: network.fit(
                np.zeros((2, 7, 8), np.uint8), np.zeros(2, int), epochs=1, learn_rate=0.1, validation=(given, labels)
            ),
        ),
    }
    for prefix, refusing in calls.items():
        for call in refusing:
            with pytest.raises(ValueError, match=rf"^{prefix}images: expected shape \(n, 7, 8\), got \({got},?\)"):
                call()
    assert bits(network) == before


@pytest.mark.parametrize("shape", [(7, 8), (7, 8, 1), (56,)])
def test_one_image_has_one_label(rng, shape):
    network, _ = two_networks()
    given, labels = np.zeros(shape, np.uint8), rng.integers(0, 4, 7)
    message = (
        r"^images: expected shape \(n, height, width\) beside labels of shape \(7,\), got \(.*\), which is one image"
    )
    with pytest.raises(ValueError, match=message):
        network.evaluate(given, labels)


@pytest.mark.parametrize("form", ["with an axis for the channel", "flattened"])
def test_no_form_costs_a_copy(form):
    images = np.zeros((10, 7, 8), np.uint8)
    network, _ = two_networks()
    stack, is_one = network._images(STACKS[form](images))
    assert np.shares_memory(stack, images)
    assert not is_one
