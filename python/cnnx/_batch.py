"""Images with their targets, and the loss of them: as the core computes it, or step by step in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._averaging import Average
from ._checks import FloatArray
from ._losses import Loss
from .layers import Layer
from .optimizers import Optimizer

if TYPE_CHECKING:
    from ._ranks import Ranks


class Samples(NamedTuple):
    """Some of the images, and how they are read.

    Attributes:
        order: int64 (samples,), their indices.
        maps: (samples, 2, 3), how each is resampled, or None.
        background: what surrounds resampled images, as the first layer reads it.
        seed: what Dropout draws from.
        samples_before: how many samples the run had before these.
    """

    order: NDArray[np.int64]
    maps: NDArray[np.float64] | None = None
    background: float = 0.0
    seed: int = 0
    samples_before: int = 0

    def part(self, start: int, stop: int) -> Samples:
        """Return those from `start` to `stop` - 1."""
        maps = None if self.maps is None else self.maps[start:stop]
        order, before = self.order[start:stop], self.samples_before + start
        return self._replace(order=order, maps=maps, samples_before=before)

    def compiled(self) -> _core.Samples:
        """Return the core's samples."""
        return _core.Samples(**self._asdict())


class Steps(NamedTuple):
    """How steps are taken on samples.

    Attributes:
        batch_size: how many samples a step has; the last may have fewer.
        learn_rates: (steps,).
        optimizer: takes the steps, and is prepared for them.
        average: follows the parameters, or None.
        average_shares: (steps,), how far it moves towards them; None without it.
        layers: the network's.
        ranks: share each batch with this process, or None.
    """

    batch_size: int
    learn_rates: NDArray[np.float64]
    optimizer: Optimizer
    average: Average | None
    average_shares: NDArray[np.float64] | None
    layers: Sequence[Layer]
    ranks: Ranks | None = None


