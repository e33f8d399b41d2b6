"""The machine that the figures were measured on, and the multiply-add peak of one of its cores."""

import json
import os
import platform
import statistics
import subprocess
from pathlib import Path

import numpy as np

import cnnx

# One step of the article's network, two FLOP a multiply-add: 97,344 for the convolution, as many for the gradient
# of its filters, and 81,120 for the dense layer's forward pass, its input's gradient and its update.
STEP_FLOP = 275_800


class Peak:
    """`peak.cpp`, compiled for this very CPU, and what it printed in every round."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "peak"
        self.rounds: list[dict[str, float]] = []
        source = Path(__file__).with_name("peak.cpp")
        compiler = os.environ.get("CXX", "c++")
        flags = ["-std=c++20", "-O3", "-march=native"]
        subprocess.run([compiler, *flags, source, "-o", self.program], check=True)

    def measure(self) -> None:
        printed = subprocess.run([self.program], check=True, capture_output=True, text=True).stdout
        self.rounds.append(json.loads(printed))

    def floor(self) -> dict[str, float]:
        """Return the microseconds that a step would take at the median peak, by dtype."""
        return {
            dtype: STEP_FLOP / statistics.median(turn[dtype] for turn in self.rounds) / 1000 for dtype in self.rounds[0]
        }


def description() -> dict[str, str]:
    """Return what a reader needs to know to compare these figures with others."""
    return {
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cnnx": cnnx.__version__,
        "targets": ", ".join(cnnx.targets()),
    }


def cpu_name() -> str:
    """Return the CPU's own name where Linux tells it, otherwise its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    widest = next((flag for flag in ("avx512f", "avx2") if any(flag in line for line in lines)), "")
    return " ".join([names[0] if names else platform.machine(), *([f"({widest})"] if widest else [])])
