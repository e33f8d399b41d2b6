"""Where the system gives fewer threads than asked for, training ends all the same: with a result or with an error."""

import subprocess
import sys

import pytest

HANG = 60  # seconds that nothing here takes

NO_ROOM_FOR_STACKS = """
import resource
from pathlib import Path
import numpy as np
import cnnx

images, labels = np.ones((64, 9, 9)), np.arange(64) % 3
network = cnnx.Sequential([cnnx.Conv3x3(4), cnnx.MaxPool2(), cnnx.Softmax(36, 3)])  # enough work for 8 threads
network.evaluate(images, labels, threads=3)  # whose stacks the C library keeps for threads to come
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for method in ("fit", "gradients", "evaluate"):
    options = {"epochs": 1, "learn_rate": 0.1, "batch_size": 32} if method == "fit" else {}
    try:
        getattr(network, method)(images, labels, threads=16, **options)
    except (RuntimeError, OSError, MemoryError) as error:
        print(method, type(error).__name__)
    getattr(network, method)(images, labels, threads=1, **options)
    print(method, "ends")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_a_thread_that_cannot_start_stops_nothing():
    run = subprocess.run(
        [sys.executable, "-c", NO_ROOM_FOR_STACKS], capture_output=True, text=True, timeout=HANG, check=False
    )
    assert run.stderr == ""
    assert [line for line in run.stdout.splitlines() if line.endswith("ends")] == [
        "fit ends",
        "gradients ends",
        "evaluate ends",
    ]
