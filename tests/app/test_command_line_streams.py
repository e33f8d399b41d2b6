"""Readers that leave, full disks and Ctrl-C end `python -m cnnx.train` as they end other programs."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import HANG, run_well, start, write_digits
from networks import bits

import cnnx


@pytest.mark.parametrize(
    ("stdout", "options"), [("| head -n 1", ""), ("| true", "--batch-size 10"), (">&-", "--quiet")]
)
def test_a_network_is_saved_even_if_nobody_reads_its_lines(tmp_path, stdout, options):
    train = f"{sys.executable} -m cnnx.train --limit 300 {options} --save"
    command = f"{{ {train} {tmp_path}/network; echo exit code $? >&2; }} {stdout}"
    process = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=HANG)
    assert process.stderr == "exit code 0\n"
    run_well("--limit", 300, *options.split(), "--save", tmp_path / "expected")
    assert bits(cnnx.load(tmp_path / "network")) == bits(cnnx.load(tmp_path / "expected"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_network_is_saved_even_if_its_lines_do_not_fit_on_the_disk(tmp_path):
    command = f"{sys.executable} -m cnnx.train --limit 300 --save {tmp_path}/network >/dev/full"
    process = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False, timeout=HANG)
    assert process.returncode == 2
    assert re.fullmatch(r"cnnx\.train: error: .*No space left on device\n", process.stderr)
    assert len(cnnx.load(tmp_path / "network").layers) == 3


def test_a_reader_of_the_network_that_leaves_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with start("--limit", 100, "--model", "small_convnet", "--save", tmp_path / "pipe") as process:
        with (tmp_path / "pipe").open("rb"):
            pass
        _, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 2
    assert stderr.startswith("cnnx.train: error: --save: expected a file that can be written, got ")


def test_a_line_appears_as_soon_as_it_is_printed(tmp_path, rng):
    folder = write_digits(tmp_path / "digits", rng, shape=(120, 120))  # so large that no line follows at once
    with start("--data", folder, "--epochs", 1000) as process:
        first = os.read(process.stdout.fileno(), 1 << 16)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=HANG)
    assert first.startswith(b"MNIST CNN initialized!\n")
    assert len(first) < 4096  # what is kept in a buffer comes in blocks of 8192 bytes


def test_ctrl_c_ends_with_one_line_and_exit_code_130():
    with start("--epochs", 20_000) as process:
        for line in process.stdout:
            if line.rstrip() == "--- Epoch 2 ---":
                break
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=HANG)
    assert (process.returncode, stderr) == (130, "Interrupted.\n")


def test_ctrl_c_leaves_no_half_written_network(tmp_path):
    with start("--epochs", 20_000, "--save", tmp_path / "network") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=HANG)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--quiet",)])
def test_a_reader_that_leaves_early_is_no_error(options):
    with start("--epochs", 50, "--limit", 100, *options) as process:
        if not options:
            process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(HANG) == 0


@pytest.mark.parametrize("options", ["--help"])
def test_a_closed_stdout_is_no_traceback(options):
    command = f"{sys.executable} -m cnnx.train --limit 100 {options} >&-"
    process = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False, timeout=HANG)
    assert "Traceback" not in process.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("options", ["--quiet"])
def test_a_full_disk_ends_with_one_line(options):
    command = f"{sys.executable} -m cnnx.train --limit 100 {options} >/dev/full"
    process = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False, timeout=HANG)
    assert process.returncode == 2
    assert re.fullmatch(r"cnnx\.train: error: .*No space left on device\n", process.stderr)
