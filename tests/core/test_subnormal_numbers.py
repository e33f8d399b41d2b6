"""The core counts subnormal numbers as 0, because a CPU takes many times as long for them as for others."""

import platform

import numpy as np
import pytest
from networks import bits
from ranks import Communicator, on_ranks

import cnnx
from cnnx import Conv3x3, Dense, GlobalAveragePool, MaxPool2, ReLU, Sequential, Softmax

pytestmark = pytest.mark.skipif(
    platform.machine() not in {"x86_64", "AMD64", "aarch64", "arm64"}, reason="this machine always computes with them"
)
FLOAT32 = {"dtype": np.float32}


@pytest.mark.parametrize("kind", [cnnx.Adam, lambda rate: cnnx.SGD(rate, momentum=0.9)], ids=["adam", "momentum"])
@pytest.mark.parametrize("loop", ["fit", "apply"])
def test_the_momentum_of_weights_without_a_gradient_ends_at_0(rng, kind, loop):
    """Otherwise rounding would keep it at a few times the smallest number."""
    network = Sequential([Dense(16, 30, rng=rng, **FLOAT32), ReLU(), Softmax(30, 3, rng=rng, **FLOAT32)])
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


@pytest.mark.parametrize("batch_size", [1, 2])
def test_subnormal_weights_become_0(dtype, rng, batch_size):
    network = Sequential([Softmax(16, 3, dtype=dtype, rng=rng)])
    network.layers[0].weights[...] = np.finfo(dtype).smallest_subnormal
    network.fit(np.zeros((4, 4, 4), dtype), np.zeros(4, int), epochs=1, batch_size=batch_size, learn_rate=0.1)
    assert not network.layers[0].weights.any()


@pytest.mark.parametrize("threads", [2, 3])
def test_every_thread_counts_them_as_0(rng, threads):
    images, labels = rng.random((64, 16, 16), np.float32), rng.integers(0, 3, 64)
    ends = []
    for used in (1, threads):
        convs = Conv3x3(8, 1, rng=1, **FLOAT32), Conv3x3(8, 8, rng=2, **FLOAT32)
        layers = [convs[0], ReLU(), convs[1], ReLU(), MaxPool2(), Softmax(6 * 6 * 8, 3, rng=3, **FLOAT32)]
        network, optimizer = Sequential(layers), cnnx.SGD(0.1, momentum=0.9)
        tiny = np.full(64, 1e-37)  # gradients are about as small
        network.fit(
            images, labels, epochs=2, batch_size=32, optimizer=optimizer, sample_weight=tiny, threads=used, rng=1
        )
        ends.append((bits(network), [state.tobytes() for state in optimizer.states()]))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("scale", [1e-37, 3e-38])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_training_on_tiny_filters_goes_on_with_the_same_bits(rng, tmp_path, batch_size, scale):
    """Their transforms have numbers that are smaller still."""
    images, labels = rng.random((16, 10, 10, 32), np.float32), rng.integers(0, 3, 16)

    def train(**options):
        conv, softmax = Conv3x3(32, 32, rng=1, **FLOAT32), Softmax(32, 3, rng=2, **FLOAT32)
        conv.filters *= np.float32(scale)
        softmax.weights /= np.float32(scale)
        conv.trainable = False
        network = Sequential([conv, ReLU(), GlobalAveragePool(), softmax])
        history = network.fit(images, labels, batch_size=batch_size, learn_rate=1e-3, rng=1, **options)
        return bits(network), history.losses.tobytes()

    whole = train(epochs=2, checkpoint=tmp_path / "whole")
    train(epochs=1, checkpoint=tmp_path / "run")
    assert train(epochs=2, checkpoint=tmp_path / "run", resume=tmp_path / "run") == whole


@pytest.mark.parametrize("threads", [1, 2])
def test_python_computes_with_them(rng, threads):
    """Also in the methods of a communicator, which the core calls in a step, and after the training."""
    images, labels, found = rng.random((40, 12, 12)), rng.integers(0, 4, 40), []

    def half():
        return np.finfo(np.float32).smallest_normal / np.float32(2)

    def body(comm):
        def send(*arguments):
            found.append(half())
            return Communicator.Isend(comm, *arguments)

        comm.Isend = send
        network = Sequential([Conv3x3(4, 1, rng=1), GlobalAveragePool(), Softmax(4, 4, rng=2)])
        network.fit(images, labels, epochs=1, batch_size=20, optimizer=cnnx.SGD(0.1), rng=3, comm=comm, threads=threads)
        return half()

    assert min(*on_ranks(2, body), *found) > 0
    assert len(found) > 4
