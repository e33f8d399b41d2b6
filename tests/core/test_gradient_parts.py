"""A dense network's gradient has the same bits whether it is added up in parts or in shards.

A batch goes by parts if it has at least 13 samples and not too many activations for the number of parameters. So images
of twice the size, with a pooling that gives the small ones back, go by shards.
"""

import numpy as np
import pytest
from tolerances import assert_same_bits

from cnnx import SGD, Adam, Dense, MaxPool2, ReLU, Sequential, Softmax

SIDES, CLASSES = (5, 7), 3
PIXELS = SIDES[0] * SIDES[1]


def batch_size(nodes, hidden):
    """Return a batch that goes by parts, but by shards if its images are four times as large."""
    parameters = (PIXELS + 1) * nodes + (nodes + 1) * hidden + (hidden + 1) * CLASSES
    others = 2 * nodes + 2 * hidden + CLASSES
    size = min(4 * parameters // (PIXELS + others), 256)
    assert size >= 13
    assert size * (5 * PIXELS + others) > 4 * parameters
    return size


def trained(before, images, labels, optimizer, frozen, dtype, nodes, hidden, **options):
    rng = np.random.default_rng(7)
    options_of_layer = {"dtype": dtype, "rng": rng}
    first, second = Dense(PIXELS, nodes, **options_of_layer), Dense(nodes, hidden, **options_of_layer)
    dense = [first, second, Softmax(hidden, CLASSES, **options_of_layer)]
    for position in frozen:
        dense[position].trainable = False
    network = Sequential([*before, first, ReLU(), second, ReLU(), dense[-1]])
    network.fit(images, labels, epochs=2, optimizer=optimizer, rng=0, **options)
    network.gradients(images[: options["batch_size"]], labels[: options["batch_size"]], threads=options["threads"])
    return np.concatenate([network.parameters, network.gradient])


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("optimizer", [lambda: Adam(0.01), lambda: SGD(0.1), lambda: SGD(0.1, momentum=0.9)])
@pytest.mark.parametrize(
    ("nodes", "hidden", "frozen"),
    [(8, 16, ()), (10, 23, ()), (33, 8, (0,)), (64, 13, (1,)), (127, 10, (2,)), (100, 140, ())],
)
def test_parts_and_shards_give_the_same_bits(dtype, rng, optimizer, nodes, hidden, frozen, threads):
    size = batch_size(nodes, hidden)
    images = rng.uniform(-0.5, 0.5, (2 * size + 15, *SIDES)).astype(dtype)
    labels = rng.integers(0, CLASSES, len(images))
    large = images.repeat(2, axis=1).repeat(2, axis=2)[..., np.newaxis]
    options = {"frozen": frozen, "dtype": dtype, "nodes": nodes, "hidden": hidden}
    by_parts = trained([], images, labels, optimizer(), batch_size=size, threads=threads, **options)
    by_shards = trained([MaxPool2(ties="first")], large, labels, optimizer(), batch_size=size, threads=1, **options)
    assert_same_bits(by_parts, by_shards)


def test_a_network_may_go_by_parts_and_by_shards_in_turn(dtype, rng):
    """Its workspaces then belong to a batch's samples, and to threads."""
    images, labels = rng.uniform(-0.5, 0.5, (300, *SIDES)).astype(dtype), rng.integers(0, CLASSES, 300)

    def network():
        options = {"dtype": dtype, "rng": np.random.default_rng(5)}
        return Sequential([Dense(PIXELS, 64, **options), ReLU(), Softmax(64, CLASSES, **options)])

    turns, alone = network(), network()
    for size, threads in [(40, 2), (300, 3), (1, 1), (2, 2), (40, 3)]:
        options = {"epochs": 1, "batch_size": size, "learn_rate": 0.1, "shuffle": False}
        turns.fit(images, labels, threads=threads, **options)
        fresh = network()
        fresh.parameters[...] = alone.parameters
        fresh.fit(images, labels, threads=1, **options)
        alone.parameters[...] = fresh.parameters
        assert_same_bits(turns.parameters, alone.parameters)
