"""Networks that are ready to train."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

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
    """Return the article's CNN: Conv3x3 with 8 filters, MaxPool2, Softmax; 13,602 parameters for MNIST.

    Args:
        dtype: float64 or float32.
        ties: as in `MaxPool2`.
        rng: draws the initial values, in the article's order: a Generator, a seed, or None for numpy's global one.
        image_shape: (height, width), at least 4x4; the article's images are 28x28.
        nodes: how many classes.
    """
    height, width = ((size - 2) // 2 for size in image_shape)
    if height < 1 or width < 1:
        raise ValueError(f"image_shape: expected at least 4x4 pixels, got {image_shape}")
    rng = generator(rng)
    conv = Conv3x3(8, dtype=dtype, rng=rng)
    softmax = Softmax(height * width * 8, nodes, dtype=dtype, rng=rng)
    return _for_images(image_shape, [conv, MaxPool2(ties=ties), softmax])


def keras_convnet(*, dtype: DTypeLike = np.float64, rng: Rng = None) -> Sequential:
    """Return Keras's MNIST convnet ("Simple MNIST convnet", F. Chollet): 34,826 parameters, for images 28x28.

    32 and 64 filters, each with ReLU and 2x2 pooling, dropout of one half, and a softmax over 10 classes.

    Args:
        dtype: float64 or float32.
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
    """Return the network for the fastest 99% on MNIST: 12,810 parameters, for images 28x28.

    16 and 32 filters, each pooled and rectified, and a softmax over 10 classes.

    Args:
        dtype: float64 or float32.
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
    """Return the network for the most digits right: 141,130 parameters, for images 28x28.

    32 filters, pooling, twice 64, pooling, and 128, all with ReLU; dropout, and a softmax over 10 classes.

    Args:
        dtype: float64 or float32.
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
