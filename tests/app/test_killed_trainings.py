"""A training that is killed again and again, and goes on each time, has the bits of one that was left alone.

Each attempt is a process of its own. SIGKILL ends it at a random moment, or at a chosen one while it writes. CNNX_KILLS
sets how often: `CNNX_KILLS=1000 pytest -k killed`.
"""

import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest

HANG = 120  # seconds that nothing here takes
KILLS = int(os.environ.get("CNNX_KILLS", "20"))

TRAINING = """
import io
import os
import signal
import sys
from pathlib import Path

import numpy as np

import cnnx

kind, result, checkpoint, moment = sys.argv[1:]
np.random.seed(0)
network = cnnx.models.article_cnn(dtype=np.float32)
digits = cnnx.data.load()
options = {
    "one image a step": {"epochs": 100, "learn_rate": 0.005},
    "batches": {
        "epochs": 30,
        "optimizer": cnnx.Adam(0.003),
        "batch_size": 8,
        "schedule": "one_cycle",
        "augment": cnnx.RandomAffine(rotation=10, scale=0.1, shift=2),
        "average": 0.98,
        "validation": (digits.train_images[400:500], digits.train_labels[400:500]),
        "early_stopping": cnnx.EarlyStopping(100),
    },
}[kind]
if checkpoint:
    every = 1500 if kind == "one image a step" else 40
    options |= {"checkpoint": checkpoint, "resume": checkpoint, "checkpoint_every": every}

count = [0]


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def third(work, and_then=kill):
    def call(*arguments, **named):
        count[0] += 1
        return (work if count[0] != 3 else and_then)(*arguments, **named)

    return call


def half(file, **arrays):
    whole = io.BytesIO()
    savez(whole, **arrays)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    kill()


savez, replace, fsync = np.savez, Path.replace, os.fsync
if moment == "before the first byte":
    np.savez = third(savez)
elif moment == "half of the bytes":
    np.savez = third(savez, half)
elif moment == "before they are on the disk":
    os.fsync = third(fsync)
elif moment == "before the new file has its name":
    Path.replace = third(replace)
elif moment == "after that":
    Path.replace = third(replace, lambda *paths: (replace(*paths), kill()))

print("ready", flush=True)
history = network.fit(digits.train_images[:400], digits.train_labels[:400], threads=1, **options)
np.savez = savez
np.savez(result, *history, network.parameters, np.random.random(4))
"""

MOMENTS = [
    "before the first byte",
    "half of the bytes",
    "before they are on the disk",
    "before the new file has its name",
    "after that",
]


def start(folder, kind, checkpoint="run", moment=""):
    """Start a process that trains, and return when it is about to begin."""
    checkpoint = checkpoint and str(folder / checkpoint)
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING, kind, str(folder / "result.npz"), checkpoint, moment],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def end(process, code=0):
    with process:
        assert process.wait(HANG) == code


def result(folder):
    """Return all that a training leaves, and forget it."""
    with np.load(folder / "result.npz") as archive:
        found = {name: archive[name].tobytes() for name in archive.files}
    (folder / "result.npz").unlink()
    return found


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """Return what each kind of training leaves if it writes no checkpoints and nothing disturbs it."""
    folder, found = tmp_path_factory.mktemp("alone"), {}
    for kind in ("one image a step", "batches"):
        end(start(folder, kind, checkpoint=""))
        found[kind] = result(folder)
    return found


@pytest.mark.parametrize(("kind", "kills"), [("batches", KILLS), ("one image a step", KILLS // 4)])
def test_a_training_killed_at_random_moments_ends_with_the_same_bits(tmp_path, left_alone, kind, kills):
    moments, longest, found = random.Random(7), 0.25, []  # seconds
    while len(found) < kills or len(set(found)) < 3:  # at different places
        process = start(tmp_path, kind)
        try:
            process.wait(moments.uniform(0, longest))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            end(process, -signal.SIGKILL)
            place = (tmp_path / "run").read_bytes() if (tmp_path / "run").exists() else b""
            longest *= 1.2 if found and place == found[-1] else 1  # a slow machine
            found.append(place)
        else:  # it was faster: again from the start, until there were enough kills
            end(process)
            assert result(tmp_path) == left_alone[kind]
            (tmp_path / "run").unlink()
    end(start(tmp_path, kind))
    assert result(tmp_path) == left_alone[kind]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_training_killed_while_it_writes_ends_with_the_same_bits(tmp_path, left_alone, moment):
    end(start(tmp_path, "batches", moment=moment), -signal.SIGKILL)
    assert (tmp_path / "run").exists()
    assert not (tmp_path / "result.npz").exists()
    end(start(tmp_path, "batches"))
    assert result(tmp_path) == left_alone["batches"]
