"""`python -m cnnx.plot` and `--plot` of `python -m cnnx.train` write pictures."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plot)")

import command_line

import cnnx
from cnnx.plot import main

BEGINNINGS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("plot") / "digits.npz"
    cnnx.models.article_cnn(rng=0).save(path)
    return path


def run(*arguments):
    return command_line.run_main(main, *arguments)


@pytest.mark.parametrize(
    ("picture", "kind"), [("maps", "png"), ("filters", "SVG"), ("confusion", "pdf"), ("mistakes", "png")]
)
def test_each_picture_is_written(model, tmp_path, picture, kind):
    file = tmp_path / f"picture.{kind}"
    assert run(model, picture, "--save", file) == (0, "", "")
    assert file.read_bytes().startswith(BEGINNINGS[kind.lower()])
    assert list(tmp_path.iterdir()) == [file]


def test_without_a_picture_s_name_the_maps_are_drawn(model, tmp_path):
    run(model, "--save", tmp_path / "a.png")
    run(model, "maps", "--digit", 0, "--data", "sample", "--save", tmp_path / "b.png")
    run(model, "maps", "--digit", 1, "--save", tmp_path / "c.png")
    first, second, third = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == second != third


BAD = [
    (["stripes"], "argument PICTURE: invalid choice: 'stripes'"),
    (["maps", "--count", 3], "--count: expected none for maps, got 3"),
    (["filters", "--data", "sample"], "--data: expected none for filters, got 'sample'"),
    (["--digit", 1000], "--digit: expected less than 1000, got 1000"),
    (["filters", "--layer", 1], "--layer: expected the position of a Conv3x3: 0, got 1"),
    (["--data", "absent"], "--data: "),
    (["--data", ""], '--data: expected "sample", "mnist" or a folder, got \'\''),
    (["--save", "picture.jpg"], "--save: expected a file name that ends in .png, .svg or .pdf, got 'picture.jpg'"),
    (["--save", "absent/picture.png"], "--save: expected a file that can be written, got 'absent/picture.png'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: str(value)[:30])
def test_bad_options_end_with_one_line(model, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    save = [] if "--save" in arguments else ["--save", tmp_path / "picture.png"]
    code, out, errors = run(model, *arguments, *save)
    assert (code, out, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"cnnx.plot: error: {message}")
    assert list(tmp_path.iterdir()) == []


BACKEND = """
from matplotlib.backend_bases import FigureCanvasBase, FigureManagerBase

class FigureManager(FigureManagerBase):
    @classmethod
    def pyplot_show(cls, *, block=None):
        from matplotlib import pyplot
        print("shown", pyplot.gcf().axes[0].texts[0].get_text())

class FigureCanvas(FigureCanvasBase):
    required_interactive_framework = "{framework}"
    manager_class = FigureManager
"""


def in_a_process(model, folder, backend):
    program = "import sys; from cnnx.plot import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, "-c", program, model, "filters"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=command_line.HANG)


def test_without_save_a_window_shows_the_picture(model, tmp_path):
    (tmp_path / "backend_of_a_test.py").write_text(BACKEND.replace("{framework}", "headless"))
    ended = in_a_process(model, tmp_path, "module://backend_of_a_test")
    assert (ended.stderr, ended.stdout) == ("", "shown The 8 filters of layer 0, Conv3x3\n")


def test_without_a_display_save_is_asked_for(model, tmp_path):
    ended = in_a_process(model, tmp_path, "agg")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        ended.stderr
        == "cnnx.plot: error: --save: expected FILE, because matplotlib can open no window here, got none\n"
    )


def test_an_error_of_matplotlib_does_not_blame_the_model(model, tmp_path):
    ended = in_a_process(model, tmp_path, "nonsense")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("cnnx.plot: error: Key backend: 'nonsense' is not a valid value")
    cnnx.Sequential([cnnx.Softmax(4, 2, rng=0)]).save(tmp_path / "dense.npz")
    message = f"{tmp_path / 'dense.npz'}: layer: expected a network with a Conv3x3, got None"
    assert run(tmp_path / "dense.npz", "filters") == (2, "", f"cnnx.plot: error: {message}\n")


@pytest.mark.smoke
def test_a_training_s_curves_are_written(tmp_path):
    options = ["--limit", 200, "--epochs", 2]
    plain = command_line.run_well(*options)
    for more in ([], ["--batch-size", 8, "--validation", 50]):
        lines = command_line.run_well(*options, *more, "--plot", tmp_path / "curves.png")
        assert (tmp_path / "curves.png").read_bytes().startswith(BEGINNINGS["png"])
        (tmp_path / "curves.png").unlink()
        if not more:
            assert lines[:-1] == plain[:-1]


def test_a_plot_that_cannot_be_written_is_told_before_the_training(tmp_path):
    for file, expected in {
        "curves.txt": "--plot: expected a file name that ends in .png, .svg or .pdf",
        "absent/curves.png": "--plot: expected a file that can be written",
    }.items():
        code, lines, errors = command_line.run("--plot", tmp_path / file)
        assert (code, lines) == (2, [])
        assert errors[0].startswith(f"cnnx.train: error: {expected}, got ")
    code, lines, errors = command_line.run("--plot", tmp_path / "a.png", "--save", tmp_path / "a.png")
    assert (code, lines) == (2, [])
    assert errors[0].startswith("cnnx.train: error: --save: expected another file than that of --plot, got ")


def test_without_matplotlib_the_training_does_not_start(tmp_path):
    program = "import sys; sys.modules['matplotlib'] = None; from cnnx.train import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "--plot", tmp_path / "curves.png"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=command_line.HANG)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "cnnx.train: error: cnnx.plot needs matplotlib 3.8 or newer, which is not installed "
        "(pip install 'cnnx[plot]')\n"
    )
