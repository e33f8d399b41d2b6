"""What each layer of a network gives for one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _images
from ._checks import FloatArray
from .layers import Layer


def activations(layers: Sequence[Layer], image: Any, dtype: np.dtype[Any]) -> dict[str, FloatArray]:
    """Return the outputs of all layers, in order, for one checked image. No layer remembers it.

    Args:
        layers: the layers of the network.
        image: (height, width), uint8 or `dtype`.
        dtype: what the layers compute in.
    """
    value: FloatArray = image
    if image.dtype == _images.UINT8:
        value = (image / 255 - 0.5).astype(dtype)
    else:
        _images.pixel_range(image[np.newaxis], 1)
    outputs = {}
    for position, layer in enumerate(layers):
        value = outputs[f"{position} {layer.kind}"] = layer.forgetful().forward(value)
    return outputs
