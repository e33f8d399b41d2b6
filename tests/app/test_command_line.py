"""`python -m cnnx.train` prints the article's lines, and does what its options say."""

import io
import os

import numpy as np
import pytest
from command_line import HANG, LAST_LINE, assert_lines, outcome, run_well, start, write_digits
from networks import bits, sample

import cnnx
from cnnx import models
from cnnx.models import article_cnn
from cnnx.network import Progress
from cnnx.train import EpochReport

MNIST = os.environ.get("CNNX_DATA")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_article_s_run_prints_the_article_s_lines_and_learns(seed):
    lines = run_well("--seed", seed)
    assert_lines(lines, steps=1000, epochs=3)
    assert LAST_LINE.fullmatch(lines[-1])["dtype"] == "float64"
    loss, accuracy = outcome(lines)
    assert 0 < loss < 0.8
    assert 0.78 <= accuracy <= 1


def test_the_command_is_main(tmp_path):
    process = start("--limit", 200, "--save", tmp_path / "network")
    stdout, stderr = process.communicate(timeout=HANG)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.splitlines()[:-1] == run_well("--limit", 200, "--save", tmp_path / "twin")[:-1]
    assert bits(cnnx.load(tmp_path / "network")) == bits(cnnx.load(tmp_path / "twin"))


def test_no_options_mean_the_article_s():
    article = ["--epochs", 3, "--learn-rate", 0.005, "--seed", 0, "--dtype", "float64", "--ties", "all"]
    assert run_well()[:-1] == run_well("--data", "sample", *article)[:-1]


def test_the_same_seed_gives_the_same_lines_and_another_seed_others():
    first, again, other = (run_well("--limit", 300, "--seed", seed)[:-1] for seed in (5, 5, 6))
    assert first == again
    assert first != other


@pytest.mark.smoke
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


@pytest.mark.parametrize("options", [("--batch-size", 10**23), ("--batch-size", 2**63 - 1)])
def test_a_batch_larger_than_the_data_is_all_of_it(options):
    everything = run_well("--limit", 100, "--quiet", "--batch-size", 100)
    assert run_well("--limit", 100, "--quiet", *options) == everything


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


@pytest.mark.parametrize(("shape", "classes"), [((20, 23), 47), ((18, 18), 3), ((28, 28), 62), ((18, 21, 3), 5)])
@pytest.mark.parametrize("model", models.__all__)
def test_every_model_takes_a_folder_s_size_and_classes(tmp_path, rng, model, shape, classes):
    folder = write_digits(tmp_path / "digits", rng, shape, classes)
    options = ("--limit", 20, "--epochs", 1, "--batch-size", 8, "--model", model)
    lines = run_well("--data", folder, *options, "--save", tmp_path / "network")
    network, digits = cnnx.load(tmp_path / "network"), cnnx.data.load(folder)
    assert network.image_shape == shape
    assert len(network.layers[-1].biases) == classes
    np.random.seed(0)
    twin = getattr(models, model)(image_shape=shape, nodes=classes)
    images, labels = digits.train_images[:20], digits.train_labels[:20]
    twin.fit(images, labels, epochs=1, batch_size=8, optimizer=cnnx.SGD(0.005), schedule="constant")
    assert bits(network) == bits(twin)
    assert outcome(lines) == twin.evaluate(digits.test_images[:20], digits.test_labels[:20])


def test_a_class_that_only_the_test_has_is_a_class(tmp_path, rng):
    folder = write_digits(tmp_path / "digits", rng, test_labels=6)
    assert_lines(run_well("--data", folder, "--save", tmp_path / "network"), steps=250, epochs=3)
    assert len(cnnx.load(tmp_path / "network").layers[2].biases) == 7


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_explains_every_option(option):
    text = " ".join(run_well(option))
    for name in ["data", "limit", "epochs", "learn-rate", "seed", "dtype", "ties", "threads", "save", "quiet"]:
        assert f"--{name}" in text
    assert "default: 0.005" in text


def test_validation_holds_digits_out_of_any_other_run():
    lines = run_well("--limit", 200, "--batch-size", 10, "--validation", 50, "--epochs", 2)
    assert sum("| Validation " in line for line in lines) == 2


def test_label_smoothing_is_that_of_fit():
    lines = run_well("--limit", 200, "--epochs", 2, "--label-smoothing", 0.2)
    digits = cnnx.data.load()
    np.random.seed(0)
    network = article_cnn()
    network.fit(digits.train_images[:200], digits.train_labels[:200], epochs=2, learn_rate=0.005, label_smoothing=0.2)
    assert outcome(lines) == network.evaluate(digits.test_images[:200], digits.test_labels[:200])


MOVED = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]  # where the view begins in an image with a frame of one pixel


@pytest.mark.parametrize("kind", ["moved", "mirrored"])
def test_test_views_take_the_mean_answer(kind):
    lines = run_well("--limit", 200, "--epochs", 2, "--test-views", kind)
    digits = cnnx.data.load()
    np.random.seed(0)
    network = article_cnn()
    network.fit(digits.train_images[:200], digits.train_labels[:200], epochs=2, learn_rate=0.005)
    images, labels = digits.test_images[:200], digits.test_labels[:200]
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    moved = [framed[:, y : y + 28, x : x + 28] for y, x in MOVED]
    views = moved if kind == "moved" else [images, images[..., ::-1]]
    means = np.prod([network.predict(view) for view in views], axis=0) ** (1 / len(views))
    right = (means / means.sum(axis=1, keepdims=True))[np.arange(200), labels]
    loss, accuracy = outcome(lines)
    np.testing.assert_allclose(loss, -np.log(right).mean(), rtol=1e-9)
    assert accuracy == np.mean(means.argmax(axis=1) == labels)
    assert (loss, accuracy) != network.evaluate(images, labels)


