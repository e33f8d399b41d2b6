"""Testing a network on several views of each image, and taking the mean of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _checks
from .network import Sequential

__all__ = ["KINDS", "evaluate"]

KINDS = ("moved", "mirrored")


def evaluate(
    network: Sequential, images: NDArray[np.uint8], labels: NDArray[Any], kind: str, threads: int | None
) -> tuple[float, float]:
    """Return loss and accuracy of the mean answer for all views of each image.

    The mean is that of the totals before the softmax, so its probabilities are the geometric mean of the views'.

    Args:
        network: ends in a `Softmax`.
        images: (n, height, width) or (n, height, width, channels).
        labels: integers (n,).
        kind: "moved" for the image as it is, and one pixel up, down, left and right, with zeros from outside;
            "mirrored" for the image as it is, and its mirror image.
        threads: as in `Sequential.predict`.
    """
    answers = [network.predict(view, threads=threads).astype(np.float64) for view in _views(images, kind)]
    labels = _checks.labels(labels, len(images), answers[0].shape[1])
    least = np.finfo(np.float64).tiny  # the logarithm of a probability that is too small for its dtype
    totals = np.mean([np.log(np.maximum(answer, least)) for answer in answers], axis=0)
    losses = np.log(np.exp(totals).sum(axis=1)) - totals[np.arange(len(labels)), labels]
    return float(losses.mean()), float(np.mean(totals.argmax(axis=1) == labels))


def _views(images: NDArray[np.uint8], kind: str) -> Iterator[NDArray[np.uint8]]:
    yield images
    if kind == "mirrored":
        yield np.ascontiguousarray(images[:, :, ::-1])
        return
    for axis in (1, 2):
        for there, back in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            view = np.zeros_like(images)
            view.swapaxes(1, axis)[:, there] = images.swapaxes(1, axis)[:, back]
            yield view
