"""The machine that figures are measured on: its name, its multiply-add peak, and what a process holds."""

import contextlib
import json
import os
import platform
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar


def cpu_name() -> str:
    """Return the CPU's own name where Linux tells it, otherwise its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class Peak:
    """The multiply-adds that one core can do: `peak.cpp`, compiled with the instructions of one of cnnx's targets."""

    FLAGS: ClassVar = {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mavx512vl", "-mfma"]}

    def __init__(self, target: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.program = Path(self.folder.name, "peak")
        source = Path(__file__).with_name("peak.cpp")
        command = [os.environ.get("CXX", "c++"), "-std=c++20", "-O3", *self.FLAGS.get(target, [])]
        subprocess.run([*command, source, "-o", self.program], check=True)

    def measure(self) -> float:
        """Return the FLOP a microsecond in float32, as many as it is now."""
        printed = subprocess.run([self.program], check=True, capture_output=True, text=True).stdout
        return float(json.loads(printed)["float32"]) * 1000


def peak_megabytes() -> float:
    """Return the most memory that this process has held.

    Linux counts towards `ru_maxrss` what the process that started this one held at that time, so its own high-water
    mark is read where the system tells it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def forget_peak() -> None:
    """Let the peak begin again at what the process holds now, where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
