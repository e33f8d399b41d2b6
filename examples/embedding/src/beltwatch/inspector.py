"""A network that learns from a stream in a thread, and judges pictures meanwhile."""

from __future__ import annotations

import queue
import threading
from collections import deque
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cnnx
from cnnx.network import LossFunction

from .lion import Lion

Example = tuple[NDArray[Any], int]


class Inspector:
    """Judges pictures, and learns from those that somebody else has judged.

    Use it in a ``with`` statement: the thread starts there, and at its end has learned all that it was told. Any thread
    may call `judge` at any time, and `learn` within the statement.

    Args:
        network: what judges. It ends with a Softmax.
        rule: takes the steps.
        loss: of the outputs, as `Sequential.fit` takes it.
        remembered: how many of the last examples are learned again beside each new one, so that the network does not
            forget what is rare.
        waiting: how many examples may wait. `learn` drops more than these, so that the belt never stops.
        rng: draws what is learned again.
    """

    def __init__(
        self,
        network: cnnx.Sequential,
        rule: Lion,
        loss: LossFunction,
        *,
        remembered: int = 300,
        waiting: int = 1000,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.network, self.dropped, self.steps = network, 0, 0
        self._rule, self._loss, self._rng = rule, loss, rng or np.random.default_rng()
        self._told: queue.Queue[Example | None] = queue.Queue(waiting)
        self._memory: deque[Example] = deque(maxlen=remembered)
        self._lock = threading.Lock()  # of `dropped` and `_is_open`
        self._is_open = self._is_over = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="inspector")

    def judge(self, picture: NDArray[np.uint8]) -> tuple[int, float]:
        """Return the most probable class of a picture, and its probability."""
        self._check()
        probabilities = self.network.predict(picture)
        return int(probabilities.argmax()), float(probabilities.max())

    def learn(self, picture: NDArray[np.uint8], label: int) -> None:
        """Let the thread learn an example when it has time. The picture may change afterwards.

        Raises:
            RuntimeError: the thread does not run, or an error has ended it.
        """
        self._check()
        with self._lock:
            if not self._is_open:
                raise RuntimeError("learn: expected to be called within the with statement, where the thread runs")
            try:
                self._told.put_nowait((picture.copy(), label))
            except queue.Full:
                self.dropped += 1

    def __enter__(self) -> Inspector:
        self._thread.start()
        self._is_open = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._lock:  # no example comes after the last one
            self._is_open = False
        self._told.put(None)
        self._thread.join()
        if error is None:
            self._check()

    def _check(self) -> None:
        """Raise the error that has ended the thread, if one has."""
        if self._error is not None:
            raise RuntimeError("the inspector has stopped learning") from self._error

    def _run(self) -> None:
        try:
            while examples := self._next():
                self._step(examples)
        except BaseException as error:  # whoever calls next gets it
            self._error = error
            while not self._is_over:  # so that the end need not wait for room
                self._is_over = self._told.get() is None

    def _next(self) -> list[Example]:
        """Wait for an example, and return it with others that wait already; return none when no more will come."""
        examples: list[Example] = []
        while len(examples) < 16 and not self._is_over and not (examples and self._told.empty()):
            example = self._told.get()
            if example is None:
                self._is_over = True
            else:
                examples.append(example)
        return examples

    def _step(self, new: list[Example]) -> None:
        again = [self._memory[i] for i in self._rng.integers(len(self._memory), size=16)] if self._memory else []
        self._memory.extend(new)
        pictures, labels = zip(*new, *again, strict=True)
        # One thread: a batch is small, and the CPUs belong to the rest of the program.
        self.network.gradients(np.stack(pictures), np.array(labels), loss=self._loss, threads=1)
        self._rule.apply(self.network)
        self.steps += 1
