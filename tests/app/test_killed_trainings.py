"""A training that is killed again and again, and goes on each time, has the bits of one that was left alone.

Each attempt is a process of its own. SIGKILL ends it at a random moment, or at a chosen one while it writes. CNNX_KILLS
sets how often: `CNNX_KILLS=1000 pytest -k killed`.
"""

import io
import multiprocessing
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
from networks import sample

import cnnx

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]
HANG = 120  # seconds that nothing here takes
KILLS = int(os.environ.get("CNNX_KILLS", "20"))


def train(folder, kind, checkpoint, moment):
    """Train with or without checkpoints, and be killed at a moment of MOMENTS. Leave the result in the folder."""
    np.random.seed(0)
    network = cnnx.models.article_cnn(dtype=np.float32)
    digits = sample()
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
        options |= {"checkpoint": folder / "run", "resume": folder / "run", "checkpoint_every": every}
    savez = np.savez
    if moment:
        MOMENTS[moment]()
    history = network.fit(digits.train_images[:400], digits.train_labels[:400], threads=1, **options)
    savez(folder / "result.npz", *history, network.parameters, np.random.random(4))


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def at_its_third_call(owner, name, instead=kill):
    """Let the third call of a function call `instead`, which gets the function, too. The process ends with it."""
    work, calls = getattr(owner, name), []

    def call(*arguments, **named):
        calls.append(name)
        return work(*arguments, **named) if len(calls) != 3 else instead(work, *arguments, **named)

    setattr(owner, name, call)


def half(savez, file, **arrays):
    whole = io.BytesIO()
    savez(whole, **arrays)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    kill()


MOMENTS = {
    "before the first byte": lambda: at_its_third_call(np, "savez"),
    "half of the bytes": lambda: at_its_third_call(np, "savez", half),
    "before they are on the disk": lambda: at_its_third_call(os, "fsync"),
    "before the new file has its name": lambda: at_its_third_call(Path, "replace"),
    "after that": lambda: at_its_third_call(Path, "replace", lambda replace, *paths: (replace(*paths), kill())),
}


def start(folder, kind, checkpoint=True, moment=""):
    """Start a process that trains. A fork has imported everything already."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(folder, kind, checkpoint, moment))
    process.start()
    return process


def end(process, code=0):
    process.join(HANG)
    assert process.exitcode == code


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
        end(start(folder, kind, checkpoint=False))
        found[kind] = result(folder)
    return found


@pytest.mark.parametrize(("kind", "kills"), [("batches", KILLS), ("one image a step", KILLS // 4)])
def test_a_training_killed_at_random_moments_ends_with_the_same_bits(tmp_path, left_alone, kind, kills):
    moments, longest, found = random.Random(7), 0.25, []  # seconds
    while len(found) < kills or len(set(found)) < 3:  # at different places
        process = start(tmp_path, kind)
        process.join(moments.uniform(0, longest))
        process.kill()
        process.join(HANG)
        if process.exitcode == 0:  # it was faster: again from the start, until there were enough kills
            assert result(tmp_path) == left_alone[kind]
            (tmp_path / "run").unlink()
        else:
            assert process.exitcode == -signal.SIGKILL
            place = (tmp_path / "run").read_bytes() if (tmp_path / "run").exists() else b""
            longest *= 1.2 if found and place == found[-1] else 1  # a slow machine
            found.append(place)
    end(start(tmp_path, kind))
    assert result(tmp_path) == left_alone[kind]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_training_killed_while_it_writes_ends_with_the_same_bits(tmp_path, left_alone, moment):
    end(start(tmp_path, "batches", moment=moment), -signal.SIGKILL)
    assert (tmp_path / "run").exists()
    assert not (tmp_path / "result.npz").exists()
    end(start(tmp_path, "batches"))
    assert result(tmp_path) == left_alone["batches"]
