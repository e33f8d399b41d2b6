"""How parameters follow their gradient. The formulas stand in `cnnx.reference`, whose twins compute the same.

An optimizer remembers one network's past in plain numpy arrays, as long as all of its parameters together, in the
network's dtype; they are there after its first use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _checks, _core
from ._checks import FloatArray

__all__ = ["SGD", "Adam", "Optimizer"]


class Optimizer:
    """What a network needs to know of an optimizer.

    Attributes:
        learn_rate: the step, finite and at least 0; a schedule multiplies it.
        steps: how many steps it has taken.
    """

    def __init__(self, learn_rate: float) -> None:
        self.learn_rate = _checks.learn_rate(learn_rate)
        self._steps = np.zeros(1, np.int64)  # an array, which the core changes together with the states

    @property
    def steps(self) -> int:
        """How many steps it has taken."""
        return int(self._steps[0])

    @steps.setter
    def steps(self, value: int) -> None:
        steps = _checks.integer("steps", value)
        if not 0 <= steps < 2**63:
            raise ValueError(f"steps: expected an integer of at least 0, got {steps}")
        self._steps[0] = steps

    def states(self) -> list[Any]:
        """Return the arrays that its steps change."""
        return [self._steps]

    def compiled(self, count: int, dtype: np.dtype[Any]) -> Any:
        """Return the core's optimizer, with states for `count` parameters of `dtype`."""
        raise NotImplementedError

    def _state(self, name: str, count: int, dtype: np.dtype[Any]) -> FloatArray:
        state: FloatArray | None = getattr(self, name)
        if state is None:
            state = np.zeros(count, dtype)
            setattr(self, name, state)
        if state.shape != (count,) or state.dtype != dtype:
            got = f"one that holds the past of {state.size} in {state.dtype}"
            raise ValueError(f"optimizer: expected a new one, or one for {count} parameters in {dtype}, got {got}")
        return state


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as in PyTorch (Sutskever et al., 2013).

    ``g += weight_decay * p``, ``velocity = momentum * velocity + g``, ``p -= learn_rate * velocity``; with Nesterov's
    momentum ``p -= learn_rate * (g + momentum * velocity)``.

    Args:
        learn_rate: the step, finite and at least 0.
        momentum: how much of the last step's velocity stays, from 0 to less than 1.
        nesterov: whether the step looks ahead along the velocity.
        weight_decay: how strongly parameters are drawn to zero, finite and at least 0.

    Attributes:
        velocity: all parameters' velocities, one after the other; None before the first step, and without momentum and
            weight decay.
    """

    def __init__(
        self, learn_rate: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(learn_rate)
        self.momentum = _share("momentum", momentum)
        self.nesterov = _checks.boolean("nesterov", nesterov)
        self.weight_decay = _checks.not_negative("weight_decay", weight_decay)
        self.velocity: FloatArray | None = None

    def states(self) -> list[Any]:
        return super().states() + ([] if self.velocity is None else [self.velocity])

    def compiled(self, count: int, dtype: np.dtype[Any]) -> _core.SGD:
        if not self.momentum and not self.weight_decay:
            return _core.SGD(steps=self._steps)
        velocity = self._state("velocity", count, dtype)
        return _core.SGD(
            steps=self._steps,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            velocity=velocity,
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), with decoupled weight decay (Loshchilov and Hutter, 2019).

    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g**2``, and in step t, from 1:
    ``p -= learn_rate * (weight_decay * p + (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps))``

    Args:
        learn_rate: the step, finite and at least 0.
        betas: how much of the past stays in the first and in the second moment, each from 0 to less than 1.
        eps: keeps the quotient finite, above 0.
        weight_decay: how strongly parameters are drawn to zero, finite and at least 0.

    Attributes:
        first_moment: all parameters' m, one after the other; None before the first step.
        second_moment: likewise their v.
    """

    def __init__(
        self,
        learn_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learn_rate)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas: expected two numbers, got {betas!r}")
        self.betas = _share("betas[0]", betas[0]), _share("betas[1]", betas[1])
        self.eps = _checks.number("eps", eps, "a finite number above 0", lambda value: 0 < value < np.inf)
        self.weight_decay = _checks.not_negative("weight_decay", weight_decay)
        self.first_moment: FloatArray | None = None
        self.second_moment: FloatArray | None = None

    def states(self) -> list[Any]:
        moments = (self.first_moment, self.second_moment)
        return super().states() + [moment for moment in moments if moment is not None]

    def compiled(self, count: int, dtype: np.dtype[Any]) -> _core.Adam:
        return _core.Adam(
            steps=self._steps,
            beta1=self.betas[0],
            beta2=self.betas[1],
            epsilon=self.eps,
            weight_decay=self.weight_decay,
            first_moment=self._state("first_moment", count, dtype),
            second_moment=self._state("second_moment", count, dtype),
        )


def _share(name: str, value: Any) -> float:
    return _checks.number(name, value, "a number from 0 to less than 1", lambda share: 0 <= share < 1)
