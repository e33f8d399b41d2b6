"""GlobalAveragePool is the mean over height and width, by hand, in a network and in a file."""

import numpy as np
import pytest
from stacks import IMAGE, stack
from tolerances import assert_close, assert_is_derivative, assert_same_bits, central_difference
from twins import LANE_EDGES, uniform

import cnnx
from cnnx import GlobalAveragePool, Sequential, Softmax, reference

SHAPES = [(1, 1, 1), (1, 7, 3), (6, 1, 2), *((5, 4, channels) for channels in LANE_EDGES)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_passes_are_the_reference_s(dtype, rng, shape):
    compiled, plain = GlobalAveragePool(), reference.GlobalAveragePool()
    image, gradient = uniform(rng, shape, dtype), uniform(rng, shape[2], dtype)
    assert_close(compiled.forward(image), plain.forward(image), terms=shape[0] * shape[1])
    assert_close(compiled.backprop(gradient), plain.backprop(gradient), terms=1)


def test_its_gradient_is_the_derivative(layers, rng):
    image, weights = uniform(rng, (3, 4, 5)), uniform(rng, 5)
    layer = layers.GlobalAveragePool()
    numeric = central_difference(lambda: layer.forward(image) @ weights, image)
    assert_is_derivative(layer.backprop(weights), numeric, terms=12)


def test_a_constant_channel_is_its_own_mean(dtype):
    image = np.full((4, 8, 3), [0.25, -2, 7], dtype)
    assert_same_bits(GlobalAveragePool().forward(image), np.array([0.25, -2, 7], dtype))


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (4, 4, 0)], ids=str)
def test_nothing_has_no_mean(shape):
    with pytest.raises(ValueError, match=r"^input: expected at least one value .*got"):
        GlobalAveragePool().forward(np.ones(shape))


def test_a_network_refuses_it_on_an_image_without_channels():
    network = Sequential([GlobalAveragePool(), Softmax(1, 2)])
    with pytest.raises(
        ValueError, match=r"^layers\[0\] \(GlobalAveragePool\): expected input \(height, width, channels\)"
    ):
        network.predict(np.ones((6, 5)))


def test_a_saved_network_has_it(tmp_path, rng):
    network = Sequential(stack(cnnx, "conv:4 average softmax:3"))
    network.save(tmp_path / "network.npz")
    images = rng.integers(0, 256, (3, *IMAGE), np.uint8)
    assert_same_bits(cnnx.load(tmp_path / "network.npz").predict(images), network.predict(images))
