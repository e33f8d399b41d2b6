"""SGD and Adam: their settings, their state, and a network that changes under them."""

import platform

import numpy as np
import pytest
from networks import bits
from reference_loop import LEARN_RATE, OPTIMIZERS
from stacks import STACKS, problem, stack

import cnnx
from cnnx import Dense, ReLU, Sequential, Softmax

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


has_subnormal_mode = platform.machine() in {"x86_64", "AMD64", "aarch64", "arm64"}


@pytest.mark.skipif(not has_subnormal_mode, reason="this machine cannot compute without subnormal numbers")
@pytest.mark.parametrize("kind", [cnnx.Adam, lambda rate: cnnx.SGD(rate, momentum=0.9)], ids=["adam", "momentum"])
@pytest.mark.parametrize("loop", ["fit", "apply"])
def test_what_is_left_of_a_momentum_ends_at_0(rng, kind, loop):
    """By itself, rounding would keep it at a few of the smallest numbers, for which a CPU takes long."""
    network = Sequential([Dense(16, 30, dtype=np.float32, rng=rng), ReLU(), Softmax(30, 3, dtype=np.float32, rng=rng)])
    optimizer, labels = kind(0.01), np.zeros(64, int)
    images = rng.random((64, 4, 4), np.float32)
    network.fit(images, labels, epochs=1, batch_size=64, optimizer=optimizer)
    of_weights = next(state[: 16 * 30] for state in optimizer.states() if state.size == network.parameters.size)
    assert of_weights.any()
    black, steps = np.zeros_like(images), 1200  # 0.9 ** 1200 is below every float32
    if loop == "apply":
        network.gradients(black, labels)
        for _ in range(steps):
            network.apply(optimizer)
    else:
        network.fit(black, labels, epochs=steps, batch_size=64, optimizer=optimizer)
    assert not of_weights.any()
    assert np.finfo(np.float32).smallest_normal / np.float32(2) > 0  # Python's own arithmetic is as it was


@pytest.mark.skipif(not has_subnormal_mode, reason="this machine cannot compute without subnormal numbers")
@pytest.mark.parametrize("batch_size", [1, 2])
def test_subnormal_weights_become_0(dtype, rng, batch_size):
    network = Sequential([Softmax(16, 3, dtype=dtype, rng=rng)])
    network.layers[0].weights[...] = np.finfo(dtype).smallest_subnormal
    network.fit(np.zeros((4, 4, 4), dtype), np.zeros(4, int), epochs=1, batch_size=batch_size, learn_rate=0.1)
    assert not network.layers[0].weights.any()


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
