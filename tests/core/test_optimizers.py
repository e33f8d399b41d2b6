"""SGD and Adam: their settings, their state, and a network that changes under them."""

import numpy as np
import pytest
from networks import bits
from reference_loop import LEARN_RATE, OPTIMIZERS
from stacks import STACKS, problem, stack

import cnnx
from cnnx import Sequential

DEEP = STACKS[0]


def test_adam_s_own_settings_are_the_usual_ones(rng):
    images, labels = problem(rng, STACKS[0], count=40)
    networks = [Sequential(stack(cnnx, STACKS[0])) for _ in range(2)]
    optimizers = cnnx.Adam(1e-3), cnnx.Adam(1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    for network, optimizer in zip(networks, optimizers, strict=True):
        network.fit(images, labels, epochs=1, batch_size=8, optimizer=optimizer, shuffle=False)
    assert bits(networks[0]) == bits(networks[1])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_eps_too_small_for_the_dtype_keeps_adam_finite(dtype, rng, batch_size):
    """Some of the core's numbers never have a gradient: those that fill up a register."""
    images, labels = problem(rng, "article:3 pool softmax:10", count=16)
    network = Sequential(stack(cnnx, "article:3 pool softmax:10", dtype))
    optimizer = cnnx.Adam(1e-3, eps=1e-300)
    history = network.fit(images, labels, epochs=1, batch_size=batch_size, optimizer=optimizer, shuffle=False)
    assert np.isfinite(history.losses).all()


@pytest.mark.parametrize("weight", [1, 1e-15, 1e-17])
def test_adam_s_steps_are_short_for_tiny_gradients_and_a_tiny_eps(rng, weight):
    """The square of a gradient may be too small for a float32."""
    images, labels = problem(rng, DEEP, count=32)
    network = Sequential(stack(cnnx, DEEP, np.float32))
    before = network.parameters.copy()
    weights = np.full(32, weight)
    network.fit(images, labels, epochs=1, batch_size=32, optimizer=cnnx.Adam(0.01, eps=1e-30), sample_weight=weights)
    assert np.abs(network.parameters - before).max() < 0.0101


def test_an_optimizer_goes_on_from_where_it_was(dtype, rng):
    images, labels = problem(rng, STACKS[0], count=32)
    for kind, settings in OPTIMIZERS.values():
        once, twice = (Sequential(stack(cnnx, STACKS[0], dtype)) for _ in range(2))
        options = {"batch_size": 4, "shuffle": False}
        once.fit(images, labels, epochs=2, optimizer=kind(LEARN_RATE, **settings), **options)
        optimizer = kind(LEARN_RATE, **settings)
        for epoch in (1, 2):
            twice.fit(images, labels, epochs=1, optimizer=optimizer, **options)
            assert optimizer.steps == 8 * epoch
        assert bits(once) == bits(twice)


BAD_SETTINGS = {
    "negative learn rate": (lambda: cnnx.SGD(-0.1), ValueError, "learn_rate"),
    "learn rate in words": (lambda: cnnx.Adam("0.1"), TypeError, "learn_rate"),
    "momentum of one": (lambda: cnnx.SGD(0.1, momentum=1.0), ValueError, "momentum"),
    "negative momentum": (lambda: cnnx.SGD(0.1, momentum=-0.1), ValueError, "momentum"),
    "nesterov in numbers": (lambda: cnnx.SGD(0.1, 0.9, 1), TypeError, "nesterov"),
    "negative weight decay": (lambda: cnnx.SGD(0.1, weight_decay=-1e-4), ValueError, "weight_decay"),
    "infinite weight decay": (lambda: cnnx.Adam(0.1, weight_decay=float("inf")), ValueError, "weight_decay"),
    "one beta": (lambda: cnnx.Adam(0.1, betas=(0.9,)), TypeError, "betas"),
    "beta of one": (lambda: cnnx.Adam(0.1, betas=(0.9, 1.0)), ValueError, r"betas\[1\]"),
    "beta in words": (lambda: cnnx.Adam(0.1, betas=("0.9", 0.99)), TypeError, r"betas\[0\]"),
    "eps of zero": (lambda: cnnx.Adam(0.1, eps=0.0), ValueError, "eps"),
    "eps of NaN": (lambda: cnnx.Adam(0.1, eps=float("nan")), ValueError, "eps"),
}


@pytest.mark.parametrize("kind", BAD_SETTINGS)
def test_an_optimizer_refuses_settings_by_name(kind):
    make, error, name = BAD_SETTINGS[kind]
    with pytest.raises(error, match=rf"^{name}: expected"):
        make()
