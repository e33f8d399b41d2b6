"""What training loops of one's own call: a batch's gradient, or its forward and backward passes, and then a step."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core, _images, _losses, _random, _stack
from ._batch import Batch, Samples, forward_of, gradient_of
from ._checks import FloatArray
from ._image_checks import ImageChecks
from ._losses import LossFunction, LossName
from ._random import Rng
from ._threads import thread_count
from .optimizers import Optimizer


class OwnSteps(ImageChecks):
    """The methods of `Sequential` for training loops of one's own."""

    _forwarded: tuple[Any, tuple[int, ...], int] | None = None  # images, their shape as given, and the seed

    def gradients(
        self,
        images: NDArray[Any],
        labels: NDArray[Any],
        *,
        loss: LossName | LossFunction = "cross_entropy",
        label_smoothing: float = 0.0,
        sample_weight: NDArray[Any] | None = None,
        threads: int | None = None,
        rng: Rng = None,
    ) -> tuple[float, float]:
        """Compute the mean gradient of a batch into `gradient`, and return its mean loss and its accuracy.

        The parameters do not change. `apply` takes the step, perhaps after `gradient` was changed, for example averaged
        over several machines. Dropout is active, as in `fit`. `BatchNorm` uses the statistics of the batch, as in
        `fit`, but leaves its running ones as they are: a `fit` with a learn rate of 0 moves these alone.

        Args:
            images: the batch (n, height, width), as in `fit`.
            labels: integers (n,), or what else the loss takes, as in `fit`.
            loss: as in `fit`.
            label_smoothing: as in `fit`.
            sample_weight: (n,), as in `fit`.
            threads: how many threads share the batch, as in `fit`.
            rng: what Dropout draws from, as in `fit`. An integer seed drops the same values in every call.

        Returns:
            The mean loss, which is in nats for the cross-entropy, and the share of the images that were recognised; NaN
            for a loss without classes.
        """
        chosen = _losses.chosen(loss, label_smoothing)
        images, targets = self._labelled(images, labels, chosen)
        weights = self._weights(images, labels, sample_weight)
        threads = thread_count(threads, len(images), least=1)
        pixels = _images.pixels(images, threads)
        generator = _random.generator(rng)
        plan = self._plan(images.shape[1:])
        _stack.check_least_batch(self.layers, images.shape[1:], len(images))
        seed = _random.draw_seed(generator) if _stack.has_dropout(self.layers) else 0
        batch = Batch(plan, images, targets, weights, chosen, threads)
        losses, correct = batch.gradient(Samples(np.arange(len(images)), seed=seed), self.gradient)
        self._remember(images, pixels.and_of(self.pixels))
        return float(losses.mean()), float(correct.mean()) if chosen.has_classes else math.nan

    def apply(self, optimizer: Optimizer) -> None:
        """Take the optimizer's step along `gradient`.

        Args:
            optimizer: `SGD` or `Adam`. It continues from its own state.

        Raises:
            RuntimeError: there was no call of `gradients` or `backward` before.
            ValueError: a layer's array was made read-only, or the optimizer belongs to another network.
        """
        if self._planned[2] is None or self._gradient is None:
            raise RuntimeError("apply: expected gradients before it, got none")
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected SGD or Adam, got {type(optimizer).__name__}")
        with self._lock:
            plan = self._trainable_plan(self._planned[1])
            optimizer.prepare(plan.parameter_count, _stack.dtype_of(self.layers))
            plan.apply(self._gradient, optimizer.compiled(), optimizer.learn_rate)

    @property
    def gradient(self) -> FloatArray:
        """One flat array with the gradients of all parameters, in the order of `parameters`. It may be changed.

        A layer that is at several positions has one gradient, the sum over them. That of a frozen layer is zero.
        """
        return self._all_gradients()

    def forward(self, images: NDArray[Any], *, threads: int | None = None, rng: Rng = None) -> FloatArray:
        """Return the outputs of a batch as in training, for a loss of one's own; `backward` goes the way back.

        Dropout is active, and `BatchNorm` uses the statistics of the batch, as in `fit`. `predict` is the same without,
        and faster.

        Args:
            images: the batch (n, height, width), as in `fit`. The network keeps it, without a copy, for `backward`.
            threads: how many threads share the batch, as in `fit`.
            rng: what Dropout draws from, as in `fit`.

        Returns:
            (n, nodes) in the layers' dtype: probabilities if the last layer is a Softmax, and else its outputs.
        """
        given = images
        images, _ = self._images(given)
        threads = thread_count(threads, len(images), least=1)
        pixels = _images.pixels(images, threads)
        generator = _random.generator(rng)
        plan = self._plan(images.shape[1:])
        _stack.check_least_batch(self.layers, images.shape[1:], len(images))
        seed = _random.draw_seed(generator) if _stack.has_dropout(self.layers) else 0
        samples = Samples(np.arange(len(images)), seed=seed)
        outputs = forward_of(plan, images, samples, threads)
        self._remember(images, pixels.and_of(self.pixels))
        self._forwarded = images, given.shape, seed
        return outputs

    @overload
    def backward(
        self, d_outputs: FloatArray, *, d_images: Literal[False] = False, threads: int | None = None
    ) -> None: ...
    @overload
    def backward(self, d_outputs: FloatArray, *, d_images: Literal[True], threads: int | None = None) -> FloatArray: ...
    def backward(
        self, d_outputs: FloatArray, *, d_images: bool = False, threads: int | None = None
    ) -> FloatArray | None:
        """Go back through the last `forward`: set `gradient`, and return the gradient for the images if it is wanted.

        The gradient of a parameter is the sum over the batch. So for the mean of the samples' losses, `d_outputs` has
        the gradients of the losses, divided by n. `apply` takes the step.

        The network computes the forward pass again, with the same values dropped, so images and parameters must be as
        they were in `forward`. The two together take as long as `gradients` and another forward pass.

        Args:
            d_outputs: (n, nodes), the gradient of the loss for the outputs that `forward` has returned. For a Softmax
                these are the probabilities, as in the article's `backprop`.
            d_images: whether the gradient for the images is wanted. Fused layers have none, so this takes several times
                as long, and up to a hundred times for the article's network.
            threads: how many threads share the batch, as in `fit`.

        Returns:
            With `d_images`, the gradient for the pixels as the first layer reads them, in the images' shape and the
            layers' dtype. uint8 images are read as x / 255 - 0.5. Otherwise None.

        Raises:
            RuntimeError: there was no `forward` before.
            TypeError, ValueError: an argument is not as described.
        """
        if self._forwarded is None:
            raise RuntimeError("backward: expected forward before it, got none")
        images, given_shape, seed = self._forwarded
        plan, count, dtype = self._plan(images.shape[1:]), len(images), _stack.dtype_of(self.layers)
        nodes = _stack.node_count(self.layers, images.shape[1:])
        d_outputs = _checks.as_shaped("d_outputs", d_outputs, dtype, (count, nodes))
        _checks.boolean("d_images", d_images)
        of_images = np.empty((count, images[0].size), dtype) if d_images else None
        gradient_of(
            plan,
            images,
            _core.GivenGradient(rows=d_outputs),
            Samples(np.arange(count), seed=seed),
            thread_count(threads, count, least=1),
            self.gradient,
            of_images,
        )
        return of_images.reshape(given_shape) if of_images is not None else None
