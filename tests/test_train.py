"""`python -m cnnx.train` prints the article's lines, and says in one line what it cannot do."""

import os
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import bits

import cnnx
from cnnx.models import article_cnn
from cnnx.network import Progress
from cnnx.train import EpochReport

MNIST = os.environ.get("CNNX_DATA")
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


def run(*options):
    """Return the exit code, the lines on stdout and the lines on stderr."""
    process = start(*options)
    stdout, stderr = process.communicate(timeout=HANG)
    return process.returncode, stdout.splitlines(), stderr.splitlines()


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


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_article_s_run_prints_the_article_s_lines_and_learns(seed):
    lines = run_well("--seed", seed)
    assert_lines(lines, steps=1000, epochs=3)
    assert LAST_LINE.fullmatch(lines[-1])["dtype"] == "float64"
    loss, accuracy = outcome(lines)
    assert 0 < loss < 0.8
    assert 0.78 <= accuracy <= 1


def test_no_options_mean_the_article_s():
    article = ["--epochs", 3, "--learn-rate", 0.005, "--seed", 0, "--dtype", "float64", "--ties", "all"]
    assert run_well()[:-1] == run_well("--data", "sample", *article)[:-1]


def test_the_same_seed_gives_the_same_lines_and_another_seed_others():
    first, again, other = (run_well("--limit", 300, "--seed", seed)[:-1] for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_quiet_prints_the_two_lines_of_the_test():
    loud, quiet = run_well("--limit", 300), run_well("--limit", 300, "--quiet")
    assert quiet == loud[-3:-1]


@pytest.mark.parametrize(("limit", "epochs"), [(1, 2), (99, 1), (100, 2), (250, 1)])
def test_limit_and_epochs_count_the_steps(limit, epochs):
    assert_lines(run_well("--limit", limit, "--epochs", epochs), steps=limit, epochs=epochs)


def test_every_setting_reaches_the_network(dtype, ties):
    name = dtype.__name__
    lines = run_well("--limit", 200, "--learn-rate", 0.01, "--dtype", name, "--ties", ties, "--seed", 9)
    digits = cnnx.data.load()
    np.random.seed(9)
    network = article_cnn(dtype=dtype, ties=ties)
    network.fit(digits.train_images[:200], digits.train_labels[:200], epochs=3, learn_rate=0.01)
    loss, accuracy = network.evaluate(digits.test_images[:200], digits.test_labels[:200])
    assert outcome(lines) == (loss, accuracy)
    assert LAST_LINE.fullmatch(lines[-1])["dtype"] == name


def test_threads_change_nothing():
    options = ("--quiet", "--epochs", 1)
    assert len({tuple(run_well(*options, *threads)) for threads in ((), ("--threads", 1), ("--threads", 5))}) == 1


def write_digits(folder, rng, shape=(9, 12), classes=4, test_labels=None):
    """Write four IDX files of digits that are neither square nor of ten classes."""
    folder.mkdir()
    for name, count in (("train", 250), ("t10k", 30)):
        labels = rng.integers(0, classes, count, np.uint8)
        labels[-1] = classes - 1
        if name == "t10k" and test_labels is not None:
            labels[:] = test_labels
        images = rng.integers(0, 256, (count, *shape), np.uint8)
        header = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes())
    return folder


def test_a_folder_of_other_images_and_classes(tmp_path, rng):
    folder = write_digits(tmp_path / "digits", rng)
    assert_lines(run_well("--data", folder, "--save", tmp_path / "network"), steps=250, epochs=3)
    network = cnnx.load(tmp_path / "network")
    assert network.layers[2].weights.shape == (3 * 5 * 8, 4)
    np.random.seed(0)
    twin = article_cnn(image_shape=(9, 12), nodes=4)
    digits = cnnx.data.load(folder)
    twin.fit(digits.train_images, digits.train_labels, epochs=3, learn_rate=0.005)
    assert bits(network) == bits(twin)


def test_a_class_that_only_the_test_has_is_a_class(tmp_path, rng):
    folder = write_digits(tmp_path / "digits", rng, test_labels=6)
    assert_lines(run_well("--data", folder), steps=250, epochs=3)


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_explains_every_option(option):
    text = " ".join(run_well(option))
    for name in ["data", "limit", "epochs", "learn-rate", "seed", "dtype", "ties", "threads", "save", "quiet"]:
        assert f"--{name}" in text
    assert "default: 0.005" in text


