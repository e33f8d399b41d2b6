"""Short runs of `fit`: what they leave, and what they refuse."""

import numpy as np
import pytest
from networks import bits
from stacks import STACKS, problem, stack

import cnnx
from cnnx import Sequential


def fitted(names, images, labels, dtype=np.float64, **options):
    """Return the bits of a network after training it."""
    network = Sequential(stack(cnnx, names, dtype))
    options = {"epochs": 2, "batch_size": 4, "rng": np.random.default_rng(1), **options}
    if "optimizer" not in options:
        options.setdefault("learn_rate", 0.05)
    network.fit(images, labels, **options)
    return bits(network)


def assert_fit_refuses(rng, error, message, **options):
    images, labels = problem(rng, STACKS[0], count=10)
    network = Sequential(stack(cnnx, STACKS[0]))
    before = bits(network)
    if "optimizer" not in options:
        options.setdefault("learn_rate", 0.1)
    with pytest.raises(error, match=message):
        network.fit(images, labels, **{"epochs": 1, "batch_size": 2, **options})
    assert bits(network) == before
