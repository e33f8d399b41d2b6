"""When a training is long enough, by its results on the validation set, and which epoch was the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from . import _checks
from ._attributes import KnownAttributes, Setting

__all__ = ["EarlyStopping"]

_MONITORS: dict[str, tuple[int, int]] = {"loss": (0, 1), "accuracy": (1, -1)}  # column of the validation, sign


def _monitor(name: str, value: Any) -> Literal["loss", "accuracy"]:
    known: Literal["loss", "accuracy"] = _checks.one_of(name, value, tuple(_MONITORS))
    return known


class EarlyStopping(KnownAttributes):
    """Stops a training that gets no better on the validation set, and goes back to the best epoch.

    It is an argument of `Sequential.fit`, beside `validation`. An epoch is better if it has a smaller validation loss,
    or a greater accuracy, than all epochs of the same call of `fit` before it. The object holds only settings, which
    each call of `fit` reads once, at its start.

    With `restore_best`, parameters and optimizer are at the end those after the best epoch. This holds however `fit`
    ends: early, after all epochs, because `on_progress` returned True, after Ctrl-C, or with an error. If no epoch has
    ended by then, nothing is restored. `History` has all epochs that were trained.

    Args:
        patience: after how many epochs in a row that are not better the training stops, at least 1.
        monitor: what tells which epoch is better: "loss" or "accuracy".
        restore_best: whether to go back to the best epoch. False leaves the parameters and the optimizer as they are
            after the last step.
    """

    patience = Setting(_checks.positive_integer)
    monitor = Setting(_monitor)
    restore_best = Setting(_checks.boolean)

    def __init__(
        self, patience: int, *, monitor: Literal["loss", "accuracy"] = "loss", restore_best: bool = True
    ) -> None:
        self.patience = patience
        self.monitor = monitor
        self.restore_best = restore_best


class Memory(NamedTuple):
    """What tells the best epoch of a run so far.

    Attributes:
        least: the best score, of which less is better; inf before the first epoch.
        epochs_since: how many epochs in a row were not better.
        parameters: each array of the network, and its values after the best epoch; empty if they are not restored.
        states: the same for the other arrays that a step changes.
    """

    least: float
    epochs_since: int
    parameters: list[tuple[Any, Any]]
    states: list[tuple[Any, Any]]


class BestEpoch:
    """The best epoch of a run so far, and what a step changes as it was then.

    Args:
        settings: what the caller of `fit` gave.

    Attributes:
        settings: the same.
        memory: the best epoch.
    """

    def __init__(self, settings: EarlyStopping) -> None:
        self.settings = settings
        self._patience, self._restores = settings.patience, settings.restore_best
        self._column, self._sign = _MONITORS[settings.monitor]
        self.memory = Memory(math.inf, 0, [], [])

    @property
    def will_be_restored(self) -> bool:
        """Whether `restore` changes anything."""
        return bool(self.memory.parameters)

    @property
    def is_long_ago(self) -> bool:
        """Whether enough epochs were not better."""
        return self.memory.epochs_since >= self._patience

    def is_enough(self, validation: tuple[float, float], parameters: Sequence[Any], states: Sequence[Any]) -> bool:
        """Take an epoch's validation, and the arrays of the network and the optimizer. Return whether the run stops."""
        score = self._sign * validation[self._column]
        if score < self.memory.least:
            kept = [[(array, array.copy()) for array in arrays if self._restores] for arrays in (parameters, states)]
            self.memory = Memory(score, 0, *kept)
        else:
            self.memory = self.memory._replace(epochs_since=self.memory.epochs_since + 1)
        return self.is_long_ago

    def restore(self, parameters: Sequence[Any], states: Sequence[Any]) -> None:
        """Give the arrays the values that they had after the best epoch, if there was one.

        Raises:
            RuntimeError: `on_progress` has replaced layers since then.
        """
        if not self.will_be_restored:
            return
        if {id(array) for array in parameters} != {id(array) for array, _ in self.memory.parameters}:
            raise RuntimeError(
                "early_stopping: expected the layers of the best epoch, to restore their parameters, got other layers "
                "(restore_best=False leaves the parameters as they are)"
            )
        for array in states:
            array[...] = 0  # what an optimizer's array is before its first step: it may be newer than the best epoch
        for array, values in (*self.memory.parameters, *self.memory.states):
            if array.flags.writeable:  # a frozen layer's array may be read-only, and no step changes it
                array[...] = values


def best_epoch(early_stopping: Any, validation: Any, has_classes: bool) -> BestEpoch | None:
    """Check the arguments of `fit`. Return what finds the run's best epoch; None if nobody asked for it."""
    if early_stopping is None:
        return None
    if not isinstance(early_stopping, EarlyStopping):
        raise TypeError(f"early_stopping: expected a cnnx.EarlyStopping or None, got {early_stopping!r}")
    if validation is None:
        raise TypeError("early_stopping: expected validation=(images, labels) beside it, got none")
    if early_stopping.monitor == "accuracy" and not has_classes:
        raise ValueError("early_stopping: expected monitor='loss' beside a loss without classes, got 'accuracy'")
    return BestEpoch(early_stopping)
