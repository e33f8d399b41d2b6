"""The examples of pools and sweeps: every pool and every backend gives the same networks."""

import importlib.util
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("joblib", reason="joblib is not installed (extra sklearn)")
EXAMPLES = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists()) / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the sdist has no examples/")


def run(*command):
    ended = subprocess.run([sys.executable, *command], cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def test_every_pool_trains_the_networks_of_a_loop():
    lines = run("pools.py")
    assert len(lines) == len(multiprocessing.get_all_start_methods()) + 3
    for line in lines:
        assert line.endswith(": 4 networks, the same bits")


def test_a_sweep_gives_the_same_in_processes_and_in_threads(capsys):
    in_processes = run("sweep.py", "--jobs", "2")
    assert in_processes[-1].startswith("36 trainings; the best kind reads ")
    assert len(in_processes) == 2 * 2 * 3 + 1

    spec = importlib.util.spec_from_file_location("sweep", EXAMPLES / "sweep.py")
    sweep = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sweep)
    sweep.main(["--backend", "threading", "--jobs", "2"])
    assert capsys.readouterr().out.splitlines() == in_processes
