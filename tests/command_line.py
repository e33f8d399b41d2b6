"""`python -m cnnx.train`, called within this process or started as one of its own."""

import contextlib
import io
import re
import signal
import struct
import subprocess
import sys

import numpy as np

from cnnx.train import main

HANG = 120  # seconds that nothing here takes
NUMBER = r"\d+(\.\d+)?(e-\d+)?"
STEP_LINE = re.compile(r"\[Step (\d+)00\] Past 100 steps: Average Loss \d+\.\d{3} \| Accuracy: (100|\d\d?)%")
LOSS_LINE, ACCURACY_LINE = re.compile(rf"Test Loss: ({NUMBER})"), re.compile(rf"Test Accuracy: ({NUMBER})")
LAST_LINE = re.compile(
    r"(?P<steps>\d+) steps in (?P<seconds>\d+\.\d\d) s: \d+\.\d microseconds a step, (?P<dtype>float\d\d)"
)


def start(*options, **settings):
    """Start the command line; Ctrl-C reaches it even where this test runs in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "cnnx.train", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **settings,
    )


def run_main(program, *arguments):
    """Run a program's `main`. Return the exit code, the text on stdout and the text on stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            code = program([str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse's
            code = ended.code
    return code, stdout.getvalue(), stderr.getvalue()


def run(*options):
    """Return the exit code, the lines on stdout and the lines on stderr."""
    code, printed, errors = run_main(main, *options)
    return code, printed.splitlines(), errors.splitlines()


def run_well(*options):
    code, lines, errors = run(*options)
    assert (code, errors) == (0, [])
    return lines


def expected_lines(steps, epochs):
    """Return a pattern for each line that a run prints, `steps` steps an epoch."""
    patterns = ["MNIST CNN initialized!"]
    for epoch in range(1, epochs + 1):
        patterns.append(f"--- Epoch {epoch} ---")
        patterns += [STEP_LINE.pattern.replace(r"(\d+)00", f"{step}") for step in range(100, steps + 1, 100)]
    return [*patterns, "", "--- Testing the CNN ---", LOSS_LINE.pattern, ACCURACY_LINE.pattern, LAST_LINE.pattern]


def assert_lines(lines, steps, epochs):
    patterns = expected_lines(steps, epochs)
    assert len(lines) == len(patterns), lines
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), line
    assert int(LAST_LINE.fullmatch(lines[-1])["steps"]) == steps * epochs


def outcome(lines):
    (loss,) = (float(match[1]) for line in lines if (match := LOSS_LINE.fullmatch(line)))
    (accuracy,) = (float(match[1]) for line in lines if (match := ACCURACY_LINE.fullmatch(line)))
    return loss, accuracy


def write_digits(folder, rng, shape=(9, 12), classes=4, test_labels=None):
    """Write four IDX files of digits that are neither square nor of ten classes."""
    folder.mkdir()
    for name, count in (("train", 250), ("t10k", 30)):
        labels = rng.integers(0, classes, count, np.uint8)
        labels[-1] = classes - 1
        if name == "t10k" and test_labels is not None:
            labels[:] = test_labels
        images = rng.integers(0, 256, (count, *shape), np.uint8)
        axes = images.ndim
        header = struct.pack(f">4B{axes}I", 0, 0, 8, axes, *images.shape)
        (folder / f"{name}-images-idx{axes}-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes())
    return folder
