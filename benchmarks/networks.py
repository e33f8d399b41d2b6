"""The networks that cnnx and its peers are timed on. A peer's Python may have no cnnx: this file needs numpy alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
CLASSES = 10


class Case(NamedTuple):
    """A network and how it is trained.

    Layers are "conv 8", "same 8" (a convolution with padding), "norm" (batch normalisation), "pool", "relu", "dropout"
    (of one half) and "dense 128"; a softmax over ten classes follows them. Images are squares of `side` pixels with
    `channels`. `bias` is of the convolutions. `adam` is the optimizer; otherwise it is plain gradient descent. The
    first `checked` steps are verified.
    """

    layers: list[str]
    side: int = 28
    bias: bool = True
    batch: int = 64
    adam: bool = True
    learn_rate: float = 1e-4
    checked: int = 2
    channels: int = 1

    def to_verify(self) -> "Case":
        """Return the case that is verified: numpy is slow, and libraries drop different values."""
        return self._replace(layers=[layer for layer in self.layers if layer != "dropout"], batch=min(self.batch, 8))


ARTICLE = Case(["conv 8", "pool"], bias=False, batch=1, adam=False, learn_rate=0.005, checked=200)
CONVNET = Case(
    ["conv 32", "relu", "pool", "conv 64", "relu", "pool", "dropout"], batch=128, learn_rate=1e-3, checked=20
)
NORMALISED = CONVNET._replace(
    layers=["conv 32", "norm", "relu", "pool", "conv 64", "norm", "relu", "pool", "dropout"], bias=False, batch=64
)
COLOUR = Case(["conv 16", "relu", "pool", "conv 32", "relu", "pool"], 32, learn_rate=1e-3, checked=20, channels=3)

Shape = tuple[int, int, int]


def walk(case: Case) -> Iterator[tuple[str, int, Shape, Shape]]:
    """Yield each layer's kind and number, and the shapes that it takes and gives: (height, width, channels)."""
    shape = (case.side, case.side, case.channels)
    for layer in [*case.layers, f"dense {CLASSES}"]:
        kind, _, text = layer.partition(" ")
        taken, number = shape, int(text or 0)
        if kind == "conv":
            shape = (shape[0] - 2, shape[1] - 2, number)
        elif kind == "same":
            shape = (*shape[:2], number)
        elif kind == "dense":
            shape = (1, 1, number)
        elif kind == "pool":
            shape = (shape[0] // 2, shape[1] // 2, shape[2])
        yield kind, number, taken, shape


def multiplications(case: Case) -> tuple[int, int]:
    """Return the multiplications of a prediction and of a training step. The image's own gradient is not computed."""
    forward = backward = 0
    for position, (kind, number, taken, given) in enumerate(walk(case)):
        count = 0
        if kind in ("conv", "same"):
            count = 9 * taken[2] * int(np.prod(given))
        elif kind == "dense":
            count = int(np.prod(taken)) * number
        forward += count
        backward += count if position == 0 else 2 * count
    return forward, forward + backward


def rounding_of_norms(case: Case) -> float:
    """Return how far float32 may move the mean of a channel, as a share of the values' mean magnitude.

    A sum of n numbers, one after another, is off by at most n · 2⁻²⁴ of the sum of their magnitudes (Higham 2002,
    section 4.2); n is `batch · height · width`, the most of any "norm" (0 without one). PyTorch adds like this, each
    thread its part of the batch, so it errs most with one thread.
    """
    return (
        max((case.batch * given[0] * given[1] for kind, _, _, given in walk(case) if kind == "norm"), default=0) / 2**24
    )


class Problem(NamedTuple):
    """A case with its images, labels, and the parameters to begin from.

    `images` (n, side, side) or (n, side, side, channels) are uint8 or float32, `labels` (n,) uint8. Parameters are in
    the layers' order and in cnnx's layouts: filters (filters, 3, 3, channels) and biases, weights (inputs, nodes),
    whose rows run over (row, column, channel), and biases.
    """

    case: Case
    images: Array
    labels: Array
    parameters: list[Array]

    def save(self, path: Path) -> None:
        """Write the problem where every process can read it."""
        parameters = {f"p{position}": array for position, array in enumerate(self.parameters)}
        np.savez(path, case=json.dumps(self.case), images=self.images, labels=self.labels, **parameters)

    @classmethod
    def load(cls, path: str) -> "Problem":
        """Read a problem that `save` wrote."""
        with np.load(path) as arrays:
            parameters = [arrays[name] for name in arrays.files if name.startswith("p")]
            return cls(Case(*json.loads(str(arrays["case"]))), arrays["images"], arrays["labels"], parameters)

    def scaled(self, dtype: str = "float32") -> Array:
        """Return the images as floats in the same shape: bytes as x / 255 − 0.5."""
        if self.images.dtype != np.uint8:
            return self.images.astype(dtype)
        return (np.arange(256) / 255 - 0.5).astype(dtype)[self.images]

    def channels_first(self) -> list[Array]:
        """Return the parameters in float32, for libraries that put the channel before row and column."""
        arrays = iter(self.parameters)
        found = []
        for kind, number, taken, _ in walk(self.case):
            if kind in ("conv", "same"):
                found.append(next(arrays).transpose(0, 3, 1, 2))
                found += [next(arrays)] if self.case.bias else []
            elif kind == "norm":
                found += [next(arrays), next(arrays)]
            elif kind == "dense":
                found += [next(arrays).reshape(*taken, number).transpose(2, 0, 1, 3).reshape(-1, number), next(arrays)]
        return [np.ascontiguousarray(array, "float32") for array in found]
