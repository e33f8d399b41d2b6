"""Layers that do not fit together are refused at the first use, with their position and what helps."""

import numpy as np
import pytest
from networks import as_floats, bits, small_problem

from cnnx import Conv3x3, MaxPool2, Sequential, Softmax, reference


def soft(inputs, nodes=4, dtype=np.float64):
    return Softmax(inputs, nodes, dtype=dtype)


def after_forward(conv):
    """Return an article's convolution that has been used, and so takes no channels from the layer before it."""
    conv.forward(np.zeros((3, 3)))
    return conv


# Layers that do not take the images (12, 7, 8), and the message of the error
MISFITS = {
    "no layers": ([], r"^layers: expected Softmax, Dense or another layer .* at the end, got none$"),
    "an image at the end": (
        [Conv3x3(2)],
        r"^layers: expected Softmax, Dense or another layer with outputs \(nodes,\) at the end, "
        r"got Conv3x3 with outputs \(5, 6, 2\)$",
    ),
    "pooling an image": ([MaxPool2(), soft(12)], r"layers\[0\] \(MaxPool2\): expected .+, got \(7, 8\)$"),
    "two convolutions": (
        [Conv3x3(2), after_forward(Conv3x3(2)), soft(9)],
        r"layers\[1\] \(Conv3x3\): expected .+, got \(5, 6, 2\) \(Conv3x3\(2, in_channels=2\) takes it\)$",
    ),
    "too many inputs": ([Conv3x3(2), soft(61)], r"layers\[1\] \(Softmax\): expected .*\b61\b.+ got .*\(5, 6, 2\)$"),
    "unpooled": (
        [Conv3x3(2), MaxPool2(), soft(60)],
        r"layers\[2\] \(Softmax\): expected .*\b60\b.+ got .*\(2, 3, 2\)$",
    ),
    "pooled away": (
        [Conv3x3(2), *[MaxPool2()] * 3, soft(2)],
        r"layers\[4\] \(Softmax\): expected .+ got .*\(0, 0, 2\)",
    ),
    "two Softmax": ([soft(56), soft(4)], r"layers\[1\] \(Softmax\): expected .+, got"),
    "convolution after": ([soft(56), Conv3x3(2), soft(4)], r"layers\[1\] \(Conv3x3\): expected .+, got \(4,\)$"),
    "two dtypes": ([Conv3x3(2), soft(60, dtype=np.float32)], r"layers\[1\]: expected dtype float64.+, got float32$"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_layers_that_do_not_fit_are_refused_at_the_first_use_with_their_position(kind):
    row, message = MISFITS[kind]
    _, images, labels = small_problem()
    network = Sequential(row)
    before = bits(network)
    for pixels in (images, as_floats(images, np.float32)):
        for call in (
            lambda pixels=pixels: network.fit(pixels, labels, epochs=1, learn_rate=0.1),
            lambda pixels=pixels: network.evaluate(pixels, labels),
            lambda pixels=pixels: network.predict(pixels),
        ):
            with pytest.raises(ValueError, match=message):
                call()
    assert bits(network) == before


@pytest.mark.parametrize("layer", [reference.Conv3x3(2), "Conv3x3", None, Conv3x3], ids=lambda layer: str(layer)[:20])
def test_only_layers_are_layers(layer):
    with pytest.raises(TypeError, match=r"^layers\[1\]: expected a cnnx layer"):
        Sequential([soft(56), layer])
    network, images, _ = small_problem()
    network.layers[1] = layer
    with pytest.raises(TypeError, match=r"^layers\[1\]: expected a cnnx layer"):
        network.predict(images)
