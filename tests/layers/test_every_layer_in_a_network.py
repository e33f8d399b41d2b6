"""Every layer of `cases.py` in a network: predicted, differentiated, fused, shared by threads, saved and loaded."""

import math

import numpy as np
import pytest
from cases import CASES, every_case
from networks import Plain, as_floats, assert_gradient_is_derivative, bits, forward_by_hand
from pairwise import pairwise
from tolerances import assert_close, assert_same_bits, assert_same_loss
from twins import DTYPES, parameters, uniform

import cnnx
from cnnx import Sequential, reference


def row_of(case, module=cnnx, dtype=np.float64):
    """Return layers for images, one of them the case's: a convolution makes the channels that it needs."""
    rng, shape = np.random.default_rng(3), case.input_shape
    first = [module.Conv3x3(shape[2], 1, padding="same", dtype=dtype, rng=rng)] if len(shape) == 3 else []
    layer = case.make(module, dtype, rng)
    last = [] if case.kind == "Softmax" else [module.Softmax(math.prod(case.output_shape), 4, dtype=dtype, rng=rng)]
    row = [*first, layer, *last]
    for one in row:
        for values in parameters(one).values():
            values[...] = uniform(rng, values.shape, dtype)
    return row


def problem_of(case, rng, count=10):
    return rng.integers(0, 256, (count, *case.input_shape[:2]), np.uint8), rng.integers(0, 4, count)


@every_case()
@pytest.mark.usefixtures("target")
def test_a_network_predicts_what_the_twins_do(dtype, rng, case):
    network, twins = Sequential(row_of(case, cnnx, dtype)), row_of(case, reference, dtype)
    images, labels = problem_of(case, rng)
    expected = np.array([forward_by_hand(twins, image) for image in as_floats(images, dtype)])
    for count in (1, 10):  # few images and many take different kernels
        assert_close(network.predict(images[:count]), expected[:count], terms=400)
    loss, accuracy = network.evaluate(images, labels)
    assert_same_loss(loss, -np.log(expected[np.arange(10), labels]).mean(), dtype)
    assert accuracy == np.mean(expected.argmax(axis=1) == labels)


@every_case()
@pytest.mark.usefixtures("target")
def test_a_network_s_gradient_is_the_derivative_of_its_loss(rng, case):
    network, (images, labels) = Sequential(row_of(case)), problem_of(case, rng, 3)
    some = rng.permutation(network.parameters.size)[:25]
    assert_gradient_is_derivative(network, images, labels, some)


@pairwise(name=CASES, batch_size=[1, 4], dtype=DTYPES, target=cnnx.targets())
def test_a_network_trains_fused_as_it_does_plain_and_on_any_number_of_threads(rng, name, batch_size, dtype):
    case = CASES[name]
    images, labels = problem_of(case, rng)
    trained = []
    for kind, threads in ((Sequential, 1), (Sequential, 3), (Plain, 1)):
        network = kind(row_of(case, cnnx, dtype))
        np.random.seed(3)  # which values drop
        before = bits(network)
        options = {"epochs": 1, "learn_rate": 0.01, "batch_size": batch_size, "threads": threads, "shuffle": False}
        losses = network.fit(images, labels, **options).losses
        assert bits(network) != before
        trained.append((losses, network.parameters))
    for fused, shared, plain in zip(*trained, strict=True):
        assert_same_bits(shared, fused)
        assert_close(fused.astype(dtype), plain.astype(dtype), terms=400)


@every_case()
def test_a_saved_network_comes_back_with_it(tmp_path, dtype, rng, case):
    network, (images, _) = Sequential(row_of(case, cnnx, dtype)), problem_of(case, rng)
    network.save(tmp_path / "network.npz")
    loaded = cnnx.load(tmp_path / "network.npz")
    assert bits(loaded) == bits(network)
    for layer, original in zip(loaded.layers, network.layers, strict=True):
        assert type(layer) is type(original)
        assert layer.settings() == original.settings()
    assert_same_bits(loaded.predict(images), network.predict(images))
