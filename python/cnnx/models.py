"""Networks that are ready to be trained, for MNIST or for images of another size and other classes."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from . import _checks, _stack
from ._random import Rng, generator
from .layers import BatchNorm, Conv3x3, Dense, Dropout, Layer, MaxPool2, ReLU, Softmax
from .network import Sequential

__all__ = ["article_cnn", "batch_norm_convnet", "deep_convnet", "keras_convnet", "small_convnet"]


def article_cnn(
    *,
    dtype: DTypeLike = np.float64,
    ties: Literal["all", "first"] = "all",
    rng: Rng = None,
    image_shape: tuple[int, ...] = (28, 28),
    nodes: int = 10,
) -> Sequential:
    """Return the article's CNN: Conv3x3 with 8 filters, MaxPool2 and Softmax; 13,602 parameters for MNIST.

    It is from the article's Part 1, section 5.3, "Implementing Softmax", and is trained in Part 2, section 6, "Training
    a CNN". The article's images are grey; for channels, the initial filters are those of `Conv3x3` with `in_channels`.

    Args:
        dtype: float64 or float32, of all layers.
        ties: which of several equal pixels receive a gradient, as in `MaxPool2`.
        rng: draws the initial values, in the article's order: a Generator, a seed, or None for numpy's global one.
        image_shape: (height, width) or (height, width, channels) of the images, at least 4x4. The article's are 28x28.
        nodes: how many classes there are, at least 1.

    Raises:
        TypeError: `image_shape` is not two or three integers.
        ValueError: `image_shape` is too small, or `nodes` is less than 1.
    """
    image_shape, nodes = _task(image_shape, nodes, least=4)
    rng = generator(rng)
    in_channels = image_shape[2] if len(image_shape) == 3 else None
    layers = [Conv3x3(8, in_channels, use_bias=False, dtype=dtype, rng=rng), MaxPool2(ties=ties)]
    return _classifier(layers, image_shape, nodes, dtype, rng)


def keras_convnet(
    *, dtype: DTypeLike = np.float64, rng: Rng = None, image_shape: tuple[int, ...] = (28, 28), nodes: int = 10
) -> Sequential:
    """Return Keras's MNIST convnet (F. Chollet, "Simple MNIST convnet"): 34,826 parameters for MNIST.

    Convolutions with 32 and 64 filters, each followed by ReLU and 2x2 pooling; dropout of one half; a softmax.

    Args:
        dtype: float64 or float32, of all layers.
        rng: draws the initial values, first layer first: a Generator, a seed, or None for numpy's global one.
        image_shape: (height, width) or (height, width, channels) of the images, at least 10x10.
        nodes: how many classes there are, at least 1.

    Raises:
        TypeError: `image_shape` is not two or three integers.
        ValueError: `image_shape` is too small, or `nodes` is less than 1.
    """
    image_shape, nodes = _task(image_shape, nodes, least=10)
    rng = generator(rng)
    layers: list[Layer] = [
        Conv3x3(32, _channels(image_shape), dtype=dtype, rng=rng),
        ReLU(),
        MaxPool2(ties="first"),
        Conv3x3(64, 32, dtype=dtype, rng=rng),
        ReLU(),
        MaxPool2(ties="first"),
        Dropout(0.5),
    ]
    return _classifier(layers, image_shape, nodes, dtype, rng)


def small_convnet(
    *, dtype: DTypeLike = np.float64, rng: Rng = None, image_shape: tuple[int, ...] = (28, 28), nodes: int = 10
) -> Sequential:
    """Return a network that reaches 99% on MNIST in little time, with 12,810 parameters.

    Convolutions with 16 and 32 filters, each followed by 2x2 pooling and ReLU; a softmax.

    Args:
        dtype: float64 or float32, of all layers.
        rng: draws the initial values, first layer first: a Generator, a seed, or None for numpy's global one.
        image_shape: (height, width) or (height, width, channels) of the images, at least 10x10.
        nodes: how many classes there are, at least 1.

    Raises:
        TypeError: `image_shape` is not two or three integers.
        ValueError: `image_shape` is too small, or `nodes` is less than 1.
    """
    image_shape, nodes = _task(image_shape, nodes, least=10)
    rng = generator(rng)
    layers: list[Layer] = [
        Conv3x3(16, _channels(image_shape), dtype=dtype, rng=rng),
        MaxPool2(ties="first"),
        ReLU(),
        Conv3x3(32, 16, dtype=dtype, rng=rng),
        MaxPool2(ties="first"),
        ReLU(),
    ]
    return _classifier(layers, image_shape, nodes, dtype, rng)


def deep_convnet(
    *, dtype: DTypeLike = np.float64, rng: Rng = None, image_shape: tuple[int, ...] = (28, 28), nodes: int = 10
) -> Sequential:
    """Return a network that recognises the most digits of MNIST, with 141,130 parameters.

    A convolution with 32 filters, 2x2 pooling, two convolutions with 64 filters, 2x2 pooling, a convolution with 128
    filters, each convolution followed by ReLU; dropout of 0.4; a softmax.

    Args:
        dtype: float64 or float32, of all layers.
        rng: draws the initial values, first layer first: a Generator, a seed, or None for numpy's global one.
        image_shape: (height, width) or (height, width, channels) of the images, at least 18x18.
        nodes: how many classes there are, at least 1.

    Raises:
        TypeError: `image_shape` is not two or three integers.
        ValueError: `image_shape` is too small, or `nodes` is less than 1.
    """
    image_shape, nodes = _task(image_shape, nodes, least=18)
    rng = generator(rng)
    layers: list[Layer] = [
        Conv3x3(32, _channels(image_shape), dtype=dtype, rng=rng),
        ReLU(),
        MaxPool2(ties="first"),
        Conv3x3(64, 32, padding="same", dtype=dtype, rng=rng),
        ReLU(),
        Conv3x3(64, 64, dtype=dtype, rng=rng),
        ReLU(),
        MaxPool2(ties="first"),
        Conv3x3(128, 64, dtype=dtype, rng=rng),
        ReLU(),
        Dropout(0.4),
    ]
    return _classifier(layers, image_shape, nodes, dtype, rng)


def batch_norm_convnet(
    *, dtype: DTypeLike = np.float64, rng: Rng = None, image_shape: tuple[int, ...] = (28, 28), nodes: int = 10
) -> Sequential:
    """Return a network with batch normalisation for harder images, such as Fashion-MNIST, with 242,026 parameters.

    Convolutions with 32, 64 and 128 filters and padding "same", each followed by 2x2 pooling, BatchNorm and ReLU;
    dropout of 0.1; a dense layer with 128 nodes, BatchNorm and ReLU; a softmax. A norm comes after the pooling because
    a quarter of the values are left there. The last norm has one value of each node in an image, so every batch needs
    at least two images.

    Args:
        dtype: float64 or float32, of all layers.
        rng: draws the initial values, first layer first: a Generator, a seed, or None for numpy's global one.
        image_shape: (height, width) or (height, width, channels) of the images, at least 8x8.
        nodes: how many classes there are, at least 1.

    Raises:
        TypeError: `image_shape` is not two or three integers.
        ValueError: `image_shape` is too small, or `nodes` is less than 1.
    """
    image_shape, nodes = _task(image_shape, nodes, least=8)
    rng = generator(rng)
    layers: list[Layer] = []
    channels = _channels(image_shape)
    for filters in (32, 64, 128):
        layers += [
            Conv3x3(filters, channels, use_bias=False, padding="same", dtype=dtype, rng=rng),
            MaxPool2(ties="first"),
            BatchNorm(filters, dtype=dtype),
            ReLU(),
        ]
        channels = filters
    shapes, _ = _stack.sizes(layers, image_shape)
    hidden = Dense(math.prod(shapes[-1]), 128, dtype=dtype, rng=rng)
    return _classifier(
        [*layers, Dropout(0.1), hidden, BatchNorm(128, dtype=dtype), ReLU()], image_shape, nodes, dtype, rng
    )


def _task(image_shape: tuple[int, ...], nodes: int, least: int) -> tuple[tuple[int, ...], int]:
    """Check the images' size and the number of classes before random numbers are drawn.

    `least` is the height and width of the smallest image that leaves a value to the softmax.
    """
    return _checks.image_shape("image_shape", image_shape, least), _checks.positive_integer("nodes", nodes)


def _channels(image_shape: tuple[int, ...]) -> int:
    return image_shape[2] if len(image_shape) == 3 else 1


def _classifier(
    layers: list[Layer], image_shape: tuple[int, ...], nodes: int, dtype: DTypeLike, rng: np.random.Generator | None
) -> Sequential:
    """Return the layers and a softmax over all values that they make of an image."""
    shapes, _ = _stack.sizes(layers, image_shape)
    network = Sequential([*layers, Softmax(math.prod(shapes[-1]), nodes, dtype=dtype, rng=rng)])
    network.image_shape = image_shape
    return network
