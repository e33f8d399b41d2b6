"""What `Sequential.fit` reports while it trains, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["History", "Progress"]


class Progress(NamedTuple):
    """What `Sequential.fit` reports at the end of a window of steps.

    Attributes:
        epoch: the number of the epoch, from 1.
        step: the number of the window's last step, from 1 in each epoch.
        loss: the mean loss of the window's samples; the cross-entropy is in nats.
        accuracy: the share of the window's samples that were recognised, each before the step on it; NaN for a loss
            without classes.
        validation: at the end of an epoch, the loss and the accuracy on the validation set; None at other times, and
            without such a set.
        epochs: how many epochs the training has.
        steps: how many steps an epoch has.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    validation: tuple[float, float] | None = None
    epochs: int = 0
    steps: int = 0


OnProgress: TypeAlias = Callable[[Progress], "bool | np.bool_ | None"]
"""What `Sequential.fit` calls at the end of each window. True stops the training, and None or False does not."""


class History(NamedTuple):
    """What `Sequential.fit` saw of every sample, in the order of the steps.

    If the training ended before all its epochs, the arrays have what was done until then.

    Attributes:
        losses: float64 (epochs * n,), the loss of each sample before the step on it, times the sample's weight; the
            cross-entropy is in nats.
        correct: bool (epochs * n,), whether the sample's label had the largest probability before that step; for a row
            of probabilities, the first of its largest is the label. Empty for a loss without classes, which are all but
            the cross-entropy.
        validation: float64 (epochs, 2), the loss and the accuracy on the validation set after each epoch; (0, 2)
            without such a set. The accuracy is NaN for a loss without classes.
        images: how many images an epoch has, which is n.
    """

    losses: NDArray[np.float64]
    correct: NDArray[np.bool_]
    validation: NDArray[np.float64]
    images: int = 0

    def __repr__(self) -> str:
        """Return one line: the means over all samples, and the last validation."""
        seen = f"{len(self.losses):,} samples"
        if len(self.losses) > 0:
            seen += f", mean loss {self.losses.mean():.3f}"
        if len(self.correct) > 0:
            seen += f", accuracy {self.correct.mean():.1%}"
        if len(self.validation) > 0:
            loss, accuracy = self.validation[-1]
            seen += f"; validation loss {loss:.3f}"
            seen += f", accuracy {accuracy:.1%}" if len(self.correct) > 0 else ""
        return f"History({seen})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: that line, and curves."""
        from ._curve import as_html  # which only a notebook needs

        return as_html(self)
