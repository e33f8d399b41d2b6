"""Networks and images to hold a network's loops against its layers."""

import functools

import numpy as np
from tolerances import assert_is_derivative, central_difference
from twins import buffers, parameters

import cnnx
from cnnx import Sequential


class Plain(Sequential):
    """A network that fuses nothing."""

    _fuse = False


@functools.cache
def sample():
    """Return the digits that come with the package, which nobody may change."""
    digits = cnnx.data.load()
    for array in digits:
        array.flags.writeable = False
    return digits


def blocks(values):
    """Return images of blocks of 7 equal pixels from (n, h, w) values: many patches are constant, others are not."""
    _, height, width = values.shape
    enlarged = values.repeat(7, axis=1).repeat(7, axis=2)
    return enlarged[:, 3 : 3 + height, 4 : 4 + width].copy()


def some_constant(rng, images):
    """Return the images, but about a third of them has the colour of its first pixel all over."""
    return np.where(rng.random((len(images), 1, 1)) < 1 / 3, images[:, :1, :1], images)


def cropped_digits(shape):
    count, height, width = shape
    top, left = (28 - height) // 2, (28 - width) // 2
    return sample().train_images[:count, top : top + height, left : left + width].copy()


def with_lone_corner(images):
    """Return the images with a first pixel that no other has, so that nothing looks like it."""
    images[:, 0, 0] = 99
    return images


IMAGES = {
    "random bytes": lambda rng, shape: rng.integers(0, 256, shape, np.uint8),
    "random bytes, some constant": lambda rng, shape: some_constant(rng, IMAGES["random bytes"](rng, shape)),
    "blocks of bytes": lambda rng, shape: blocks(rng.choice(np.array([0, 37, 128, 255], np.uint8), shape)),
    "blocks with a lone corner": lambda rng, shape: with_lone_corner(IMAGES["blocks of bytes"](rng, shape)),
    "few pixels": lambda rng, shape: rng.integers(1, 256, shape, np.uint8) * (rng.random(shape) < 0.04),
    "constant bytes": lambda rng, shape: np.full(shape, rng.integers(0, 256, (shape[0], 1, 1), np.uint8)),
    "digits": lambda _, shape: cropped_digits(shape),
    "blocks of float32": lambda rng, shape: blocks(rng.integers(-2, 3, shape).astype(np.float32) / 4),
    "random float64": lambda rng, shape: rng.uniform(-1, 1, shape),
}


def three_layers(module, size, dtype=np.float64, ties="all"):
    """Return Conv3x3, MaxPool2 and Softmax of a size, with the same values from either module."""
    height, width, filters, nodes = size
    rng = np.random.default_rng(3)
    inputs = (height - 2) // 2 * ((width - 2) // 2) * filters
    conv = module.Conv3x3(filters, dtype=dtype, rng=rng)
    return [conv, module.MaxPool2(ties=ties), module.Softmax(inputs, nodes, dtype=dtype, rng=rng)]


def small_problem(dtype=np.float64, count=12):
    """Return a network and `count` images and labels for it."""
    rng = np.random.default_rng(5)
    network = Sequential(three_layers(cnnx, (7, 8, 5, 4), dtype))
    return network, IMAGES["blocks of bytes"](rng, (count, 7, 8)), rng.integers(0, 4, count)


def as_floats(images, dtype):
    return (images / 255 - 0.5 if images.dtype == np.uint8 else images).astype(dtype)


def forward_by_hand(layers, image):
    for layer in layers:
        image = layer.forward(image)
    return image


def bits(network):
    """Return every parameter and buffer of a network in one string of bytes."""
    arrays = ({**parameters(layer), **buffers(layer)} for layer in network.layers)
    return b"".join(values.tobytes() for of_layer in arrays for values in of_layer.values())


def arrays_of(network):
    return [values for layer in network.layers for values in parameters(layer).values()]


def assert_slices(network):
    """Assert that the layers' arrays are all of `network.parameters`, in order."""
    flat, at = network.parameters, 0
    assert flat.flags.carray
    assert flat.ndim == 1
    for values in arrays_of(network):
        assert values.ctypes.data == flat[at:].ctypes.data
        assert values.flags.c_contiguous
        assert values.dtype == flat.dtype
        at += values.size
    assert at == flat.size


def save_a_network(path):
    small_problem()[0].save(path)


def assert_gradient_is_derivative(network, images, labels, some, least=1e-2, **options):
    """Assert that `network.gradients` is the derivative of its loss, at the indices `some` of its parameters.

    One of these derivatives must be larger than `least`, so that a gradient of zeros fails.
    """
    values = network.parameters

    def loss_of(chosen):
        values[some] = chosen
        return network.gradients(images, labels, rng=4, **options)[0]  # the same values drop each time

    chosen = values[some].copy()
    numeric = central_difference(lambda: loss_of(chosen), chosen)
    loss_of(chosen)
    assert np.abs(numeric).max() > least
    assert_is_derivative(network.gradient[some], numeric, terms=1000)
