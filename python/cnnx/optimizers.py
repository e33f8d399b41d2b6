"""How parameters follow their gradient. Their twins in numpy are in `cnnx/reference/optimizers.py`.

An optimizer belongs to one network. It remembers the past in flat numpy arrays with one number for each parameter of
the network, in the network's dtype. They are made at its first use.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _checks, _core
from ._attributes import KnownAttributes, Setting
from ._checks import FloatArray

__all__ = ["SGD", "Adam", "Optimizer"]


def _betas(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name}: expected two numbers, got {value!r}")
    return _checks.share(f"{name}[0]", value[0]), _checks.share(f"{name}[1]", value[1])


def _above_zero(name: str, value: Any) -> float:
    return _checks.number(name, value, "a finite number above 0", lambda number: 0 < number < math.inf)


def _array(name: str, value: Any) -> FloatArray | None:
    """Return an array of an optimizer. Its length is compared with the network's parameters at the next step."""
    if value is not None and (not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind != "f"):
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"{name}: expected a flat array of floats or None, got {got}")
    return value


class Optimizer(KnownAttributes):
    """The base class of optimizers. A setting may be assigned at any time, and holds from the next window of steps on.

    Attributes:
        learn_rate: how far a step goes, finite and at least 0. A schedule multiplies it.
        steps: how many steps the optimizer has taken.
    """

    learn_rate = Setting(_checks.not_negative)
    _past: tuple[str, ...] = ()  # the names of the other arrays

    def __init__(self, learn_rate: float) -> None:
        self._steps = np.zeros(1, np.int64)  # an array, so that the core can change it together with the others
        self.learn_rate = learn_rate

    @property
    def steps(self) -> int:
        """How many steps the optimizer has taken."""
        return int(self._steps[0])

    @steps.setter
    def steps(self, value: int) -> None:
        self._steps[0] = _checks.count("steps", value)

    def memory(self) -> dict[str, Any]:
        """Return the arrays that a step changes by name: the number of steps, and those that exist of the others."""
        past = {name: getattr(self, name) for name in self._past}
        return {"steps": self._steps, **{name: array for name, array in past.items() if array is not None}}

    def take_memory(self, memory: dict[str, Any]) -> None:
        """Go on from the memory of another optimizer of this kind, whose arrays are copied."""
        self._steps[...] = memory["steps"]
        for name in self._past:
            setattr(self, name, memory[name].copy() if name in memory else None)

    def states(self) -> list[Any]:
        """Return the arrays of `memory`."""
        return list(self.memory().values())

    def prepare(self, count: int, dtype: np.dtype[Any]) -> None:
        """Make the arrays that the next step needs, for `count` parameters of `dtype`.

        Raises:
            ValueError: arrays exist already, and are for another number of parameters or another dtype.
        """

    def compiled(self) -> Any:
        """Return the core's optimizer, with the present settings and the arrays that `prepare` has made."""
        raise NotImplementedError

    def _prepare(self, name: str, count: int, dtype: np.dtype[Any]) -> None:
        state: FloatArray | None = getattr(self, name)
        if state is None:
            setattr(self, name, np.zeros(count, dtype))
        elif state.shape != (count,) or state.dtype != dtype:
            got = f"one that holds the past of {state.size} in {state.dtype}"
            raise ValueError(f"optimizer: expected a new one, or one for {count} parameters in {dtype}, got {got}")


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as in PyTorch.

    Without momentum and weight decay it is the article's Part 2, section 3, "Backprop: Softmax": for each parameter p
    and its gradient g, ``p -= learn_rate * g``. In general

    ``g += weight_decay * p``
    ``velocity = momentum * velocity + g``
    ``p -= learn_rate * velocity``, or with Nesterov's momentum ``p -= learn_rate * (g + momentum * velocity)``

    (Sutskever et al., 2013, "On the importance of initialization and momentum in deep learning").

    Args:
        learn_rate: how far a step goes, finite and at least 0.
        momentum: the share of the velocity that stays from step to step, from 0 to less than 1.
        nesterov: whether the step looks ahead along the velocity.
        weight_decay: how strongly parameters are drawn to zero, finite and at least 0.

    Attributes:
        velocity: one number for each parameter, in the order of `Sequential.parameters`; None before the first step,
            and as long as there is neither momentum nor weight decay.
    """

    momentum = Setting(_checks.share)
    nesterov = Setting(_checks.boolean)
    weight_decay = Setting(_checks.not_negative)
    velocity = Setting(_array)
    _past = ("velocity",)

    def __init__(
        self, learn_rate: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(learn_rate)
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.velocity = None

    @property
    def _is_plain(self) -> bool:
        return not self.momentum and not self.weight_decay

    def prepare(self, count: int, dtype: np.dtype[Any]) -> None:
        if not self._is_plain:
            self._prepare("velocity", count, dtype)

    def compiled(self) -> _core.SGD:
        if self._is_plain:
            return _core.SGD(steps=self._steps)
        return _core.SGD(
            steps=self._steps,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            velocity=self.velocity,
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), with decoupled weight decay (Loshchilov and Hutter, 2019).

    For each parameter p and its gradient g, in step t, counted from 1:

    ``m = beta1 * m + (1 - beta1) * g``
    ``v = beta2 * v + (1 - beta2) * g**2``
    ``p -= learn_rate * (weight_decay * p + (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps))``

    Args:
        learn_rate: how far a step goes, finite and at least 0.
        betas: beta1 and beta2, the shares of the two moments that stay from step to step, from 0 to less than 1.
        eps: keeps the quotient finite; above 0. One below the bound ``sqrt(smallest / (1 - beta2))`` counts as the
            bound, where smallest is the dtype's smallest normal number. For float32 and the default beta2, the bound is
            3.4e-18.
        weight_decay: how strongly parameters are drawn to zero, finite and at least 0.

    Attributes:
        first_moment: m of each parameter, in the order of `Sequential.parameters`; None before the first step.
        second_moment: v of each parameter, in the same order; None before the first step.
    """

    betas = Setting(_betas)
    eps = Setting(_above_zero)
    weight_decay = Setting(_checks.not_negative)
    first_moment = Setting(_array)
    second_moment = Setting(_array)
    _past = ("first_moment", "second_moment")

    def __init__(
        self,
        learn_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learn_rate)
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.first_moment = None
        self.second_moment = None

    def prepare(self, count: int, dtype: np.dtype[Any]) -> None:
        self._prepare("first_moment", count, dtype)
        self._prepare("second_moment", count, dtype)

    def compiled(self) -> _core.Adam:
        assert self.first_moment is not None, "prepare makes both"
        assert self.second_moment is not None
        return _core.Adam(
            steps=self._steps,
            beta1=self.betas[0],
            beta2=self.betas[1],
            epsilon=self.eps,
            weight_decay=self.weight_decay,
            first_moment=self.first_moment,
            second_moment=self.second_moment,
        )


def chosen(learn_rate: float | None, optimizer: Any) -> Optimizer:
    """Return what `fit` trains with: the optimizer, or plain gradient descent if there is only a learn rate."""
    if optimizer is None:
        if learn_rate is None:
            raise TypeError("learn_rate: expected a number, or else an optimizer, got neither")
        return SGD(learn_rate)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected SGD, Adam or None, got {type(optimizer).__name__}")
    if learn_rate is not None:
        raise TypeError(f"learn_rate: expected none beside an optimizer, which has its own, got {learn_rate!r}")
    return optimizer
