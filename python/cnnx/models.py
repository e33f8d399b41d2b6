"""Networks that are ready to be trained."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from . import _checks
from ._random import Rng, generator
from .layers import Conv3x3, Dropout, Layer, MaxPool2, ReLU, Softmax
from .network import Sequential

__all__ = ["article_cnn", "deep_convnet", "keras_convnet", "small_convnet"]


def article_cnn(
    *,
    dtype: DTypeLike = np.float64,
    ties: Literal["all", "first"] = "all",
    rng: Rng = None,
    image_shape: tuple[int, int] = (28, 28),
    nodes: int = 10,
) -> Sequential:
    """Return the article's CNN: Conv3x3 with 8 filters, MaxPool2 and Softmax; 13,602 parameters for MNIST.

    It is from the article's Part 1, section 5.3, "Implementing Softmax", and is trained in Part 2, section 6, "Training
    a CNN".

    Args:
        dtype: float64 or float32, of all layers.
        ties: which of several equal pixels receive a gradient, as in `MaxPool2`.
        rng: draws the initial values, in the article's order: a Generator, a seed, or None for numpy's global one.
        image_shape: (height, width) of the images, at least 4x4. The article's are 28x28.
        nodes: how many classes there are.

    Raises:
        TypeError: `image_shape` is not a height and a width.
        ValueError: `image_shape` is too small.
    """
    image_shape = _checks.height_and_width("image_shape", image_shape)
    height, width = ((size - 2) // 2 for size in image_shape)
    if height < 1 or width < 1:
        raise ValueError(f"image_shape: expected at least 4x4 pixels, got {image_shape}")
    rng = generator(rng)
    conv = Conv3x3(8, dtype=dtype, rng=rng)
    softmax = Softmax(height * width * 8, nodes, dtype=dtype, rng=rng)
    return _for_images(image_shape, [conv, MaxPool2(ties=ties), softmax])


def keras_convnet(*, dtype: DTypeLike = np.float64, rng: Rng = None) -> Sequential:
    """Return Keras's MNIST convnet (F. Chollet, "Simple MNIST convnet"): 34,826 parameters, for 28x28 images.

    Convolutions with 32 and 64 filters, each followed by ReLU and 2x2 pooling; dropout of one half; a softmax over 10
    classes.

    Args:
        dtype: float64 or float32, of all layers.
        rng: draws the initial values, first layer first: a Generator, a seed, or None for numpy's global one.
    """
    rng = generator(rng)
    return _for_images(
        (28, 28),
        [
            Conv3x3(32, 1, dtype=dtype, rng=rng),
            ReLU(),
            MaxPool2(ties="first"),
            Conv3x3(64, 32, dtype=dtype, rng=rng),
            ReLU(),
            MaxPool2(ties="first"),
            Dropout(0.5),
            Softmax(5 * 5 * 64, 10, dtype=dtype, rng=rng),
        ],
    )


def small_convnet(*, dtype: DTypeLike = np.float64, rng: Rng = None) -> Sequential:
    """Return a network that reaches 99% on MNIST in little time: 12,810 parameters, for 28x28 images.

    Convolutions with 16 and 32 filters, each followed by 2x2 pooling and ReLU; a softmax over 10 classes.

    Args:
        dtype: float64 or float32, of all layers.
        rng: draws the initial values, first layer first: a Generator, a seed, or None for numpy's global one.
    """
    rng = generator(rng)
    return _for_images(
        (28, 28),
        [
            Conv3x3(16, 1, dtype=dtype, rng=rng),
            MaxPool2(ties="first"),
            ReLU(),
            Conv3x3(32, 16, dtype=dtype, rng=rng),
            MaxPool2(ties="first"),
            ReLU(),
            Softmax(5 * 5 * 32, 10, dtype=dtype, rng=rng),
        ],
    )


def deep_convnet(*, dtype: DTypeLike = np.float64, rng: Rng = None) -> Sequential:
    """Return a network that recognises the most digits: 141,130 parameters, for 28x28 images.

    A convolution with 32 filters, 2x2 pooling, two convolutions with 64 filters, 2x2 pooling, a convolution with 128
    filters, each convolution followed by ReLU; dropout of 0.4; a softmax over 10 classes.

    Args:
        dtype: float64 or float32, of all layers.
        rng: draws the initial values, first layer first: a Generator, a seed, or None for numpy's global one.
    """
    rng = generator(rng)
    return _for_images(
        (28, 28),
        [
            Conv3x3(32, 1, dtype=dtype, rng=rng),
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
            Softmax(3 * 3 * 128, 10, dtype=dtype, rng=rng),
        ],
    )


def _for_images(image_shape: tuple[int, int], layers: list[Layer]) -> Sequential:
    network = Sequential(layers)
    network.image_shape = image_shape
    return network