@pytest.mark.parametrize("options", [(), ("--batch-size", 8)])
def test_average_tests_and_saves_the_average(tmp_path, options):
    lines = run_well("--limit", 200, "--epochs", 2, "--average", 0.99, *options, "--save", tmp_path / "network")
    digits = cnnx.data.load()
    np.random.seed(0)
    network = article_cnn()
    run = {"epochs": 2, "batch_size": options[1] if options else 1, "learn_rate": 0.005, "average": 0.99}
    network.fit(digits.train_images[:200], digits.train_labels[:200], **run)
    assert bits(cnnx.load(tmp_path / "network")) == bits(network)
    assert outcome(lines) == network.evaluate(digits.test_images[:200], digits.test_labels[:200])


RUNS = {
    "the article's": ["--epochs", 4],
    "batches": ["--epochs", 4, "--batch-size", 8, "--optimizer", "adam", "--average", 0.9, "--validation", 40],
}


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("every", [[], ["--checkpoint-every", 170]], ids=str)
def test_resume_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch, kind, every):
    monkeypatch.chdir(tmp_path)
    options = [*RUNS[kind], "--limit", 250, *every]
    whole = run_well(*options, "--checkpoint", "run", "--save", "network")
    expected = bits(cnnx.load("network"))
    run_well(*options, "--epochs", 3, "--checkpoint", "part", "--save", "network")
    assert bits(cnnx.load("network")) != expected
    for options in (
        [*RUNS[kind], "--limit", 250, "--resume", "part"],
        [*RUNS[kind], "--limit", 250, "--resume", "run"],
    ):
        lines = run_well(*options, "--save", "network")
        assert bits(cnnx.load("network")) == expected
        assert outcome(lines) == outcome(whole)
        assert len(lines) < len(whole)
        assert not LAST_LINE.fullmatch(lines[-1])


def test_resume_starts_if_the_checkpoint_is_still_to_be_written(tmp_path):
    options = ["--limit", 200, "--epochs", 2, "--checkpoint", tmp_path / "run", "--resume", tmp_path / "run"]
    first, second = run_well(*options), run_well(*options)
    assert LAST_LINE.fullmatch(first[-1])
    assert first[:-1] == run_well(*options[:4])[:-1]
    assert outcome(second) == outcome(first)


def test_load_starts_from_a_saved_network(tmp_path):
    run_well("--limit", 200, "--model", "small_convnet", "--batch-size", 8, "--save", tmp_path / "network")
    network = cnnx.load(tmp_path / "network")
    lines = run_well("--limit", 200, "--epochs", 1, "--seed", 5, "--load", tmp_path / "network")
    digits = cnnx.data.load()
    np.random.seed(5)
    network.fit(digits.train_images[:200], digits.train_labels[:200], epochs=1, learn_rate=0.005)
    assert outcome(lines) == network.evaluate(digits.test_images[:200], digits.test_labels[:200])


def test_the_line_of_an_epoch_that_goes_on_is_about_its_rest():
    lines = []
    report = EpochReport(306, 2, lines.append, None)  # of its 153 steps, the last 53 are in the second window
    report(Progress(2, 153, 1.5, 0.25))
    assert lines[0].startswith("Epoch 2: Loss 1.5000 | Accuracy 25.00%")


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


def test_a_terminal_that_is_gone_ends_no_training():
    class Gone(io.StringIO):
        def isatty(self):
            return True

        def write(self, _):
            raise OSError(5, "Input/output error")

    lines = []
    report = EpochReport(20, 10, lines.append, Gone())
    for step in (1, 2):
        report(Progress(1, step, 0.5, 0.5))
    assert len(lines) == 1


def test_an_epoch_s_line_has_the_means_over_its_digits():
    """Its last window has two steps, and its last step one digit: 100 steps of 3, one of 3 and one of 1."""
    images, labels, *_ = sample()
    network, lines = article_cnn(), []
    report = EpochReport(304, 3, lines.append, None)
    options = {"epochs": 2, "batch_size": 3, "learn_rate": 0.05, "on_progress": report}
    history = network.fit(images[:304], labels[:304], **options)
    epochs = zip(history.losses.reshape(2, 304).mean(axis=1), history.correct.reshape(2, 304).mean(axis=1), strict=True)
    expected = [f"Epoch {n}: Loss {loss:.4f} | Accuracy {share:.2%}" for n, (loss, share) in enumerate(epochs, 1)]
    assert [line.rpartition(" | ")[0] for line in lines] == expected


@pytest.mark.skipif(not MNIST, reason="CNNX_DATA names no folder with all of MNIST")
def test_three_epochs_of_all_of_mnist_recognise_most_of_its_test_set():
    lines = run_well("--data", MNIST, "--dtype", "float32", "--ties", "first", "--quiet")
    _, accuracy = outcome(lines)
    assert accuracy >= 0.963


def test_what_the_command_line_saves_predicts_as_the_same_run(tmp_path):
    printed = run_well("--quiet", "--limit", 200, "--epochs", 1, "--save", tmp_path / "file")
    digits = cnnx.data.load()
    np.random.seed(0)
    network = article_cnn()
    network.fit(digits.train_images[:200], digits.train_labels[:200], epochs=1, learn_rate=0.005)
    loaded = cnnx.load(tmp_path / "file")
    assert bits(loaded) == bits(network)
    loss, accuracy = loaded.evaluate(digits.test_images[:200], digits.test_labels[:200])
    assert printed == [f"Test Loss: {loss}", f"Test Accuracy: {accuracy}"]
