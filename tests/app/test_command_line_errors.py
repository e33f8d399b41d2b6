"""`python -m cnnx.train` says in one line what it cannot do."""

import re
import socket
from pathlib import Path

import pytest
from command_line import run, write_digits

from cnnx.models import article_cnn

BAD_OPTIONS = [
    *(("--data", bad) for bad in ("absent", "", "Sample")),
    *(("--limit", bad) for bad in ("0", "-1", "ten", "1.5", "")),
    *(("--epochs", bad) for bad in ("0", "-3", "1e3", "1000000000000", "1" * 30)),
    *(("--learn-rate", bad) for bad in ("-0.1", "nan", "-inf", "fast")),
    *(("--label-smoothing", bad) for bad in ("-0.1", "1", "nan", "some")),
    *(("--typed", bad) for bad in ("-1", "some")),
    *(("--average", bad) for bad in ("0", "1", "nan", "most")),
    *(("--test-views", bad) for bad in ("turned", "")),
    *(("--seed", bad) for bad in ("-1", "4294967296", "x")),
    *(("--dtype", bad) for bad in ("float16", "")),
    *(("--ties", bad) for bad in ("last", "ALL")),
    *(("--threads", bad) for bad in ("0", "two")),
    *(("--save", bad) for bad in ("absent/file", "", ".", "/")),
    *(("--checkpoint", bad) for bad in ("absent/file", "", ".", "/")),
    *(("--resume", bad) for bad in ("absent", "absent/file", "", ".", "/dev/null")),
    *(("--load", bad) for bad in ("absent", "absent/file", "", ".", "/dev/null")),
    *(("--checkpoint-every", bad) for bad in ("0", "-1", "often", "10")),  # the last without --checkpoint
    ("--epochs",),
    ("--unknown",),
    ("--epoch", "2"),
    ("stray",),
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=lambda options: " ".join(options)[:30])
def test_a_bad_option_ends_with_one_line_and_exit_code_2(options):
    code, lines, errors = run(*options)
    assert (code, lines) == (2, [])
    (error,) = errors
    assert error.startswith("cnnx.train: error: ")
    assert options[0] in error or options[0] == "--data"


@pytest.mark.parametrize("option", ["--load", "--resume"])
def test_a_foreign_file_ends_with_one_line_that_names_it(option):
    code, _, errors = run(option, __file__)
    assert (code, len(errors)) == (2, 1)
    assert errors[0].startswith(f"cnnx.train: error: {__file__}: expected a ")


def test_a_checkpoint_of_another_run_ends_with_one_line(tmp_path):
    assert run("--limit", 100, "--epochs", 1, "--checkpoint", tmp_path / "run")[0] == 0
    code, _, errors = run("--limit", 100, "--epochs", 1, "--resume", tmp_path / "run", "--learn-rate", 0.01)
    expected = (
        "optimizer: expected SGD(learn_rate=0.005, momentum=0.0, nesterov=False, weight_decay=0.0), as in the che"
    )
    assert (code, len(errors)) == (2, 1)
    assert errors[0].startswith(f"cnnx.train: error: {expected}")


def test_one_file_cannot_be_both_the_network_and_the_checkpoint(tmp_path):
    code, lines, errors = run("--save", tmp_path / "run", "--checkpoint", tmp_path / "run")
    message = f"cnnx.train: error: --save: expected another file than that of --checkpoint, got '{tmp_path / 'run'}'"
    assert (code, lines, errors) == (2, [], [message])


NOT_FOR_THIS_RUN = {
    "--validation": ["--validation", 100],
    "--model": ["--model", "small_convnet", "--load", __file__],
    "--dtype": ["--dtype", "float64", "--load", __file__],
    "--ties": ["--ties", "all", "--load", __file__],
    "--validation and --ties": ["--validation", 100, "--ties", "first"],
    "--ties first": ["--ties", "first", "--model", "small_convnet"],
    "--ties all": ["--ties", "all", "--model", "keras_convnet", "--batch-size", 8],
}