BAD_OPTIONS = [
    *(("--data", bad) for bad in ("absent", "", "Sample")),
    *(("--limit", bad) for bad in ("0", "-1", "ten", "1.5", "")),
    *(("--epochs", bad) for bad in ("0", "-3", "1e3", "1000000000000", "1" * 30)),
    *(("--learn-rate", bad) for bad in ("-0.1", "nan", "-inf", "fast")),
    *(("--seed", bad) for bad in ("-1", "4294967296", "x")),
    *(("--dtype", bad) for bad in ("float16", "")),
    *(("--ties", bad) for bad in ("last", "ALL")),
    *(("--threads", bad) for bad in ("0", "two")),
    *(("--save", bad) for bad in ("absent/file", "", ".", "/")),
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


NOT_FOR_THIS_RUN = {
    "--validation": ["--validation", 100],
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


def test_validation_holds_digits_out_of_any_other_run():
    lines = run_well("--limit", 200, "--batch-size", 10, "--validation", 50, "--epochs", 2)
    assert sum("| Validation " in line for line in lines) == 2


@pytest.mark.parametrize("options", [("--learn-rate", "1e308"), ("--learn-rate", "1e308", "--batch-size", 4)])
def test_a_run_that_diverges_ends_with_one_line(options):
    code, _, errors = run("--limit", 200, *options)
    assert (code, len(errors)) == (2, 1)
    assert re.match(r"cnnx\.train: error: .* with learn rate 1e\+308; .* \(try a smaller learn rate\)$", errors[0])


@pytest.mark.parametrize("source", ["absent", ""])
def test_an_error_about_the_data_names_the_option(source):
    code, lines, errors = run("--data", source)
    assert (code, lines, len(errors)) == (2, [], 1)
    assert errors[0].startswith("cnnx.train: error: --data: expected ")


@pytest.mark.parametrize("options", [("--batch-size", 10**23), ("--batch-size", 2**63 - 1)])
def test_a_batch_larger_than_the_data_is_all_of_it(options):
    everything = run_well("--limit", 100, "--quiet", "--batch-size", 100)
    assert run_well("--limit", 100, "--quiet", *options) == everything


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


@pytest.mark.parametrize("stdout", ["| head -n 1", "| true", ">&-"])
@pytest.mark.parametrize("options", ["", "--quiet", "--batch-size 10"])
def test_a_network_is_saved_even_if_nobody_reads_its_lines(tmp_path, stdout, options):
    train = f"{sys.executable} -m cnnx.train --limit 300 {options} --save"
    command = f"{{ {train} {tmp_path}/network; echo exit code $? >&2; }} {stdout}"
    process = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=HANG)
    assert process.stderr == "exit code 0\n"
    subprocess.run(["sh", "-c", f"{train} {tmp_path}/expected"], capture_output=True, check=True, timeout=HANG)
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


def test_a_terminal_that_is_gone_ends_no_training():
    class Gone:
        def write(self, _):
            raise OSError(5, "Input/output error")

    lines = []
    report = EpochReport(20, 2, lines.append, Gone())
    for step in (1, 2):
        report(Progress(1, step, 0.5, 0.5))
    assert len(lines) == 1


@pytest.mark.parametrize("shape", [(3, 28), (28, 3), (1, 1)])
def test_images_too_small_for_the_network_end_with_one_line(tmp_path, rng, shape):
    code, lines, errors = run("--data", write_digits(tmp_path / "digits", rng, shape))
    assert (code, lines) == (2, [])
    assert errors == [f"cnnx.train: error: --data: expected images of at least 4x4 pixels, got {shape[0]}x{shape[1]}"]


def test_a_damaged_file_ends_with_one_line_that_names_it(tmp_path, rng):
    folder = write_digits(tmp_path / "digits", rng)
    damaged = folder / "t10k-images-idx3-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    code, lines, errors = run("--data", folder)
    assert (code, lines, len(errors)) == (2, [], 1)
    assert str(damaged) in errors[0]


def test_a_line_appears_as_soon_as_it_is_printed(tmp_path, rng):
    folder = write_digits(tmp_path / "digits", rng, shape=(120, 120))  # so large that no line follows at once
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with start("--data", folder, "--epochs", 1000, env=environment) as process:
        first = os.read(process.stdout.fileno(), 1 << 16)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=HANG)
    assert first.startswith(b"MNIST CNN initialized!\n")
    assert len(first) < 4096  # what is kept in a buffer comes in blocks of 8192 bytes


@pytest.mark.parametrize("after", ["MNIST CNN initialized!", "--- Epoch 2 ---"])
def test_ctrl_c_ends_with_one_line_and_exit_code_130(after):
    with start("--epochs", 20_000) as process:
        for line in process.stdout:
            if line.rstrip() == after:
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


@pytest.mark.parametrize("options", ["", "--quiet", "--help"])
def test_a_closed_stdout_is_no_traceback(options):
    command = f"{sys.executable} -m cnnx.train --limit 100 {options} >&-"
    process = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False, timeout=HANG)
    assert "Traceback" not in process.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("options", ["", "--quiet"])
def test_a_full_disk_ends_with_one_line(options):
    command = f"{sys.executable} -m cnnx.train --limit 100 {options} >/dev/full"
    process = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False, timeout=HANG)
    assert process.returncode == 2
    assert re.fullmatch(r"cnnx\.train: error: .*No space left on device\n", process.stderr)


def test_importing_runs_nothing():
    command = [sys.executable, "-c", "import cnnx.train, cnnx; print(cnnx.active_target())"]
    process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG)
    assert (process.stdout, process.stderr) == (f"{cnnx.active_target()}\n", "")


def test_another_program_may_train_and_keep_the_lines():
    from cnnx.train import train

    digits = cnnx.data.load()
    images, labels = digits.train_images[:250], digits.train_labels[:250]
    np.random.seed(0)
    network, lines = article_cnn(), []
    history = train(network, images, labels, epochs=2, learn_rate=0.005, log=lines.append)
    assert lines == run_well("--limit", 250, "--epochs", 2)[1:-5]
    assert history.losses.shape == (500,)
    loss, accuracy = history.losses[250:350].mean(), history.correct[250:350].mean()
    assert lines[4] == f"[Step 100] Past 100 steps: Average Loss {loss:.3f} | Accuracy: {100 * accuracy:.0f}%"


@pytest.mark.skipif(not MNIST, reason="CNNX_DATA names no folder with all of MNIST")
def test_three_epochs_of_all_of_mnist_recognise_most_of_its_test_set():
    lines = run_well("--data", MNIST, "--dtype", "float32", "--ties", "first", "--quiet")
    _, accuracy = outcome(lines)
    assert accuracy >= 0.963
