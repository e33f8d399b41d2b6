"""What one gets at the command line: `python benchmarks/whole.py [--seeds N] -- OPTIONS OF python -m cnnx.train`.

Every seed is a process of its own. The table has its seconds from start to end, its peak memory and its test accuracy;
the last row has their median, largest and mean.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import time

from turns import line, number, table


def run(options: list[str]) -> tuple[float, float, float]:
    """Return the seconds, megabytes and percent of one process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "cnnx.train", *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"python -m cnnx.train {shlex.join(options)} ended with code {process.returncode}")
    accuracy = next(text for text in printed.splitlines() if text.startswith("Test Accuracy:")).split()[-1]
    percent = float(accuracy.rstrip("%")) * (1 if accuracy.endswith("%") else 100)
    return seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), percent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N - 1 (default 5)")
    parser.add_argument("options", nargs="*", help="for python -m cnnx.train, after --")
    args = parser.parse_args()
    print(f"`python -m cnnx.train {shlex.join(args.options)}`\n")
    table("seed", ">seconds", ">peak memory, MB", ">test accuracy, %")
    runs = []
    for seed in range(args.seeds):
        runs.append(run(["--quiet", *args.options, "--seed", str(seed)]))
        line(str(seed), *(number(value) for value in runs[-1][:2]), f"{runs[-1][2]:.2f}")
    seconds, megabytes, percents = zip(*runs, strict=True)
    line("all", number(statistics.median(seconds)), number(max(megabytes)), f"{statistics.mean(percents):.2f}")


if __name__ == "__main__":
    main()
