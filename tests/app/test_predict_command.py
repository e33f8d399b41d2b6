"""`python -m cnnx.predict` prints digits, and has the manners of `python -m cnnx.train`."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import run_main

pytest.importorskip("PIL", reason="Pillow is not installed (extra pictures)")

from PIL import Image, ImageDraw

import cnnx
from cnnx.pictures import read
from cnnx.predict import main

HANG = 120  # seconds that nothing here takes


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Save a network trained on the sample, and three pictures; yield the folder."""
    folder = tmp_path_factory.mktemp("predict")
    digits = cnnx.data.load()
    network = cnnx.models.article_cnn(rng=0)
    network.fit(digits.train_images, digits.train_labels, epochs=2, learn_rate=0.005, rng=0)
    network.save(folder / "digits.npz")
    lines = {"seven": [(30, 20), (70, 20), (45, 80)], "one": [(50, 10), (50, 90)]}
    for name, points in lines.items():
        image = Image.new("L", (100, 100), 255)
        ImageDraw.Draw(image).line(points, 0, 9)
        image.save(folder / f"{name}.png")
    Image.new("L", (50, 50)).save(folder / "blank.png")
    return folder


def run(*arguments):
    return run_main(main, *arguments)


def shell(command, files):
    command = f"{sys.executable} -m cnnx.predict digits.npz {command}"
    return subprocess.run(["sh", "-c", command], cwd=files, capture_output=True, text=True, timeout=HANG)


@pytest.mark.smoke
def test_a_line_has_the_picture_the_digit_and_the_probabilities(files):
    code, out, errors = run(files / "digits.npz", files / "seven.png", files / "one.png")
    assert (code, errors) == (0, "")
    network = cnnx.load(files / "digits.npz")
    for line, name in zip(out.splitlines(), ("seven", "one"), strict=True):
        probabilities = network.predict(read(files / f"{name}.png"))
        shares = " ".join(f"{number}:{share:.1%}" for number, share in enumerate(probabilities))
        assert line == f"{files / name}.png: {probabilities.argmax()} ({shares})"


def test_json_has_every_bit(files):
    code, out, errors = run(files / "digits.npz", "--json", files / "seven.png", files / "one.png")
    assert (code, errors) == (0, "")
    for line, name in zip(out.splitlines(), ("seven", "one"), strict=True):
        expected = cnnx.load(files / "digits.npz").predict(read(files / f"{name}.png"))
        entry = json.loads(line)
        assert list(entry) == ["picture", "digit", "probabilities"]
        assert (entry["picture"], entry["digit"]) == (str(files / f"{name}.png"), expected.argmax())
        np.testing.assert_array_equal(entry["probabilities"], expected)


def test_show_draws_what_the_network_sees(files):
    code, out, _ = run(files / "digits.npz", files / "seven.png", "--show")
    _, *rows = out.splitlines()
    image = read(files / "seven.png")
    assert (code, len(rows)) == (0, 28)
    for row, pixels in zip(rows, image, strict=True):
        assert [" .:-=+*#%@".index(character) for character in row.ljust(56)[::2]] == (pixels * 9.0 // 255).tolist()
        assert row.ljust(56)[::2] == row.ljust(56)[1::2]


def test_a_bad_picture_does_not_keep_the_others_from_being_read(files):
    code, out, errors = run(files / "digits.npz", files / "absent.png", files / "seven.png", files / "blank.png")
    assert code == 2
    assert len(out.splitlines()) == 1
    assert errors.splitlines() == [
        f"cnnx.predict: error: {files}/absent.png: No such file or directory",
        f"cnnx.predict: error: {files}/blank.png: expected a digit, got a picture of one colour",
        "cnnx.predict: error: 2 of 3 pictures could not be read",
    ]


def test_a_bad_model_is_one_line_that_names_it(files, tmp_path):
    other = cnnx.models.article_cnn(image_shape=(9, 12))
    other.save(tmp_path / "other")
    floats = cnnx.models.article_cnn()
    digits = cnnx.data.load()
    floats.fit(digits.train_images[:200] / 255, digits.train_labels[:200], epochs=1, learn_rate=0.01)
    floats.save(tmp_path / "floats")
    for model in (tmp_path / "absent", files / "one.png", tmp_path / "other", tmp_path / "floats"):
        code, out, errors = run(model, files / "seven.png")
        assert (code, out) == (2, "")
        assert re.fullmatch(r"cnnx\.predict: error: .*\n", errors)
        assert str(model) in errors


@pytest.mark.parametrize("arguments", [(), ("m",), ("m", "p", "--jsn"), ("m", "p", "--json", "--show")])
def test_bad_options_end_with_one_line_and_exit_code_2(arguments):
    code, out, errors = run(*arguments)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"cnnx\.predict: error: .* \(--help explains the options\)\n", errors)


def test_the_command_is_main(files):
    ended = shell("seven.png --json", files)
    assert (ended.returncode, ended.stderr, json.loads(ended.stdout)["picture"]) == (0, "", "seven.png")


def test_readers_that_leave_early_are_no_error(files):
    ended = shell("seven.png one.png seven.png --show | head -n 1", files)
    assert (ended.stderr, len(ended.stdout.splitlines())) == ("", 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_ends_with_one_line(files):
    ended = shell("seven.png >/dev/full", files)
    assert ended.returncode == 2
    assert re.fullmatch(r"cnnx\.predict: error: .*No space left on device\n", ended.stderr)


def test_a_closed_stdout_is_no_traceback(files):
    assert "Traceback" not in shell("seven.png >&-", files).stderr


def test_ctrl_c_ends_with_one_line_and_exit_code_130(files):
    many = ["one.png"] * 3000
    process = subprocess.Popen(
        [sys.executable, "-m", "cnnx.predict", "digits.npz", *many],
        cwd=files,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        os.read(process.stdout.fileno(), 100)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=HANG)
    assert (process.returncode, stderr) == (130, "Interrupted.\n")


def test_without_pillow_one_line_says_what_to_install(files):
    program = "import sys; sys.modules['PIL'] = None; from cnnx.predict import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, files / "digits.npz", files / "one.png"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
    assert ended.returncode == 2
    assert ended.stderr == (
        "cnnx.predict: error: cnnx.pictures needs Pillow 10.1 or newer, which is not installed (pip install "
        "'cnnx[pictures]')\n"
    )
