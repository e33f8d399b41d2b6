"""Training in several processes of MPI: the same bits, one voice, and an end when one of them ends.

tests/core/test_ranks.py has what needs no MPI.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cnnx
from cnnx.train import main

pytest.importorskip("mpi4py", reason="mpi4py is not installed (extra mpi)")
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
if MPIEXEC is None:
    pytest.skip("mpiexec is not installed (extra mpi)", allow_module_level=True)
HANG = 60  # seconds that nothing here takes
OPTIONS = ["--model", "small_convnet", "--batch-size", "48", "--optimizer", "adam", "--augment", "shift", "--average"]
OPTIONS += ["0.9", "--validation", "100", "--epochs", "1", "--limit", "400"]

TRAINING = """
import os, signal, sys
import numpy as np
from mpi4py import MPI
import cnnx

comm, what = MPI.COMM_WORLD, sys.argv[1]
digits = cnnx.data.load()
np.random.seed(0)
network = cnnx.models.small_convnet(dtype=np.float32)

def report(progress):
    if comm.Get_rank() == 1 and progress.step == 4:
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("an error of rank 1")

network.fit(
    digits.train_images,
    digits.train_labels,
    epochs=1000,
    batch_size=64,
    learn_rate=0.01,
    progress_every=2,
    on_progress=report,
    comm=comm,
)
"""


def start(processes, *command):
    """Start a program on some ranks. Ctrl-C reaches it even where this test runs in the background."""
    return subprocess.Popen(
        [MPIEXEC, "-n", str(processes), sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def run(processes, *command):
    """Return the exit code, the lines on stdout and the lines on stderr."""
    process = start(processes, *command)
    stdout, stderr = process.communicate(timeout=HANG)
    return process.returncode, stdout.splitlines(), stderr.splitlines()


@pytest.mark.parametrize(("processes", "threads", "dtype"), [(2, 1, "float64"), (4, 2, "float32")])
def test_processes_train_the_network_of_one(tmp_path, capsys, processes, threads, dtype):
    alone, shared = tmp_path / "alone.npz", tmp_path / "shared.npz"
    options = [*OPTIONS, "--dtype", dtype]
    assert main([*options, "--save", str(alone)]) == 0
    expected = capsys.readouterr().out.splitlines()
    code, lines, errors = run(
        processes, "-m", "cnnx.train", "--mpi", *options, "--save", shared, "--threads", threads, "--checkpoint",
        tmp_path / "run.npz",
    )  # fmt: skip
    assert (code, errors) == (0, [])
    assert [line for line in lines if "second" not in line] == [line for line in expected if "second" not in line]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.npz", "run.npz", "shared.npz"]
    networks = [cnnx.load(path) for path in (alone, shared)]
    for layer, other in zip(*(network.layers for network in networks), strict=True):
        for name, array in layer.arrays().items():
            np.testing.assert_array_equal(other.arrays()[name], array, strict=True)


@pytest.mark.parametrize(
    ("processes", "options", "expected"),
    [
        (2, [], "--mpi: expected --batch-size of at least 2 beside it"),
        (2, ["--epochs", "0"], "argument --epochs: expected an integer"),
        (2, ["--batch-size", "32", "--data", "/no/folder"], "--data: expected"),
        (3, ["--batch-size", "2"], "comm: expected no more ranks than shards"),
    ],
)
def test_an_error_of_all_processes_is_told_once(processes, options, expected):
    code, lines, errors = run(processes, "-m", "cnnx.train", "--mpi", *options)
    assert code == 2
    assert [line for line in lines if "BAD" not in line] in ([], ["MNIST CNN initialized!"])
    assert len(errors) == 1
    assert errors[0].startswith(f"cnnx.train: error: {expected}")


def test_ctrl_c_ends_all_processes():
    process = start(2, "-m", "cnnx.train", "--mpi", "--batch-size", "64", "--epochs", "100000", "--threads", "1")
    assert "initialized" in process.stdout.readline()
    assert "Epoch 1" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    started = time.perf_counter()
    _, errors = process.communicate(timeout=HANG)
    assert time.perf_counter() - started < HANG / 2
    assert process.returncode != 0
    assert errors.count("Interrupted.") == 1
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("what", "expected"), [("kill", None), ("raise", "rank 1 of 2 has ended with ValueError: an error of rank 1")]
)
def test_a_process_that_ends_ends_all(tmp_path, what, expected):
    program = tmp_path / "program.py"
    program.write_text(TRAINING)
    code, _, errors = run(2, program, what)
    assert code != 0
    if expected is not None:
        assert errors.count(f"cnnx._ranks.OtherRankError: comm: {expected}") == 1
        assert errors.count("ValueError: an error of rank 1") == 1
