"""A loss for mistakes that do not cost the same, which cnnx does not have."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Costs:
    """The cross-entropy, plus what the mistakes are expected to cost.

    ``loss = -ln(p[label]) + sum over k of costs[label, k] * p[k]``
    ``d_loss_d_p[k] = costs[label, k] - (1 / p[k] if k is the label, else 0)``

    It is used as ``loss=`` of `Sequential.fit`, `evaluate` and `gradients`, for networks that end with a Softmax.

    Args:
        costs: (classes, classes), what it costs to take the class of the row for that of the column.
    """

    def __init__(self, costs: ArrayLike) -> None:
        self.costs = np.asarray(costs, np.float64)

    def __call__(
        self, probabilities: NDArray[np.floating], labels: NDArray[np.integer]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the losses (n,) of probabilities (n, classes), and their gradients for these, (n, classes)."""
        rows = np.arange(len(labels))
        of_labels = np.maximum(probabilities[rows, labels], np.finfo(probabilities.dtype).tiny)
        gradients = self.costs[labels]
        losses = np.sum(gradients * probabilities, axis=1) - np.log(of_labels)
        gradients[rows, labels] -= 1 / of_labels
        return losses, gradients
