"""What a run of `Sequential.fit` on several ranks checks: that it can be shared, and that all ranks do the same."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, _stack
from ._arguments import asked, checksum, layers_in_words, words
from ._batch import is_in_python

if TYPE_CHECKING:
    from ._ranks import Ranks
    from ._training import Draws, Run

_HELP = {
    "parameters": "np.random.seed(0) on all ranks, before the layers are made, makes them the same",
    "random numbers": "rng=0 makes them the same, and so does np.random.seed(0) on all ranks",
    "CPU target": "CNNX_TARGET=baseline in the environment makes it the same everywhere",
}


class SharedRun:
    """A run on several ranks. It is refused if it cannot be shared, or if other ranks do something else.

    Args:
        run: the run, before its first step.
        ranks: the ranks.
        more: what else decides what the run does, by name.
    """

    def __init__(self, run: Run, ranks: Ranks, **more: Any) -> None:
        self._run, self._ranks = run, ranks
        _refuse(run, ranks)
        given = {
            **asked(run),
            **{name: words(value) for name, value in more.items()},
            "epochs": run.course.epochs,
            "progress_every": run.course.window,
            "schedule": f"factors with checksum {checksum(run.factors(0, run.course.all_steps))}",
            "cnnx": f"version {_core.__version__}",
            "CPU target": "baseline" if _core.active_target() == "baseline" else "one with fused multiply-add",
        }
        ranks.agree("the arguments of fit", given, _HELP)
        run.reports = any(ranks.round("on_progress", run.reports))

    def check_start(self, draws: Draws) -> None:
        """Refuse ranks that begin in another state."""
        random = draws.state(is_within_epoch=False)
        state = {"random numbers": f"checksum {_checksum_of(random)}", "steps": self._run.steps, **self._state()}
        self._ranks.agree("the start of the run", state, _HELP)

    def check_state(self) -> None:
        """Refuse ranks whose networks or optimizers are no longer the same."""
        help = f"since step {self._run.steps}; on_progress may change them in the same way on all ranks"
        state = self._state()
        self._ranks.agree(f"step {self._run.steps}", state, dict.fromkeys(state, help))

    def decide(self, is_enough: bool, seconds: float) -> tuple[bool, float]:
        """Return for all ranks whether the run stops, which any of them can decide, and how long rank 0 took."""
        told = self._ranks.round(f"the end of step {self._run.steps}", (bool(is_enough), seconds))
        return any(enough for enough, _ in told), told[0][1]

    def exchanging(self) -> AbstractContextManager[Ranks]:
        """While this lasts, the other ranks wait for this one's bytes. Before it, all of them check their state."""
        self.check_state()
        return self._ranks.exchanging()

    def _state(self) -> dict[str, Any]:
        parameters, others = self._run._changing()
        return {
            **layers_in_words(self._run.network.layers),
            "parameters": f"{sum(array.size for array in parameters)} numbers with checksum {checksum(*parameters)}",
            "optimizer": words(self._run.optimizer),
            "optimizer's memory": f"checksum {checksum(*others)}",
        }


def _refuse(run: Run, ranks: Ranks) -> None:
    """Refuse what cannot be shared."""
    if run.course.batch_size == 1:
        raise ValueError(
            "batch_size: expected at least 2 beside comm, because ranks share the images of a batch, got 1 "
            "(a batch_size such as 128 gives each rank enough to do)"
        )
    if run.loss.compiled(run.targets, run.weights) is None:
        raise ValueError(f"loss: expected 'cross_entropy' or 'mean_squared_error' beside comm, got {run.loss}")
    plan = run.plan()
    if is_in_python(plan):
        position = next(i for i, layer in enumerate(run.network.layers) if _stack.steps_in_python([layer]))
        raise ValueError(
            f"layers[{position}] ({type(run.network.layers[position]).__name__}): expected layers of cnnx beside comm, "
            "got one that is computed in Python"
        )
    if ranks.size > (shards := plan.shards(run.course.batch_size)):
        raise ValueError(
            f"comm: expected no more ranks than shards, into which this network's batches are cut, got {ranks.size} "
            f"ranks and {shards} for batch_size={run.course.batch_size} (a larger batch has more shards, at most 8)"
        )
    _check_threads(run.threads)


def _checksum_of(random: dict[str, Any]) -> str:
    text = json.dumps(random, default=lambda array: array.tolist())
    return checksum(np.frombuffer(text.encode(), np.uint8))


def _check_threads(threads: int) -> None:
    """Refuse several threads if MPI allows only one, since any of them may exchange bytes."""
    mpi = getattr(sys.modules.get("mpi4py"), "MPI", None)
    if threads > 1 and mpi is not None and mpi.Is_initialized() and mpi.Query_thread() < mpi.THREAD_SERIALIZED:
        raise ValueError(
            f"threads: expected 1, because MPI was initialised for one thread, got {threads} "
            "(mpi4py.rc.thread_level chooses for how many)"
        )
