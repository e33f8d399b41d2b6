"""Every kernel on every CPU target: `python benchmarks/kernels.py PREFIX [PREFIX_B]`.

A prefix is where a core has been installed: `cmake -S . -B build/core && cmake --build build/core && cmake --install
build/core --prefix PREFIX`. A second one, of another commit, is timed beside the first; "B / A" below 1 means that B is
faster. Each has a process of its own, which reaches the kernels through `kernels.cpp`, compiled here.

No kernel is timed before its results agree with plain numpy (`kernel_cases.py`). Then all take turns. Times are
microseconds a call, and a call's shapes are those of the article's network and of Keras's convnet.
"""

import os
import shlex
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from functools import partial
from pathlib import Path

import pybind11
import turns
from machine import cpu_name
from turns import TOLERANCE, Entrant, Process, line, number, spread

HERE = Path(__file__).parent
C_TYPE = {"float32": "float", "float64": "double"}


def compiled(prefix: str, dtype: str, folder: Path) -> Path:
    """Compile a dtype's table of kernels for Python, and return the folder that it is in."""
    library = next(Path(prefix).rglob("libcnnx_core.a"), None)
    if library is None:
        raise SystemExit(f"{prefix}: expected an installed core, found no libcnnx_core.a")
    folder.mkdir()
    includes = [pybind11.get_include(), sysconfig.get_path("include"), f"{prefix}/include"]
    output = folder / f"cnnx_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = [os.environ.get("CXX", "c++"), "-std=c++20", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread"]
    command += [f"-DCNNX_DTYPE={C_TYPE[dtype]}"]
    command += [*(f"-I{path}" for path in includes), str(HERE / "kernels.cpp"), str(library), "-o", str(output)]
    if sys.platform == "darwin":
        command += ["-undefined", "dynamic_lookup"]
    subprocess.run(command, check=True)
    return folder


def entrant(name: str, build: Process, target: int, kernel: str, dtype: str, seconds: float) -> Entrant:
    """Return a kernel of a build, verified and ready."""
    ready = Entrant(name, partial(build.ask, "apart", target, kernel), partial(build.ask, "clock", target, kernel))
    try:
        results = ready.answer()
        ready.verify([0.0] * len(results), TOLERANCE[dtype])
    except RuntimeError as error:
        ready.problem = str(error)
    ready.fill(seconds)
    return ready


def cells(build: list[Entrant]) -> list[str]:
    """Return a kernel's columns: its time in each build, B / A, how far it is from numpy."""
    if problem := next((it.problem for it in build if it.problem), ""):
        return [*("—" for _ in build), *(["—"] if build[1:] else []), problem]
    ratio = [number(statistics.median(build[1].times(build[0])))] if build[1:] else []
    return [*(spread(it.rounds) for it in build), *ratio, build[-1].verified]


def main() -> int:
    parser = turns.options(__doc__, rounds=5, seconds=0.02)
    parser.add_argument("prefixes", nargs="+", metavar="PREFIX", help="where a core is installed; one or two")
    parser.add_argument("--dtype", choices=TOLERANCE, default="float32")
    args = parser.parse_args()
    if len(args.prefixes) > 2:
        parser.error(f"expected one or two prefixes, got {len(args.prefixes)}")
    with tempfile.TemporaryDirectory() as scratch:
        folders = [
            compiled(prefix, args.dtype, Path(scratch, letter))
            for prefix, letter in zip(args.prefixes, "AB", strict=False)
        ]
        builds = [Process(sys.executable, HERE / "kernel_cases.py", folder, args.dtype) for folder in folders]
        targets, kernels = builds[0].ask("about")
        cases = {f"{kernel}, {target}": (kernel, at) for kernel in kernels for at, target in enumerate(targets)}
        rows = {}
        for name in turns.wanted(cases, args.only):
            kernel, at = cases[name]
            rows[kernel, targets[at]] = [entrant(name, build, at, kernel, args.dtype, args.seconds) for build in builds]
        turns.take_turns([it for both in rows.values() for it in both], args.rounds)
    print(f"- {cpu_name()}; `python {shlex.join(sys.argv)}`; {args.dtype}, medians (smallest–largest) of the rounds")
    for letter, prefix in zip("AB", args.prefixes, strict=False):
        print(f"- {letter}: `{prefix}`")
    print()
    times = [">A, µs", ">B, µs", ">B / A"] if builds[1:] else [">µs"]
    turns.table("kernel", "target", *times, "from numpy")
    for (kernel, target), both in rows.items():
        line(kernel, target, *cells(both))
    return int(any(it.problem for both in rows.values() for it in both))


if __name__ == "__main__":
    sys.exit(main())
