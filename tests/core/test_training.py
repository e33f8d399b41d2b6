"""Training in the core's loop gives the same as stepping the layers by hand."""

import copy

import numpy as np
import pytest
from networks import IMAGES, as_floats, bits, forward_by_hand, small_problem, three_layers
from pairwise import pairwise
from tolerances import assert_close, assert_same_bits
from twins import DTYPES, parameters

import cnnx
from cnnx import Sequential, reference
from cnnx.models import article_cnn

STEPS = 12
LEARN_RATE = 0.05  # times STEPS below 1: the roundings of all steps come to less than those of one whole step
TIES = ("all", "first")
MODULES = (cnnx, reference)


# (height, width, filters, nodes): odd and even sizes, around the lane counts 4, 8 and 16
SIZES = [
    (4, 4, 1, 2),
    (4, 5, 3, 1),
    (5, 4, 4, 11),
    (5, 6, 5, 13),
    (6, 9, 7, 33),
    (9, 6, 8, 10),
    (7, 8, 9, 3),
    (8, 7, 15, 12),
    (10, 5, 16, 7),
    (5, 10, 17, 10),
    (28, 28, 8, 10),
    (28, 28, 8, 31),
]


def step_by_hand(module, layers, images, labels):
    """Train as the article does; return every step's loss and whether the digit was recognised."""
    losses, correct = [], []
    for image, label in zip(images, labels, strict=True):
        out = forward_by_hand(layers, image)
        loss, gradient = module.cross_entropy(out, label)
        losses.append(loss)
        correct.append(np.argmax(out) == label)
        for layer in reversed(layers):
            learn_rate = () if isinstance(layer, module.MaxPool2) else (LEARN_RATE,)
            gradient = layer.backprop(gradient, *learn_rate)
    return np.array(losses), np.array(correct)


def assert_fit_equals_stepping(module, make_layers, images, labels, dtype, terms):
    network, by_hand = Sequential(make_layers(cnnx)), make_layers(module)
    before = bits(network)
    history = network.fit(images, labels, epochs=1, learn_rate=LEARN_RATE, shuffle=False)
    losses, correct = step_by_hand(module, by_hand, as_floats(images, dtype), labels)
    assert bits(network) != before or len(set(labels.tolist())) == 1
    assert_close(history.losses.astype(dtype), losses.astype(dtype), terms)
    np.testing.assert_array_equal(history.correct, correct)
    for trained, stepped in zip(network.layers, by_hand, strict=True):
        for name, values in parameters(stepped).items():
            assert_close(getattr(trained, name), values, terms)


@pairwise(size=SIZES, kind=IMAGES, layers=MODULES, dtype=DTYPES, ties=TIES, target=cnnx.targets())
def test_fit_equals_stepping_the_layers(layers, dtype, ties, rng, size, kind):
    height, width, _, nodes = size
    images = IMAGES[kind](rng, (STEPS, height, width))
    labels = rng.integers(0, nodes, STEPS)
    made = three_layers(cnnx, size)[-1]
    terms = made.weights.shape[0] + 4 * nodes + (height - 2) * (width - 2)
    assert_fit_equals_stepping(
        layers, lambda module: three_layers(module, size, dtype, ties), images, labels, dtype, terms
    )


WIDTHS = [4, 17, 18, 33, 34, 35, 36, 37, 63, 64, 65, 66, 67, 68, 127, 128, 129, 190]


@pairwise(
    width=WIDTHS,
    kind=["few pixels", "blocks of float32"],
    layers=MODULES,
    dtype=DTYPES,
    ties=TIES,
    target=cnnx.targets(),
)
def test_no_width_hides_a_pixel(layers, dtype, ties, rng, width, kind):
    images, labels = IMAGES[kind](rng, (STEPS, 7, width)), rng.integers(0, 3, STEPS)
    terms = 5 * width * 4
    assert_fit_equals_stepping(
        layers, lambda module: three_layers(module, (7, width, 3, 3), dtype, ties), images, labels, dtype, terms
    )