@pytest.mark.parametrize("kind", NOT_FOR_THIS_RUN)
def test_an_option_that_this_run_would_ignore_is_refused(kind):
    options = NOT_FOR_THIS_RUN[kind]
    code, lines, errors = run("--limit", 200, *options)
    assert (code, lines, len(errors)) == (2, [], 1)
    assert re.match(rf"cnnx\.train: error: {options[0]}: expected none .*, got .* \(.*\)$", errors[0])


@pytest.mark.parametrize("views", [(), ("--test-views", "moved")])
def test_a_label_without_a_node_ends_with_one_line(tmp_path, rng, views):
    folder = write_digits(tmp_path / "digits", rng, (8, 8), test_labels=9)
    article_cnn(image_shape=(8, 8), nodes=5).save(tmp_path / "five.npz")
    code, _, errors = run("--data", folder, "--load", tmp_path / "five.npz", "--epochs", 1, *views)
    assert (code, errors) == (2, ["cnnx.train: error: labels: expected 0 to 4, got 9 to 9"])


@pytest.mark.parametrize("options", [("--learn-rate", "1e308"), ("--learn-rate", "1e308", "--batch-size", 4)])
def test_a_run_that_diverges_ends_with_one_line(options):
    code, _, errors = run("--limit", 200, *options)
    assert (code, len(errors)) == (2, 1)
    assert re.match(r"cnnx\.train: error: .* with learn rate 1e\+308; .* \(try a smaller learn rate\)$", errors[0])


@pytest.mark.smoke
@pytest.mark.parametrize("source", ["absent", ""])
def test_an_error_about_the_data_names_the_option(source):
    code, lines, errors = run("--data", source)
    assert (code, lines, len(errors)) == (2, [], 1)
    assert errors[0].startswith("cnnx.train: error: --data: expected ")


@pytest.mark.parametrize("file", ["absent/file", "file/file", "folder", "n" * 256, "socket", "link to folder"])
def test_a_network_that_cannot_be_saved_is_not_trained(tmp_path, monkeypatch, file):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link to folder").symlink_to("folder")
    with socket.socket(socket.AF_UNIX) as server, monkeypatch.context() as moved:
        moved.chdir(tmp_path)  # a socket's path may have 108 bytes
        server.bind("socket")
    before = sorted(tmp_path.rglob("*"))
    code, lines, (error,) = run("--epochs", 100_000, "--save", tmp_path / file)
    assert (code, lines) == (2, [])
    assert error.startswith(
        f"cnnx.train: error: --save: expected a file that can be written, got '{tmp_path / file}' ("
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_takes_no_file_is_noticed_before_training():
    if not Path("/proc/self").is_dir():
        pytest.skip("no folder that refuses even root")
    code, lines, (error,) = run("--epochs", 100_000, "--save", "/proc/self/file")
    assert (code, lines) == (2, [])
    assert error.startswith("cnnx.train: error: --save: expected a file that can be written, got '/proc/self/file' (")


TOO_SMALL = [
    *(("article_cnn", 4, shape) for shape in ((3, 28), (28, 3), (1, 1))),
    ("keras_convnet", 10, (9, 12)),
    ("small_convnet", 10, (12, 9)),
    ("deep_convnet", 18, (17, 17)),
    ("batch_norm_convnet", 8, (7, 8)),
]


@pytest.mark.parametrize(("model", "least", "shape"), TOO_SMALL)
def test_images_too_small_for_the_network_end_with_one_line(tmp_path, rng, model, least, shape):
    code, lines, errors = run("--model", model, "--data", write_digits(tmp_path / "digits", rng, shape))
    assert (code, lines) == (2, [])
    assert errors == [
        f"cnnx.train: error: --data: expected images of at least {least}x{least} pixels, got {shape[0]}x{shape[1]} "
        f"(for --model {model})"
    ]


def test_a_damaged_file_ends_with_one_line_that_names_it(tmp_path, rng):
    folder = write_digits(tmp_path / "digits", rng)
    damaged = folder / "t10k-images-idx3-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    code, lines, errors = run("--data", folder)
    assert (code, lines, len(errors)) == (2, [], 1)
    assert str(damaged) in errors[0]
