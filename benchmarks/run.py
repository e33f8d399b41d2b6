"""cnnx beside its peers, in one run: `python benchmarks/run.py --data FOLDER`.

Every contender is a process that stays alive. Each is verified first: its losses over the first 200 steps (or
its probabilities of the first 200 images) agree with `cnnx.reference` to its dtype's rounding, under its own
rule for ties; one that does not is reported and not timed. Then all take turns, A B C A B C, so that whatever
the machine does meanwhile happens to all of them, and the median over the rounds counts.

Peers: `pip install -r benchmarks/requirements.txt`, beside cnnx or in an environment of their own that
`--peers PYTHON` names. What is not installed is listed as missing. Everything runs on one thread unless its
row says otherwise. The exit code is 1 when a contender fails or is not verified.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import oracle
import report
import whole
from entries import STEPS, Entry, predicting, training
from problem import CHECKED, FILTERS, POOLED, Problem, digits, noise

from cnnx.data import load

HERE = Path(__file__).parent
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NPROC": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "KERAS_BACKEND": "tensorflow",
    "JAX_PLATFORMS": "cpu",
}
SLOWER_NUMPY = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they force numpy's kernels for an older CPU


class Task(NamedTuple):
    """A problem's file, the right answers to it, and what `oracle.tolerance` wants to know of it."""

    problem: Path
    expected: np.ndarray
    inputs: int
    steps: int


