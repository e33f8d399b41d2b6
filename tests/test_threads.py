"""Threads that train and predict at the same time, and how many of them there are."""

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cnnx import Conv3x3, Dense, ReLU, Sequential, Softmax

PATIENCE = 60  # seconds that nothing here takes


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
