"""The peak memory of this process, or of a command: `memory.py cnnx.train …` is `python -m`, with one line more."""

import contextlib
import resource
import runpy
import sys
from pathlib import Path


def peak_megabytes() -> float:
    """Return the most memory that this process has held.

    Linux counts towards `ru_maxrss` what the process that started this one held at that time, so its own
    high-water mark is read where the system tells it.
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


if __name__ == "__main__":
    del sys.argv[0]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    finally:
        print(peak_megabytes())
