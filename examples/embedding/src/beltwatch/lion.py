"""Lion, an update rule that cnnx does not have (Chen et al., 2023, "Symbolic Discovery of Optimization Algorithms")."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import cnnx


class Lion:
    """Takes steps of one length in each parameter, along the sign of a mean gradient.

    For each parameter p and its gradient g

    ``p -= learn_rate * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)``
    ``m = beta2 * m + (1 - beta2) * g``

    Args:
        learn_rate: how far a step goes in each parameter; about a tenth of Adam's.
        betas: the shares of the mean gradient m that stay, for the step and for m itself.
        weight_decay: how strongly parameters are drawn to zero.
    """

    def __init__(self, learn_rate: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0) -> None:
        self.betas, self.weight_decay = betas, weight_decay
        self._step = cnnx.SGD(learn_rate)
        self._mean: NDArray[np.floating] | None = None

    def apply(self, network: cnnx.Sequential) -> None:
        """Take a step along the gradient that the network holds.

        The rule puts its direction in the gradient's place, and `network.apply` goes there. So a thread that predicts
        sees the parameters before the step or after it, and frozen layers stay as they are. An assignment to
        ``network.parameters`` would do neither.
        """
        gradient = network.gradient
        if self._mean is None:
            self._mean = np.zeros_like(gradient)
        beta1, beta2 = self.betas
        direction = np.sign(beta1 * self._mean + (1 - beta1) * gradient) + self.weight_decay * network.parameters
        self._mean += (1 - beta2) * (gradient - self._mean)
        gradient[:] = direction
        network.apply(self._step)
