"""Two builds of cnnx beside each other: `python benchmarks/builds.py --data FOLDER PYTHON_A PYTHON_B`.

A build is the Python of a virtual environment that cnnx is installed in. Each has one process that stays alive
(`build_worker.py`); they take turns, A B A B, so that whatever the machine does meanwhile happens to both, and the
medians over the rounds count. "B / A" below 1 means that B is faster. The same Python twice shows what chance does.

Both builds compute a few losses or probabilities of each row first, and the table says how far they are apart.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("build_worker.py")
TOLERANCE = 1e-3  # how far losses and probabilities of two builds may be apart


ONE, EIGHT = "ONE network", "EIGHT networks"  # how the names of the rows with threads end


class Build:
    """A worker's process, which answers one line of JSON with another."""

    def __init__(self, python: str, data: str, target: str | None) -> None:
        # PYTHONPATH could put one and the same cnnx before both.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [python, str(WORKER), data],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | ({} if target is None else {"CNNX_TARGET": target}),
        )
        self.python = python
        self.first = self.read()

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.python}: the worker ended with code {self.process.wait()}")
        return json.loads(line)

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        reply = self.read()
        if "problem" in reply:
            raise RuntimeError(f"{self.python}: {reply['problem']}")
        return reply["reply"]


class Row:
    """One row, and the microseconds an item that each build took in every round."""

    def __init__(self, name: str, builds: list[Build]) -> None:
        self.name, self.builds, self.problem, self.apart = name, builds, "", "—"
        self.took: tuple[list[float], list[float]] = ([], [])
        try:
            a, b = (build.ask(make=name) for build in builds)
            if a and b:
                worst = max(abs(one - other) for one, other in zip(a, b, strict=True))
                self.apart = "the same bits" if worst == 0 else f"{worst:.0e}"
                if not worst <= TOLERANCE:
                    self.problem = f"NOT TIMED: the builds differ by {worst:.2g}, allowed {TOLERANCE:g}"
            self.count = 0 if self.problem else max(build.ask(repetitions=name) for build in builds)
        except (RuntimeError, ValueError) as error:
            self.problem = str(error)
        print(f"{name}: {self.problem or 'ready'}", file=sys.stderr)

    def take_turns(self) -> None:
        for build, took in zip(self.builds, self.took, strict=True):
            took.append(build.ask(time=self.name, count=self.count))

    def line(self) -> str:
        if self.problem:
            return f"| {self.name} | — | — | — | — | — | {self.problem} |"
        a, b = self.took
        ratios = spread([other / one for one, other in zip(a, b, strict=True)])
        medians, smallest = statistics.median(b) / statistics.median(a), min(b) / min(a)
        columns = self.name, spread(a), spread(b), f"{medians:.3f}", f"{smallest:.3f}", ratios, self.apart
        return f"| {' | '.join(columns)} |"


def spread(values: list[float]) -> str:
    middle, least, most = (figure(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least}–{most})"


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.3f}"


def threads_table(rows: list[Row]) -> list[str]:
    """Return what sharing one network between threads costs each build, in images a second."""
    timed = {row.name: row for row in rows if not row.problem}
    lines = []
    for name, row in timed.items():
        other = timed.get(name.replace(ONE, EIGHT))
        if not name.endswith(ONE) or other is None:
            continue
        for build, one, eight in zip("AB", row.took, other.took, strict=True):
            a, b = (1e6 / statistics.median(took) for took in (one, eight))
            lines.append(f"| {name.removesuffix(', ' + ONE)} | {build} | {a:,.0f} | {b:,.0f} | {a / b:.3f} |")
    if not lines:
        return []
    head = f"| predicting 64 images a call | build | {ONE}, images/s | {EIGHT}, images/s | one / eight |"
    return ["", head, "| --- | --- | ---: | ---: | ---: |", *lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pythons", nargs=2, metavar="PYTHON", help="the Python of build A, then that of build B")
    parser.add_argument("--data", required=True, metavar="FOLDER", help="a folder of MNIST's IDX files")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each build (default 15)")
    parser.add_argument("--target", metavar="NAME", help="the CPU target of both builds (default each one's best)")
    parser.add_argument("--only", metavar="TEXT", help="rows whose name holds this text")
    args = parser.parse_args()
    builds = [Build(python, args.data, args.target) for python in args.pythons]
    names = dict.fromkeys(
        name for build in builds for name in build.first["rows"] if not args.only or args.only in name
    )
    rows = [Row(name, builds) for name in names]
    for turn in range(args.rounds):
        print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)
        for row in rows:
            if not row.problem:
                row.take_turns()
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"- {builds[0].first['cpu']}, {cpus} CPUs for this process")
    for letter, build in zip("AB", builds, strict=True):
        print(f"- {letter}: `{build.python}`, {build.first['about']}")
    print(f"- `python {shlex.join(sys.argv)}`; microseconds an item, medians (smallest–largest) of the rounds\n")
    print("| row | A, µs | B, µs | B / A, of the medians | of the smallest | of the rounds | results apart |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    print("\n".join([*(row.line() for row in rows), *threads_table(rows)]))
    return int(any(row.problem for row in rows))


if __name__ == "__main__":
    sys.exit(main())
