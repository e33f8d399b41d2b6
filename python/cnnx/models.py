"""Networks that are ready to train."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from .layers import Conv3x3, MaxPool2, Softmax
from .network import Sequential

__all__ = ["article_cnn"]


def article_cnn(
    *,
    dtype: DTypeLike = np.float64,
    ties: Literal["all", "first"] = "all",
    rng: np.random.Generator | None = None,
    image_shape: tuple[int, int] = (28, 28),
    nodes: int = 10,
) -> Sequential:
    """Return the article's CNN: Conv3x3 with 8 filters, MaxPool2, Softmax; 13,602 parameters for MNIST.

    Args:
        dtype: float64 or float32.
        ties: as in `MaxPool2`.
        rng: draws the initial values, in the article's order; None takes numpy's global generator.
        image_shape: (height, width), at least 4x4; the article's images are 28x28.
        nodes: how many classes.
    """
    height, width = ((size - 2) // 2 for size in image_shape)
    if height < 1 or width < 1:
        raise ValueError(f"image_shape: expected at least 4x4 pixels, got {image_shape}")
    conv = Conv3x3(8, dtype=dtype, rng=rng)
    return Sequential([conv, MaxPool2(ties=ties), Softmax(height * width * 8, nodes, dtype=dtype, rng=rng)])
