"""A contender in a process of its own, both ends of it: `peers/run.py` and `shapes.py` make a `Contender`.

The process is `worker.py MODULE PROBLEM OPTIONS`. A module of `peers/` has classes, such as `Training`, that are made
from `(problem, **options)` and have

- `version`: of the package that does the work,
- `prepare(count)`: what is not timed, such as going back to the initial parameters,
- `run(count)`: what is timed, `count` steps or predictions,
- `answer(count)`: the mean losses of the first batches, or their images' probabilities, to hold against numpy's.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from machine import forget_peak, peak_megabytes
from networks import Problem
from turns import Entrant, Process, serve

ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "NPROC": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "KERAS_BACKEND": "tensorflow",
    "JAX_PLATFORMS": "cpu",
}


class Contender(Entrant):
    """A class of a module, in a Python of its own."""

    def __init__(self, name: str, python: str, module: str, options: dict[str, Any], problem: Path) -> None:
        threads = str(options.get("threads", 1))
        environment = ONE_THREAD | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        process = Process(python, __file__, module, problem, json.dumps(options), environment=environment)
        super().__init__(name, lambda: process.ask("answer"), lambda count: process.ask("clock", count))
        self.process = process

    def about(self) -> tuple[str, float]:
        """Return its version, and the megabytes that its process has held above the import of its library."""
        version, megabytes = self.process.ask("about")
        return version, megabytes


class Served:
    """What the process serves."""

    def __init__(self, module: str, problem: str, options: str) -> None:
        chosen = json.loads(options)
        kind = getattr(importlib.import_module(f"peers.{module}"), chosen.pop("kind"))
        forget_peak()
        self.imported = peak_megabytes()
        loaded = Problem.load(problem)
        self.case, self.make = loaded.case, lambda case: kind(loaded._replace(case=case), **chosen)
        self.contender: Any = None

    def answer(self) -> Any:
        case = self.case.to_verify()
        return self.make(case).answer(case.checked).tolist()

    def clock(self, count: int) -> float:
        self.contender = self.contender or self.make(self.case)
        self.contender.prepare(count)
        start = time.perf_counter()
        self.contender.run(count)
        return time.perf_counter() - start

    def about(self) -> tuple[str, float]:
        return self.contender.version, peak_megabytes() - self.imported


if __name__ == "__main__":
    serve(lambda: Served(*sys.argv[1:]))