class Worker:
    """A contender's process, and what became of it: a row of the results."""

    def __init__(self, entry: Entry, python: str, task: Task, log: Any) -> None:
        self.entry, self.task = entry, task
        self.row: dict[str, Any] = {
            "key": entry.key,
            "name": entry.name,
            "dtype": entry.dtype,
            "ties": entry.ties,
            "notes": entry.notes,
            "predicts": entry.predicts,
            "same": entry.problem != "noise" and entry.oracle != "strided losses",
            "rounds": [],
        }
        environment = {name: value for name, value in os.environ.items() if name not in SLOWER_NUMPY}
        self.process = subprocess.Popen(
            [python, str(HERE / "worker.py"), entry.module, str(task.problem), json.dumps(entry.options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment | ONE_THREAD | entry.environment,
        )
        self.take(self.read())

    @property
    def alive(self) -> bool:
        """Return whether the worker can be asked for more."""
        return "problem" not in self.row

    def take(self, reply: dict[str, Any]) -> None:
        """Keep what a reply says about the contender; a worker that cannot go on has a `problem`."""
        if "missing" in reply:
            self.row["problem"] = f"missing: {reply['missing']}"
        elif "error" in reply:
            self.row["problem"] = f"FAILED: {reply['error']}"
        elif "version" in reply:
            self.row |= reply

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return dict(json.loads(line)) if line else {"error": f"ended with code {self.process.wait()}"}

    def ask(self, **request: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then it has ended, as the reply will say
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        reply = self.read()
        self.take(reply)
        return reply

    def make_ready(self, seconds: float) -> None:
        """Verify the contender, and find how many calls fill `seconds`."""
        if self.alive:
            self.verify()
        if self.alive:
            self.choose_count(seconds)
        print(f"{self.entry.key}: {self.row.get('problem', 'verified')}", file=sys.stderr)

    def verify(self) -> None:
        reply = self.ask(check=len(self.task.expected))
        if not self.alive:
            return
        answer = np.array(reply["answer"])
        worst = float(np.max(np.abs(answer - self.task.expected)))
        allowed = oracle.tolerance(self.entry.dtype, self.task.inputs, self.task.steps)
        self.row |= {"worst": worst, "allowed": allowed}
        if not worst <= allowed:
            self.row["problem"] = f"NOT VERIFIED: differs by {worst:.2g}, allowed {allowed:.2g}"

    def choose_count(self, seconds: float) -> None:
        """Find how many calls fill `seconds`, which also warms the contender up."""
        self.count, taken = self.entry.least, 0.0
        while self.alive and taken < seconds / 10 and self.count < self.entry.most:
            taken = self.ask(time=self.count).get("seconds", seconds)
            grown = int(self.count * min(10.0, seconds / max(taken, 1e-9)))
            self.count = min(self.entry.most, max(grown, self.entry.least))

    def time(self) -> None:
        reply = self.ask(time=self.count)
        if self.alive:
            self.row["rounds"].append(reply["seconds"] / self.count / self.entry.images * 1e6)
            self.row["megabytes"] = reply["megabytes"]

    def close(self) -> dict[str, Any]:
        self.process.communicate()
        if self.alive and self.row["rounds"]:
            self.row["microseconds"] = statistics.median(self.row["rounds"])
        return self.row


def problems(data: str, folder: Path) -> dict[tuple[str, str, str], Task]:
    """Write every problem and return the tasks by (problem, oracle, ties)."""
    loaded = load(data)
    plain = digits(loaded.train_images, loaded.train_labels, STEPS)
    found = {}

    def add(name: str, problem: Problem, which: str, ties: str, answers: np.ndarray) -> None:
        path = folder / f"{name}.npz"
        if not path.exists():
            problem.save(path)
        found[name, which, ties] = Task(path, answers, inputs=POOLED * POOLED * FILTERS, steps=CHECKED)

    for name, problem in {"digits": plain, "noise": noise(plain)}.items():
        for ties in ("all", "first"):
            answers, trained = oracle.losses(problem, ties)
            add(name, problem, "losses", ties, answers)
            if name == "digits" and ties == "all":
                add("trained", trained, "probabilities", "—", oracle.probabilities(trained))
    add("digits", plain, "strided losses", "—", oracle.strided_losses(plain))
    return found


def measure(args: argparse.Namespace, folder: Path, log: Any) -> dict[str, Any]:
    chosen = [entry for entry in training() + predicting() if not args.only or args.only in entry.key]
    prepared = problems(args.data, folder)
    peak = machine.Peak(folder)
    workers = []
    for entry in chosen:
        python = args.peers if entry.peer else sys.executable
        worker = Worker(entry, python, prepared[entry.problem, entry.oracle, entry.ties], log)
        worker.make_ready(args.seconds)
        workers.append(worker)
    for _ in rounds(args.rounds):
        peak.measure()
        take_turns(workers)
    rows = [worker.close() for worker in workers]
    return {"peak": peak.rounds, "floor": peak.floor(), "rows": rows}


def rounds(count: int) -> Iterator[int]:
    for turn in range(count):
        print(f"round {turn + 1} of {count}", file=sys.stderr)
        yield turn


def take_turns(workers: Iterable[Worker]) -> None:
    for worker in workers:
        if worker.alive:
            worker.time()


def arguments(description: str | None) -> argparse.Namespace:
    """Return the command line of this program, and of the others that time contenders in turns."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="sample", metavar="FOLDER", help="a folder of MNIST's IDX files")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="the peers' Python")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn (default 1)")
    parser.add_argument("--only", metavar="TEXT", help="contenders whose row holds this text")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for the results")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def exit_code(rows: Iterable[dict[str, Any]]) -> int:
    """Return 1 when a contender failed or was not verified; one that is not installed is no failure."""
    return int(any(row.get("problem", "missing").split(":")[0] != "missing" for row in rows))


def main() -> int:
    args = arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder, (args.out / "workers.log").open("w") as log:
        results = machine.description() | measure(args, Path(folder), log)
    if args.data != "sample" and not args.only:
        results["whole"] = whole.measure(args.data)
    text = report.markdown(results)
    print(text)
    (args.out / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    (args.out / "results.md").write_text(text)
    subprocess.run([args.peers, HERE / "chart.py", args.out / "results.json"], check=False)
    return exit_code(results["rows"])


if __name__ == "__main__":
    sys.exit(main())
