"""Two builds of cnnx beside each other: `python benchmarks/builds.py --data FOLDER PYTHON_A PYTHON_B`.

A build is the Python of a virtual environment that cnnx is installed in. Each has one process that stays alive
(`build_tasks.py`); they take turns, A B A B, so that whatever the machine does meanwhile happens to both, and the
medians over the rounds count. "B / A" below 1 means that B is faster. The same Python twice shows what chance does.

Both builds compute a few losses or probabilities of each row first, and the table says how far they are apart.
"""

import os
import shlex
import sys
from functools import partial
from pathlib import Path

import turns
from turns import Entrant, Process, line, spread

TASKS = Path(__file__).with_name("build_tasks.py")
APART = 1e-3  # how far losses and probabilities of two builds may be apart
ONE, EIGHT = "ONE network", "EIGHT networks"  # how the names of the rows with threads end


def entrants(name: str, builds: list[Process], seconds: float) -> list[Entrant]:
    """Return a row's two entrants, compared with each other and ready."""
    both = [
        Entrant(f"{name}, {letter}", partial(build.ask, "answer", name), partial(build.ask, "clock", name))
        for letter, build in zip("AB", builds, strict=True)
    ]
    a, b = both
    try:
        a.items = b.items = builds[0].ask("items", name)
        b.verify(a.answer(), APART)
    except RuntimeError as error:
        b.problem = str(error)
    a.problem = b.problem
    for entrant in both:
        entrant.fill(seconds)
    a.count = b.count = max(a.count, b.count)
    return both


def cells(name: str, a: Entrant, b: Entrant) -> list[str]:
    """Return the row of the table."""
    if problem := a.problem or b.problem:
        return [name, *"—————", problem]
    medians, smallest = b.median / a.median, min(b.rounds) / min(a.rounds)
    return [
        name,
        spread(a.rounds),
        spread(b.rounds),
        f"{medians:.3f}",
        f"{smallest:.3f}",
        spread(b.times(a)),
        b.verified,
    ]


def print_threads(rows: dict[str, list[Entrant]]) -> None:
    """Print what sharing one network between threads costs each build, in images a second."""
    timed = {name: both for name, both in rows.items() if not any(it.problem for it in both)}
    shared = {name.removesuffix(ONE): both for name, both in timed.items() if name.endswith(ONE)}
    if not any(start + EIGHT in timed for start in shared):
        return
    print()
    turns.table("predicting 64 images a call", "build", f">{ONE}, images/s", f">{EIGHT}, images/s", ">one / eight")
    for start, both in shared.items():
        for build, one, eight in zip("AB", both, timed.get(start + EIGHT, []), strict=False):
            a, b = 1e6 / one.median, 1e6 / eight.median
            line(start.removesuffix(", "), build, f"{a:,.0f}", f"{b:,.0f}", f"{a / b:.3f}")


def main() -> int:
    parser = turns.options(__doc__, rounds=15, seconds=0.05)
    parser.add_argument("pythons", nargs=2, metavar="PYTHON", help="the Python of build A, then that of build B")
    parser.add_argument("--data", required=True, metavar="FOLDER", help="a folder of MNIST's IDX files")
    parser.add_argument("--target", metavar="NAME", help="the CPU target of both builds (default each one's best)")
    args = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)  # it could put one and the same cnnx before both
    target = {"CNNX_TARGET": args.target} if args.target else {}
    builds = [Process(python, TASKS, args.data, environment=target) for python in args.pythons]
    about = [build.ask("about") for build in builds]
    names = turns.wanted(dict.fromkeys(name for it in about for name in it["rows"]), args.only)
    rows = {name: entrants(name, builds, args.seconds) for name in names}
    turns.take_turns([entrant for both in rows.values() for entrant in both], args.rounds)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"- {about[0]['cpu']}, {cpus} CPUs for this process")
    for letter, python, it in zip("AB", args.pythons, about, strict=True):
        print(f"- {letter}: `{python}`, {it['build']}")
    print(f"- `python {shlex.join(sys.argv)}`; microseconds an item, medians (smallest–largest) of the rounds\n")
    turns.table(
        "row", ">A, µs", ">B, µs", ">B / A, of the medians", ">of the smallest", ">of the rounds", "results apart"
    )
    for name, both in rows.items():
        line(*cells(name, *both))
    print_threads(rows)
    return int(any(entrant.problem for both in rows.values() for entrant in both))


if __name__ == "__main__":
    sys.exit(main())
