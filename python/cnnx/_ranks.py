"""The processes that train one network together. Each of them is a rank of a communicator, for example of MPI.

Ranks talk in two ways:

- In a round, each rank tells all others something. A rank that has failed tells that instead, and then all ranks raise
  an error. The same holds for a rank that Ctrl-C has reached.
- Between two rounds, the core exchanges bytes in every step (csrc/ranks.hpp). A rank that fails there cannot tell the
  others, which wait for its bytes. It prints its error and ends all ranks.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ._communicator import Communicator


class OtherRankError(RuntimeError):
    """Another rank has failed, and so this one ends, too."""


class Told(NamedTuple):
    """What a rank tells in a round.

    Attributes:
        place: the round that it takes part in.
        value: what it tells.
        failure: its error in words, or None.
        is_interrupted: whether Ctrl-C has reached it.
    """

    place: str
    value: Any = None
    failure: str | None = None
    is_interrupted: bool = False


class Ranks:
    """The ranks of one call, which all of them make. It is a context: its end is the last round.

    Args:
        comm: the communicator.
        holds_interrupts: whether Ctrl-C waits for the next round, so that it reaches all ranks.

    Attributes:
        rank: the number of this process, from 0.
        size: the number of processes.
        sharing: how many processes share the CPUs of this one.
        failed: the first of the ranks whose own errors have ended this call, or None.
    """

    def __init__(self, comm: Communicator, holds_interrupts: bool = True) -> None:
        methods = ("Get_rank", "Get_size", "Dup", "Free", "allgather", "Isend", "Irecv", "Abort")
        for name in methods:
            if not callable(getattr(comm, name, None)):
                raise TypeError(
                    f"comm: expected a communicator of mpi4py or None, got {type(comm).__name__}, which has no {name}"
                )
        self._comm: Any = comm.Dup()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.sharing = 1
        self.failed: int | None = None
        self._is_over = False  # whether all ranks know that this call has failed
        self._is_exchanging = False  # whether other ranks may wait for bytes of this one
        self._is_interrupted = False
        self._may_hold_interrupts, self._holds_interrupts = holds_interrupts, False

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes files."""
        return self.rank == 0

    def __enter__(self) -> Ranks:
        self._hold_interrupts()
        try:
            cpus = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset({0})
            here = platform.node()
            told = self.round("the start", (here, cpus))
            self.sharing = sum(node == here and bool(theirs & cpus) for node, theirs in told)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.round("the end")
            elif self._is_exchanging:
                self._end_all(error)
            elif not self._is_over:
                failure = None if isinstance(error, OtherRankError) else _in_words(error)
                self.failed = _first_failed(self._comm.allgather(Told("an error", failure=failure)))
        finally:
            self._release_interrupts()
            self._comm.Free()
        if error is None and self._is_interrupted:  # since the last round
            raise KeyboardInterrupt

    def round(self, place: str, value: Any = None) -> list[Any]:
        """Tell all ranks a value, and return what each of them has told, in the order of their ranks.

        Args:
            place: which round this is.
            value: what to tell; it is pickled.

        Raises:
            OtherRankError: another rank has failed, or is in another round.
            KeyboardInterrupt: Ctrl-C has reached a rank.
        """
        told: list[Told] = self._comm.allgather(Told(place, value, None, self._is_interrupted))
        self._is_over = True
        self.failed = _first_failed(told)
        if self.failed is not None:
            failure = told[self.failed].failure
            raise OtherRankError(f"comm: rank {self.failed} of {self.size} has ended with {failure}")
        if any(of_rank.is_interrupted for of_rank in told):
            raise KeyboardInterrupt
        for rank, of_rank in enumerate(told):
            if of_rank.place != told[0].place:
                raise OtherRankError(
                    "comm: expected all ranks to make the same calls, "
                    f"got rank 0 at {told[0].place} and rank {rank} at {of_rank.place}"
                )
        self._is_over = False
        return [of_rank.value for of_rank in told]

    def agree(self, place: str, values: Mapping[str, Any], help: Mapping[str, str] | None = None) -> None:
        """Compare some values, by name, with those of all ranks.

        Args:
            place: which round this is.
            values: what must be the same on all ranks.
            help: what to do about a value that differs, by its name.

        Raises:
            ValueError: a value differs. The message is the same on all ranks.
        """
        told = self.round(place, dict(values))
        for rank, theirs in enumerate(told):
            for name in {**told[0], **theirs}:
                if told[0].get(name) != theirs.get(name):
                    self._is_over = True
                    hint = f" ({help[name]})" if help is not None and name in help else ""
                    raise ValueError(
                        f"{name}: expected the same on all ranks, got {told[0].get(name)} on rank 0 and "
                        f"{theirs.get(name)} on rank {rank}{hint}"
                    )

    def ready(self) -> Communicator:
        """Return the communicator for a call that all ranks make next."""
        self.round("the call of fit")
        comm: Communicator = self._comm
        return comm

    def threads(self, threads: int) -> int:
        """Return how many of the threads that share this process's CPUs it may use, beside the other processes."""
        return max(1, threads // self.sharing)

    @contextmanager
    def exchanging(self) -> Iterator[Ranks]:
        """While this lasts, the other ranks wait for this one's bytes."""
        self._is_exchanging = True
        yield self
        self._is_exchanging = False  # not after an error: the others still wait

    def gather(self, rows: Any, starts: Sequence[int]) -> None:
        """Give all ranks all rows. Rank r has those from starts[r] to starts[r + 1] - 1.

        Args:
            rows: uint8 (rows, bytes), in the core's memory.
            starts: (size + 1,).
        """
        parts = [rows[start:stop] for start, stop in pairwise(starts)]
        buffers = [np.ascontiguousarray(part) for part in parts]  # the parts themselves, if they have no gaps
        mine = buffers[self.rank]
        others = [rank for rank in range(self.size) if rank != self.rank]
        requests = [self._comm.Irecv(buffers[rank], rank) for rank in others if buffers[rank].size > 0]
        requests += [self._comm.Isend(mine, rank) for rank in others if mine.size > 0]
        for request in requests:
            request.Wait()
        for part, buffer in zip(parts, buffers, strict=True):
            if buffer is not part and buffer is not mine:
                part[...] = buffer

    def scatter(self, rows: Any, starts: Sequence[int], columns: Sequence[int]) -> None:
        """Do the same, but give rank r only the bytes from columns[r] to columns[r + 1] - 1 of each row."""
        slices = [slice(start, stop) for start, stop in pairwise(columns)]
        requests = []
        for rank, (start, stop) in enumerate(pairwise(starts)):
            for row in rows[start:stop]:
                if rank != self.rank:
                    requests.append(self._comm.Irecv(row[slices[self.rank]], rank))
                    continue
                requests += [self._comm.Isend(row[slices[to]], to) for to in range(self.size) if to != rank]
        for request in requests:
            request.Wait()

    def _hold_interrupts(self) -> None:
        """From now on Ctrl-C waits for the next round. A second one does not wait."""

        def handle(*_: Any) -> None:
            if self._is_interrupted:
                raise KeyboardInterrupt
            self._is_interrupted = True

        is_main = threading.current_thread() is threading.main_thread()  # others get no signals
        if self._may_hold_interrupts and is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, handle)
            self._holds_interrupts = True

    def _release_interrupts(self) -> None:
        if self._holds_interrupts:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._holds_interrupts = False

    def _end_all(self, error: BaseException) -> None:
        print(f"cnnx: rank {self.rank} of {self.size} ends all ranks, which wait for it:", file=sys.stderr)
        traceback.print_exception(error)
        sys.stderr.flush()
        self._comm.Abort(1)


def _first_failed(told: list[Told]) -> int | None:
    return next((rank for rank, of_rank in enumerate(told) if of_rank.failure is not None), None)


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
