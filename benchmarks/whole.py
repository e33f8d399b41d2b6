"""What one gets at the command line: `python -m cnnx.train` from process start to end, and the import."""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from cnnx.data import load

SEEDS = range(5)
DATA = "import sys; from cnnx.data import load; load(sys.argv[1])"


class Run(NamedTuple):
    """What one Python process took, and what it printed."""

    seconds: float
    printed: str


def run(*arguments: str) -> Run:
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    code = process.wait()
    seconds = time.perf_counter() - start
    if code:
        raise RuntimeError(f"{' '.join(arguments)} ended with code {code}")
    return Run(seconds, printed)


def accuracy(printed: str) -> float:
    """Return the test accuracy in percent, as the command printed it."""
    line = next(line for line in printed.splitlines() if line.startswith("Test Accuracy:"))
    value = line.partition(":")[2].strip()
    return float(value.rstrip("%")) * (1 if value.endswith("%") else 100)


def measure(data: str) -> dict[str, Any]:
    """Return the goals of the whole run, as arguments of `report.Goal`, and lines for the report."""
    train = ("cnnx.train", "--data", data, "--dtype", "float32", "--quiet", "--ties")
    runs = {ties: [run("-m", *train, ties, "--seed", str(seed)) for seed in SEEDS] for ties in ("first", "all")}
    accuracies = {ties: [accuracy(turn.printed) for turn in turns] for ties, turns in runs.items()}
    loaded = load(data)
    images = (loaded.train_images.nbytes + loaded.test_images.nbytes) / 2**20
    peak = float(run(str(Path(__file__).with_name("memory.py")), *train, "first").printed.splitlines()[-1])
    loading = statistics.median(run("-c", DATA, data).seconds for _ in SEEDS)
    numpy_alone, with_cnnx = (
        statistics.median(run("-c", f"import {what}").seconds for _ in range(21)) for what in ("numpy", "numpy, cnnx")
    )
    goals = [
        ("whole run: seconds", "≤", 1.3, statistics.median(turn.seconds for turn in runs["first"])),
        ("of which import and data", "≤", 0.4, loading),
        ("test accuracy, ties=first, mean", "≥", 96.7, statistics.mean(accuracies["first"])),
        ("test accuracy, ties=all, mean", "≥", 96.4, statistics.mean(accuracies["all"])),
        ("peak memory above the data, MB", "≤", 60, peak - images),
        ("import cnnx over numpy, ms", "≤", 40, (with_cnnx - numpy_alone) * 1000),
    ]
    lines = [
        f"Test accuracy in %, ties={ties}, seeds 0 to 4: {', '.join(f'{value:.2f}' for value in values)}."
        for ties, values in accuracies.items()
    ]
    return {"goals": goals, "lines": lines}