OTHER_ROWS = {
    "Softmax alone": lambda m, _, **options: [m.Softmax(11 * 14, 5, **options)],
    "no pooling": lambda m, _, **options: [m.Conv3x3(3, **options), m.Softmax(9 * 12 * 3, 5, **options)],
    "pooled twice": lambda m, ties, **options: [
        m.Conv3x3(9, **options),
        m.MaxPool2(ties=ties),
        m.MaxPool2(ties="first" if ties == "all" else "all"),
        m.Softmax(2 * 3 * 9, 5, **options),
    ],
}


@pytest.mark.smoke
@pairwise(
    row=OTHER_ROWS,
    kind=["random bytes", "blocks of bytes", "blocks of float32", "random float64"],
    layers=MODULES,
    dtype=DTYPES,
    ties=TIES,
    target=cnnx.targets(),
)
def test_fit_equals_stepping_any_row_of_layers(layers, dtype, ties, rng, row, kind):
    def make_layers(module):
        return OTHER_ROWS[row](module, ties, dtype=dtype, rng=np.random.default_rng(3))

    images, labels = IMAGES[kind](rng, (STEPS, 11, 14)), rng.integers(0, 5, STEPS)
    assert_fit_equals_stepping(layers, make_layers, images, labels, dtype, terms=9 * 12 * 4 + 20)


@pairwise(
    kind=["random bytes", "blocks of bytes", "constant bytes", "digits"], dtype=DTYPES, ties=TIES, target=cnnx.targets()
)
def test_bytes_are_read_as_numpy_scales_them_to_the_bit(dtype, ties, rng, kind):
    images, labels = IMAGES[kind](rng, (12, 28, 28)), rng.integers(0, 10, 12)
    of_bytes, of_floats = (article_cnn(dtype=dtype, ties=ties, rng=np.random.default_rng(0)) for _ in range(2))
    for network, pixels in ((of_bytes, images), (of_floats, (images / 255 - 0.5).astype(dtype))):
        network.fit(pixels, labels, epochs=1, learn_rate=LEARN_RATE, shuffle=False)
    assert bits(of_bytes) == bits(of_floats)
    assert_same_bits(of_bytes.predict(images), of_floats.predict(images / 255 - 0.5))


@pytest.mark.usefixtures("target")
def test_of_equal_probabilities_the_first_is_recognised(dtype):
    network, images, labels = small_problem(dtype)
    for name in ("weights", "biases"):
        getattr(network.layers[-1], name)[...] = 0
    history = network.fit(images, labels, epochs=1, learn_rate=0.0, shuffle=False)
    np.testing.assert_array_equal(history.correct, labels == 0)
    assert network.evaluate(images, labels)[1] == np.mean(labels == 0) > 0


def test_trained_values_stand_in_the_arrays_that_were_there(dtype):
    network, images, labels = small_problem(dtype)
    held = [values for layer in network.layers for values in parameters(layer).values()]
    before = [values.copy() for values in held]
    network.fit(images, labels, epochs=1, learn_rate=LEARN_RATE)
    after = [values for layer in network.layers for values in parameters(layer).values()]
    for array, old, new in zip(held, before, after, strict=True):
        assert array is new
        assert (array != old).any()


@pytest.mark.smoke
@pytest.mark.parametrize("source", ["numpy's global generator", "rng"])
def test_each_epoch_draws_a_permutation(source):
    network, images, labels = small_problem()
    twin = copy.deepcopy(network)
    np.random.seed(8)
    generator = np.random if source != "rng" else np.random.default_rng(9)
    orders = [generator.permutation(STEPS) for _ in range(3)]
    np.random.seed(8)
    rng = None if source != "rng" else np.random.default_rng(9)
    history = network.fit(images, labels, epochs=3, learn_rate=LEARN_RATE, rng=rng)
    order = np.concatenate(orders)
    expected = twin.fit(images[order], labels[order], epochs=1, learn_rate=LEARN_RATE, shuffle=False)
    assert bits(network) == bits(twin)
    assert_same_bits(history.losses, expected.losses)
    assert_same_bits(history.correct, expected.correct)


def test_without_shuffling_no_generator_is_asked():
    network, images, labels = small_problem()
    np.random.seed(8)
    untouched = np.random.random()
    np.random.seed(8)
    network.fit(images, labels, epochs=2, learn_rate=LEARN_RATE, shuffle=False)
    network.fit(images, labels, epochs=2, learn_rate=LEARN_RATE, rng=np.random.default_rng(0))
    assert np.random.random() == untouched
