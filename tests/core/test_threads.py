"""Threads that train and predict at the same time, how many there are, and too few of them."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cnnx import Conv3x3, Dense, ReLU, Sequential, Softmax

PATIENCE = 60  # seconds that nothing here takes


@pytest.mark.smoke
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads as Linux does")
def test_a_batch_has_no_more_threads_than_parts(rng):
    """A few images through a dense network are one part: more threads would only wait for it."""
    images, labels = rng.integers(0, 256, (512, 12, 12), np.uint8), rng.integers(0, 3, 512)
    network = Sequential([Dense(144, 100, rng=rng), ReLU(), Softmax(100, 3, rng=rng)])
    options = {"epochs": 60, "learn_rate": 0.001, "batch_size": 8}
    training = threading.Thread(target=network.fit, args=(images, labels), kwargs={**options, "threads": 8})
    before = len(list(Path("/proc/self/task").iterdir()))
    training.start()
    most = 0
    while training.is_alive():
        most = max(most, len(list(Path("/proc/self/task").iterdir())))
    training.join()
    assert most < before + 5  # the one that trains, and none of seven others; a test runner may start some


def test_predictions_that_never_pause_do_not_keep_training_from_its_turn(rng):
    images, labels = rng.integers(0, 256, (7, 28, 28), np.uint8), rng.integers(0, 3, 7)
    layers = [Conv3x3(16, 1, padding="same", rng=rng), Conv3x3(16, 16, padding="same", rng=rng)]
    network = Sequential([*layers, Softmax(28 * 28 * 16, 3, rng=rng)])
    network.predict(images)
    windows, counts, stop = 20, [0] * 4, threading.Event()

    def predict(thread):
        while not stop.is_set():
            network.predict(images, threads=1)  # few images: the parameters are read where they are
            counts[thread] += 1

    others = [threading.Thread(target=predict, args=(thread,)) for thread in range(len(counts))]
    for other in others:
        other.start()
    started, before = time.perf_counter(), sum(counts)
    network.fit(images[:1], labels[:1], epochs=windows, learn_rate=1e-4, threads=1)
    meanwhile, seconds = sum(counts) - before, time.perf_counter() - started
    stop.set()
    for other in others:
        other.join()
    assert seconds < PATIENCE
    assert meanwhile < 10 * windows * len(counts)


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
        [sys.executable, "-c", NO_ROOM_FOR_STACKS], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert run.stderr == ""
    assert [line for line in run.stdout.splitlines() if line.endswith("ends")] == [
        "fit ends",
        "gradients ends",
        "evaluate ends",
    ]
