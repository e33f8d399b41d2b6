"""The examples of pools and sweeps: every pool and every backend gives the same networks."""

import importlib.util
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

import cnnx

pytest.importorskip("joblib", reason="joblib is not installed (extra sklearn)")
EXAMPLES = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists()) / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the sdist has no examples/")


def run(*command):
    ended = subprocess.run([sys.executable, *command], cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def load(name):
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_pool_trains_the_networks_of_a_loop():
    lines = run("pools.py")
    assert len(lines) == len(multiprocessing.get_all_start_methods()) + 3
    for line in lines:
        assert line.endswith(": 4 networks, the same bits")


def test_a_sweep_gives_the_same_in_processes_and_in_threads(capsys):
    in_processes = run("sweep.py", "--jobs", "2")
    assert in_processes[-1].startswith("36 trainings; the best kind reads ")
    assert len(in_processes) == 2 * 2 * 3 + 1

    load("sweep").main(["--backend", "threading", "--jobs", "2"])
    assert capsys.readouterr().out.splitlines() == in_processes


def test_a_pool_that_gives_other_bits_fails(monkeypatch, capsys):
    pools = load("pools")
    networks = pools.in_a_loop(*(array[:100] for array in cnnx.data.load()[:2]))
    monkeypatch.setattr(pools, "in_a_loop", lambda *_: networks)
    for name in ("in_multiprocessing", "in_process_executor", "in_thread_executor"):
        monkeypatch.setattr(pools, name, lambda *_: networks)
    monkeypatch.setattr(pools, "in_joblib", lambda *_: networks[::-1])
    assert pools.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "joblib: 4 networks, OTHER BITS"


def test_an_address_is_for_backends_with_a_scheduler(capsys):
    with pytest.raises(SystemExit, match="2"):
        load("sweep").main(["--address", "tcp://scheduler:8786"])
    assert "--address: expected none for loky, which has no scheduler, got 'tcp://" in capsys.readouterr().err
