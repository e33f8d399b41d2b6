"""Layers in a row, trained, tested and applied by the core's own loops.

A network computes what its layers compute one by one, to rounding, without returning to Python between the steps: the
article's "Training a CNN" in one call. The layers' numpy arrays stay the truth: training updates them in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core
from ._checks import FloatArray
from .layers import Layer, Softmax

__all__ = ["History", "Progress", "Sequential"]

_UINT8 = np.dtype(np.uint8)
_IMAGES_PER_THREAD = 256  # fewer are done before another thread has started


class Progress(NamedTuple):
    """What `Sequential.fit` reports of a window of steps.

    Attributes:
        epoch: from 1.
        step: the last step of the window, from 1 in each epoch.
        loss: the mean over the window's steps, in nats.
        accuracy: the share of the window's samples that were recognised before the step on them.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class History:
    """What every step of `Sequential.fit` came to, in the order of the steps.

    Attributes:
        losses: float64 (epochs * n,), the cross-entropy of each sample before the step on it, in nats.
        correct: bool (epochs * n,), whether its label had the largest probability.
    """

    losses: NDArray[np.float64]
    correct: NDArray[np.bool_]


class Sequential:
    """Layers in a row: an image enters the first, probabilities leave the last.

    The row is a Conv3x3, any number of MaxPool2, and a Softmax; or a Softmax alone. Layers that do not fit together, or
    of different dtypes, are refused at the first use, with the layer's position.

    Args:
        layers: the layers; they may also be used by hand, before and after.

    Attributes:
        layers: the list of them.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = list(layers)
        self._check_kinds()
        self._plan: tuple[tuple[Any, ...], Any] = ((), None)  # what it was made for, and the core's network

    def fit(
        self,
        images: NDArray[Any],
        labels: NDArray[Any],
        *,
        epochs: int,
        learn_rate: float,
        shuffle: bool = True,
        rng: np.random.Generator | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        progress_every: int = 100,
    ) -> History:
        """Train by gradient descent on the cross-entropy loss, one image at a time, as the article does.

        Ctrl-C takes effect at the end of a window of `progress_every` steps: the parameters are those after its last
        step, and KeyboardInterrupt is raised.

        Args:
            images: (n, height, width), n at least 1: uint8, read as x / 255 - 0.5, or floats, used as they are.
            labels: integers (n,), 0 to nodes - 1.
            epochs: how often to go through all the images, at least 1.
            learn_rate: the step of gradient descent, finite and at least 0.
            shuffle: whether each epoch takes the images in an order of its own.
            rng: draws that order; None takes numpy's global generator, as the article does.
            on_progress: called at the end of each window.
            progress_every: how many steps a window has, at least 1; an epoch's last one may have fewer.

        Returns:
            The loss of every step, and whether the image was recognised.

        Raises:
            TypeError, ValueError: an argument is not as described, or the layers do not fit; nothing has changed.
        """
        images = self._images(images)
        labels = _labels(labels, len(images), self._nodes())
        epochs = _checks.positive_integer("epochs", epochs)
        window = _checks.positive_integer("progress_every", progress_every)
        rate = _checks.learn_rate(learn_rate)
        if on_progress is not None and not callable(on_progress):
            raise TypeError(f"on_progress: expected a callable or None, got {type(on_progress).__name__}")
        permutation = (_checks.generator(rng) or np.random).permutation
        plan = self._network(images)

        count = len(images)
        losses, correct = np.empty(epochs * count), np.empty(epochs * count, np.bool_)
        for epoch in range(epochs):
            order = np.asarray(permutation(count) if shuffle else np.arange(count), np.int64)
            for start in range(0, count, window):
                stop = min(start + window, count)
                steps = slice(epoch * count + start, epoch * count + stop)
                plan.train(images, labels, order[start:stop], rate, losses[steps], correct[steps])
                if on_progress is not None:
                    mean_loss, accuracy = float(losses[steps].mean()), float(correct[steps].mean())
                    on_progress(Progress(epoch + 1, stop, mean_loss, accuracy))
                    plan = self._network(images)
        return History(losses, correct)

    def evaluate(
        self, images: NDArray[Any], labels: NDArray[Any], *, threads: int | None = None
    ) -> tuple[float, float]:
        """Return the mean cross-entropy loss in nats and the share of images recognised, without training.

        Args:
            images: as in `fit`.
            labels: as in `fit`.
            threads: how many threads share the images, at least 1; None uses the CPUs that this process may use. The
                result does not depend on it.
        """
        images = self._images(images)
        labels = _labels(labels, len(images), self._nodes())
        losses, correct = self._network(images).evaluate(images, labels, _thread_count(threads, len(images)))
        return float(losses.mean()), float(correct.mean())

    def predict(self, images: NDArray[Any], *, threads: int | None = None) -> FloatArray:
        """Return the probabilities of the classes, (n, nodes), or (nodes,) for one image (height, width).

        Args:
            images: (n, height, width) or (height, width), as in `fit`; n may be 0.
            threads: as in `evaluate`.
        """
        one = isinstance(images, np.ndarray) and images.ndim == 2
        images = self._images(images[np.newaxis] if one else images, least=0)
        probabilities: FloatArray = self._network(images).predict(images, _thread_count(threads, len(images)))
        return probabilities[0] if one else probabilities

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to the file `path`, which appears whole or not at all; `cnnx.load` reads it."""
        from .storage import save

        save(self, path)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle needs: the plan belongs to this object's own arrays."""
        return {"layers": self.layers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the layers and plan anew."""
        self.__init__(state["layers"])  # type: ignore[misc]  # the constructor checks them too

    def _images(self, images: Any, least: int = 1) -> Any:
        self._check_kinds()
        if isinstance(images, np.ndarray) and images.dtype.kind in "iu" and images.dtype != np.uint8:
            raise TypeError(f"images: expected uint8, 0 to 255, or floats, got dtype {images.dtype}")
        is_bytes = isinstance(images, np.ndarray) and images.dtype == np.uint8
        array = _checks.as_numbers("images", images, _UINT8 if is_bytes else self._dtype())
        if array.ndim != 3 or len(array) < least or 0 in array.shape[1:]:
            got = f"got {array.shape}"
            raise ValueError(f"images: expected shape (n, height, width), n at least {least}, {got}")
        return array

    def _dtype(self) -> np.dtype[Any]:
        dtypes = {layer.dtype: position for position, layer in reversed(list(enumerate(self.layers))) if layer.dtype}
        if len(dtypes) > 1:
            (first, _), (other, position) = sorted(dtypes.items(), key=lambda item: item[1])[:2]
            raise ValueError(f"layers[{position}]: expected dtype {first}, as the layers before it, got {other}")
        return next(iter(dtypes), np.dtype(np.float64))

    def _nodes(self) -> int:
        last = self.layers[-1] if self.layers else None
        if not isinstance(last, Softmax):
            got = "no layers" if last is None else type(last).__name__
            raise ValueError(f"layers: expected Softmax at the end, got {got}")
        return len(last.biases)

    def _network(self, images: NDArray[Any]) -> Any:
        """Return the core's plan for images of this size, made anew when layers or arrays have been replaced."""
        wanted = (*images.shape[1:], *(part for layer in self.layers for part in layer.plan_entry()))
        known, plan = self._plan
        if len(known) != len(wanted) or any(a is not b and not _same(a, b) for a, b in zip(known, wanted, strict=True)):
            self._check_shapes(images.shape[1:])
            kind = _core.NetworkFloat32 if self._dtype() == np.float32 else _core.NetworkFloat64
            plan = kind([layer.plan_entry() for layer in self.layers], *images.shape[1:])
            self._plan = wanted, plan
        return plan

    def _check_kinds(self) -> None:
        for position, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{position}]: expected a cnnx layer, got {layer!r}")

    def _check_shapes(self, shape: tuple[int, ...]) -> None:
        self._nodes()
        for position, layer in enumerate(self.layers):
            where = f"layers[{position}] ({type(layer).__name__})"
            try:
                shape = layer.output_shape(shape)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            if position > 0 and isinstance(self.layers[position - 1], Softmax):
                raise ValueError(f"{where}: expected nothing behind Softmax, got another layer")


def _same(a: Any, b: Any) -> bool:
    """Whether two parts of a plan are equal; arrays are so only if they are the same object."""
    return not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray) and bool(a == b)


def _labels(labels: Any, count: int, nodes: int) -> NDArray[np.int32]:
    if not isinstance(labels, np.ndarray) or isinstance(labels, np.ma.MaskedArray) or labels.dtype.kind not in "iu":
        got = f"dtype {labels.dtype}" if type(labels) is np.ndarray else type(labels).__name__
        raise TypeError(f"labels: expected a numpy array of integers, got {got}")
    if labels.shape != (count,):
        raise ValueError(f"labels: expected shape ({count},), one label an image, got {labels.shape}")
    if labels.min() < 0 or labels.max() >= nodes:
        raise ValueError(f"labels: expected 0 to {nodes - 1}, got {labels.min()} to {labels.max()}")
    return np.ascontiguousarray(labels, np.int32)


def _thread_count(threads: int | None, images: int) -> int:
    if threads is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(cpus, images // _IMAGES_PER_THREAD))
    return max(1, min(_checks.positive_integer("threads", threads), images))