def gradient_of(
    plan: Any,
    images: Any,
    loss: Any,
    samples: Samples,
    threads: int,
    gradient: FloatArray,
    d_images: Any = None,
    moves_buffers: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Set `gradient` to that of a loss of the core. Return each sample's loss, and whether it was recognised.

    Args:
        plan: the core's network.
        images: (n, height, width), or with channels, as the core takes them.
        loss: the core's loss, with its targets.
        samples: some of the images.
        threads: how many threads share the work.
        gradient: where the gradient goes.
        d_images: (samples, values), where the gradient for the images goes, or None.
        moves_buffers: whether running statistics follow those of these samples, as in training.
    """
    count = len(samples.order)
    if is_in_python(plan):
        losses, outputs = plan.gradient(
            images, lambda _, part: (np.zeros(1), loss.rows[part]), samples, gradient, d_images
        )
        return losses, np.zeros(len(outputs), np.bool_)
    losses, correct = np.empty(count), np.empty(count, np.bool_)
    plan.gradient(
        images=images,
        loss=loss,
        samples=samples.compiled(),
        threads=threads,
        gradient=gradient,
        losses=losses,
        correct=correct,
        d_images=d_images,
        moves_buffers=moves_buffers,
    )
    return losses, correct


def is_in_python(plan: Any) -> bool:
    """Whether a plan computes in Python, and so takes the losses of `_losses.py` and not those of the core."""
    return not isinstance(plan, _core.Network)


def forward_of(plan: Any, images: Any, samples: Samples, threads: int) -> FloatArray:
    """Return the outputs of some images (samples, nodes), as in training."""
    outputs: FloatArray = plan.forward(images, samples if is_in_python(plan) else samples.compiled(), threads)
    return outputs


class Batch:
    """Images with their targets, and a loss of them, which the core computes, or Python.

    Args:
        plan: the core's network.
        images: (n, height, width), or with channels, as the core takes them.
        targets: (n, ...), as the loss takes them.
        weights: (n,), what multiplies the losses, or None.
        loss: the loss.
        threads: how many threads share the work.
    """

    def __init__(
        self, plan: Any, images: Any, targets: Any, weights: NDArray[np.float64] | None, loss: Loss, threads: int
    ) -> None:
        self.plan, self.images, self.threads = plan, images, threads
        self._targets, self._weights, self._loss = targets, weights, loss
        self._compiled = None if is_in_python(plan) else loss.compiled(targets, weights)

    def evaluate(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the loss of each image, and whether it is recognised; False for a loss without classes."""
        if self._compiled is not None:
            losses, correct = self.plan.evaluate(self.images, self._compiled, self.threads)
            return losses, correct
        outputs, order = self.plan.predict(self.images, self.threads), np.arange(len(self.images))
        losses, _ = self._of(outputs, order)
        return losses, self._recognised(outputs, order)

    def gradient(
        self, samples: Samples, gradient: FloatArray, moves_buffers: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Set `gradient` to the mean gradient of some of the images. Return what `evaluate` returns, for these.

        Args:
            samples: which images.
            gradient: where the gradient goes.
            moves_buffers: whether running statistics follow those of these samples, as in training.
        """
        if self._compiled is not None:
            return gradient_of(
                self.plan, self.images, self._compiled, samples, self.threads, gradient, moves_buffers=moves_buffers
            )
        if is_in_python(self.plan) and self._loss.is_of_samples:
            return self._gradient_in_python(samples, gradient)
        outputs = forward_of(self.plan, self.images, samples, self.threads)
        losses, d_outputs = self._of(outputs, samples.order)
        given = _core.GivenGradient(rows=d_outputs / d_outputs.dtype.type(len(samples.order)))
        _, correct = gradient_of(
            self.plan, self.images, given, samples, self.threads, gradient, moves_buffers=moves_buffers
        )
        return losses, correct

    def _gradient_in_python(
        self, samples: Samples, gradient: FloatArray
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Do what `gradient` does, one image after another: each goes forward and back before the next one."""

        def loss_of(outputs: FloatArray, part: slice) -> tuple[NDArray[np.float64], FloatArray]:
            losses, d_outputs = self._of(outputs, samples.order[part])
            return losses, d_outputs / d_outputs.dtype.type(len(samples.order))

        losses, outputs = self.plan.gradient(self.images, loss_of, samples, gradient)
        return losses, self._recognised(outputs, samples.order)

    def _recognised(self, outputs: FloatArray, order: Any) -> NDArray[np.bool_]:
        if not self._loss.has_classes:
            return np.zeros(len(outputs), np.bool_)
        targets = self._targets[order]
        labels = targets if targets.ndim == 1 else targets.argmax(axis=1)
        recognised: NDArray[np.bool_] = outputs.argmax(axis=1) == labels
        return recognised

    def train(self, samples: Samples, steps: Steps, losses: NDArray[np.float64], correct: NDArray[np.bool_]) -> None:
        """Take steps on some of the images, in one call of the core, or one after another.

        Args:
            samples: which images.
            steps: how the steps are taken.
            losses: (samples,), where their losses go.
            correct: (samples,), where it goes whether they were recognised.
        """
        if self._compiled is None:
            self._train_by_step(samples, steps, losses, correct)
            return
        self.plan.train(
            images=self.images,
            loss=self._compiled,
            samples=samples.compiled(),
            batch_size=steps.batch_size,
            learn_rates=steps.learn_rates,
            optimizer=steps.optimizer.compiled(),
            threads=self.threads,
            losses=losses,
            correct=correct,
            average=None if steps.average is None else steps.average.values,
            average_shares=steps.average_shares,
            ranks=steps.ranks,
        )

    def _train_by_step(
        self, samples: Samples, steps: Steps, losses: NDArray[np.float64], correct: NDArray[np.bool_]
    ) -> None:
        gradient, optimizer = np.empty(self.plan.parameter_count, self.plan.dtype), steps.optimizer.compiled()
        for step, rate in enumerate(steps.learn_rates.tolist()):
            start, stop = step * steps.batch_size, min((step + 1) * steps.batch_size, len(losses))
            losses[start:stop], correct[start:stop] = self.gradient(
                samples.part(start, stop), gradient, moves_buffers=True
            )
            self.plan.apply(gradient, optimizer, rate)
            if steps.average is not None and steps.average_shares is not None:
                steps.average.follow(steps.layers, float(steps.average_shares[step]))

    def _of(self, outputs: FloatArray, order: Any) -> tuple[NDArray[np.float64], FloatArray]:
        losses, d_outputs = self._loss.of(outputs, self._targets[order])
        if self._weights is None:
            return losses, d_outputs
        weights = self._weights[order]
        return losses * weights, d_outputs * weights[:, np.newaxis].astype(d_outputs.dtype)
