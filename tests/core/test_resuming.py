"""Which checkpoints a training goes on from, where it ends, and what is refused."""

import json
import re
import shutil

import numpy as np
import pytest
from networks import bits, small_problem
from reference_loop import TERMS
from saved_files import refusal
from stacks import problem, stack
from tolerances import assert_close
from twins import computing_on

import cnnx
from cnnx import EarlyStopping, Sequential

OPTIONS = {"epochs": 2, "batch_size": 4, "rng": 1}


def train(layers=None, optimizer=None, images=None, **options):
    """Train a small network. Return it and its history."""
    network, own_images, labels = small_problem(count=20)
    if layers is not None:
        network = Sequential(layers(network.layers))
    history = network.fit(
        own_images if images is None else images, labels, optimizer=optimizer or cnnx.SGD(0.1), **{**OPTIONS, **options}
    )
    return network, history


def ends(trained):
    network, history = trained
    return bits(network), [np.array(it).tobytes() for it in history]


@pytest.fixture
def written(tmp_path):
    """Return the last checkpoint of two epochs."""
    train(checkpoint=tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_finished_training_returns_at_once(tmp_path, average):
    whole = train(checkpoint=tmp_path / "run", average=average)
    content = (tmp_path / "run").read_bytes()
    called = []
    again = train(resume=tmp_path / "run", checkpoint=tmp_path / "run", average=average, on_progress=called.append)
    assert ends(again) == ends(whole)
    assert called == []
    assert (tmp_path / "run").read_bytes() == content
    assert again[0].image_shape == whole[0].image_shape


def test_early_stopping_is_over_for_good(tmp_path):
    _, images, labels = small_problem(count=60)
    options = {"validation": (images[20:], labels[20:]), "early_stopping": EarlyStopping(2), "epochs": 200}
    options |= {"optimizer": cnnx.SGD(0.5), "average": 0.9}
    whole = train(checkpoint=tmp_path / "run", **options)
    assert 2 < len(whole[1].validation) < 200
    options["optimizer"] = cnnx.SGD(0.5)
    assert ends(train(resume=tmp_path / "run", **options)) == ends(whole)


def test_a_training_that_on_progress_has_stopped_goes_on(tmp_path):
    whole = train()
    stop = {"on_progress": lambda progress: progress.epoch == 2, "progress_every": 2}
    _, history = train(checkpoint=tmp_path / "run", **stop)
    assert history.losses.shape == (28,)
    assert ends(train(resume=tmp_path / "run")) == ends(whole)


@pytest.mark.parametrize(
    "schedule", [None, "constant", lambda steps: 0.9 ** np.arange(steps)], ids=["none", "constant", "own"]
)
def test_more_epochs_are_those_of_a_longer_training(written, schedule):
    train(checkpoint=written, schedule=schedule)
    longer = train(epochs=5, schedule=schedule)
    assert ends(train(epochs=5, schedule=schedule, resume=written)) == ends(longer)
    train(epochs=4, checkpoint=written, schedule=schedule)
    with pytest.raises(ValueError, match=rf"^epochs: expected at least 4, as in the checkpoint '{written}', got 3$"):
        train(epochs=3, schedule=schedule, resume=written)


def test_begun_epochs_count(written):
    train(epochs=5, checkpoint=written, on_progress=lambda progress: progress.epoch == 3, progress_every=2)
    with pytest.raises(ValueError, match=r"^epochs: expected at least 3, .* got 2$"):
        train(resume=written)
    assert ends(train(epochs=3, resume=written)) == ends(train(epochs=3))


def test_a_file_that_does_not_exist_is_an_error_unless_it_is_to_be_written(tmp_path, monkeypatch):
    whole = train()
    with pytest.raises(FileNotFoundError, match="absent"):
        train(resume=tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="absent"):
        train(resume=tmp_path / "absent", checkpoint=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert ends(train(resume="run", checkpoint=tmp_path / "run")) == ends(whole)


def test_reports_are_those_of_a_training_without_checkpoints(tmp_path):
    ends, copy = [], tmp_path / "copy"
    for options in ({}, {"checkpoint": tmp_path / "run", "checkpoint_every": 3}, {"resume": copy}):
        reports = []

        def report(progress, reports=reports, options=options):
            reports.append(progress)
            if len(reports) == 3 and "checkpoint" in options:  # after step 2 of epoch 2, the seventh of the run
                shutil.copy(tmp_path / "run", copy)

        train(on_progress=report, progress_every=4, epochs=3, **options)
        ends.append(reports)
    assert [(report.epoch, report.step) for report in ends[0]] == [(n, step) for n in (1, 2, 3) for step in (4, 5)]
    assert ends[1] == ends[0]
    assert ends[2] == ends[0][2:]


def fail(_):
    raise LookupError("the callback's own")


def test_an_error_leaves_the_last_checkpoint(tmp_path):
    whole = train()
    with pytest.raises(LookupError):
        train(checkpoint=tmp_path / "run", on_progress=lambda progress: progress.epoch == 2 and fail(progress))
    assert ends(train(resume=tmp_path / "run")) == ends(whole)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    whole, savez, calls = train(), np.savez, []

    def full(file, **arrays):
        calls.append(1)
        savez(file, **arrays)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"No space left on device: .*run"):
        train(checkpoint=tmp_path / "run", checkpoint_every=3)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert ends(train(resume=tmp_path / "run")) == ends(whole)


def changed(image, value):
    _, images, _ = small_problem(count=20)
    images[image, 0, 0] = value
    return images


def frozen(layers):
    layers[0].trainable = False
    return layers


OTHERS = {
    "images": {"images": changed(7, 250)},
    "batch_size": {"batch_size": 5},
    "shuffle": {"shuffle": False},
    "rng": {"rng": np.random.default_rng(1)},
    "augment": {"augment": cnnx.RandomShift(1)},
    "optimizer": {"optimizer": cnnx.SGD(0.1, momentum=0.9)},
    "average": {"average": 0.9},
    "schedule": {"schedule": "cosine"},
    "loss": {"loss": "mean_squared_error", "labels": np.eye(4)[np.arange(20) % 4]},
    "labels": {"labels": np.arange(20) % 4},
    "sample_weight and class_weight": {"class_weight": {1: 2.0}},
    "validation": {"validation": (changed(1, 2), np.zeros(20, int))},
    "layers": {"layers": lambda layers: [*layers[:2], cnnx.ReLU(), layers[2]]},
    "layers[0]": {"layers": frozen},
    "layers[1]": {"layers": lambda layers: [layers[0], cnnx.MaxPool2(ties="first"), layers[2]]},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_training_is_refused_by_the_argument_that_differs(written, name):
    network, images, labels = small_problem(count=20)
    options = {"optimizer": cnnx.SGD(0.1), **OPTIONS, **OTHERS[name]}
    if "layers" in options:
        network = Sequential(options.pop("layers")(network.layers))
    before = bits(network)
    message = rf"^{re.escape(name)}: expected .*, as in the checkpoint '{written}', got .*$"
    with pytest.raises(ValueError, match=message):
        network.fit(options.pop("images", images), options.pop("labels", labels), resume=written, **options)
    assert bits(network) == before
    assert network.history is None
    assert options["optimizer"].steps == 0


def test_an_error_shows_both(written):
    message = r"^optimizer: expected SGD\(.*momentum=0.0.*\), as in .*, got Adam\(.*learn_rate=0.1.*\)$"
    with pytest.raises(ValueError, match=message):
        train(optimizer=cnnx.Adam(0.1), resume=written)
    with pytest.raises(ValueError, match=r"^rng: expected 1, as in the checkpoint '.*', got 2$"):
        train(rng=2, resume=written)


def test_a_schedule_that_needs_the_number_of_epochs_is_refused(tmp_path):
    train(checkpoint=tmp_path / "run", schedule="cosine")
    with pytest.raises(
        ValueError, match=r"^schedule: expected the learn rates of the first 10 steps, as in .*, got ot"
    ):
        train(resume=tmp_path / "run", schedule="cosine", epochs=3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"checkpoint": 3}, TypeError, "checkpoint: expected a path or None, got 3"),
        ({"checkpoint": ""}, TypeError, "checkpoint: expected a path or None, got ''"),
        ({"resume": b"run"}, TypeError, "resume: expected a path or None, got b'run'"),
        ({"checkpoint_every": 5}, TypeError, "checkpoint_every: expected checkpoint=path beside it, got only 5"),
        ({"checkpoint_every": 5, "resume": "run"}, TypeError, "checkpoint_every: expected checkpoint=path beside it"),
        ({"checkpoint": "run", "checkpoint_every": 0}, ValueError, "checkpoint_every: expected an integer of at least"),
        ({"checkpoint": "absent/run"}, FileNotFoundError, "[Errno 2] No such file or directory: 'absent/run'"),
        ({"checkpoint": "."}, IsADirectoryError, "[Errno 21] Is a directory: '.'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_first_step(tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        train(on_progress=fail, **options)
    assert list(tmp_path.iterdir()) == []


def rewritten(path, change):
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    described = json.loads(str(arrays.pop("checkpoint")))
    change(described)
    with path.open("wb") as file:
        np.savez(file, checkpoint=np.array(json.dumps(described)), **arrays)


@pytest.mark.parametrize("kept", [0, 1, 30, 0.25, 0.5, 0.75, -100, -22, -1])
def test_a_truncated_checkpoint_is_refused(written, kept):
    whole = written.read_bytes()
    written.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with refusal(written, "expected a checkpoint of fit, got another or a damaged file "):
        train(resume=written)


def test_changed_bytes_are_refused_or_harmless(written):
    whole, end = written.read_bytes(), ends(train())
    for place in np.random.default_rng(0).integers(0, len(whole), 60):
        written.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            resumed = train(resume=written)
        except ValueError as error:
            assert str(error).startswith(f"{written}: expected a checkpoint of fit")  # noqa: PT017
        else:
            assert ends(resumed) == end


def test_foreign_files_are_refused(written):
    small_problem()[0].save(written)
    with refusal(written, "expected a checkpoint of fit, got another or a damaged file "):
        train(resume=written)
    train(checkpoint=written)
    with refusal(written, "expected a network saved by cnnx, got another or a damaged file "):
        cnnx.load(written)
    rewritten(written, lambda described: described.update(version=2))
    with refusal(written, "expected format version 1 or older, got 2: a newer cnnx wrote it"):
        train(resume=written)
    rewritten(written, lambda described: described.update(version=1, steps=3))
    with refusal(written, "expected a checkpoint of fit, got another or a damaged file "):
        train(resume=written)


def swapped(packed):
    """The numbers that another layout could have in these places."""
    packed[[0, 1]] = packed[[1, 0]]
    return packed


@pytest.mark.parametrize("change", [swapped, lambda packed: packed[:-1], lambda packed: packed.astype(np.float16)])
def test_packed_parameters_of_another_layout_are_refused_and_change_nothing(tmp_path, change):
    path = tmp_path / "run"
    train(checkpoint=path, batch_size=1, epochs=1)
    train(resume=path, batch_size=1)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["packed"] = change(arrays["packed"])
    with path.open("wb") as file:
        np.savez(file, **arrays)
    network, images, labels = small_problem(count=20)
    before = bits(network)
    with refusal(path, "expected a checkpoint of fit, got another or a damaged file \\(packed: expected "):
        network.fit(images, labels, optimizer=cnnx.SGD(0.1), resume=path, **{**OPTIONS, "batch_size": 1})
    assert bits(network) == before


@pytest.mark.parametrize("target", cnnx.targets())
@pytest.mark.parametrize("writer", cnnx.targets())
def test_a_training_goes_on_on_another_cpu(tmp_path, rng, writer, target):
    """Also after a step that has left its update to the next one, which not every CPU target does."""
    names = "article:24 pool softmax:54"
    images, labels = problem(rng, names, 12)
    options = {"epochs": 1, "learn_rate": 0.05, "rng": 1}

    def run(**more):
        network = Sequential(stack(cnnx, names, np.float32))
        network.fit(images, labels, **options, **more)
        return network.parameters

    with computing_on(writer):
        whole = run()
        run(checkpoint=tmp_path / "run", on_progress=lambda progress: progress.step == 5, progress_every=5)
    with computing_on(target):
        assert_close(run(resume=tmp_path / "run"), whole, TERMS)


def test_a_read_only_layer_with_other_values_is_refused(tmp_path):
    """The run could not set them, and would go on with weights that the network does not have."""

    def frozen(layers):
        layers[0].trainable = False
        layers[0].filters.flags.writeable = False
        return layers

    def changed(layers):
        layers[0].filters[0] += 1
        return frozen(layers)

    path = tmp_path / "run"
    train(layers=frozen, checkpoint=path, epochs=1)
    train(layers=frozen, resume=path)
    with pytest.raises(ValueError, match=r"^layers\.0\.filters: expected the values of the checkpoint .*, because"):
        train(layers=changed, resume=path)


def test_a_checkpoint_replaces_the_file_and_keeps_its_mode(written):
    written.chmod(0o640)
    link = written.with_name("link")
    link.symlink_to(written)
    train(checkpoint=link)
    assert link.is_symlink()
    assert written.stat().st_mode & 0o777 == 0o640
    assert ends(train(resume=link)) == ends(train())


def test_layers_that_nobody_could_read_again_are_refused_before_the_first_step(tmp_path):
    with pytest.raises(ValueError, match=r"^checkpoint: expected layers that 131072 characters describe, got \d+$"):
        train(
            layers=lambda layers: [*layers[:1], *[cnnx.ReLU() for _ in range(6000)], *layers[1:]],
            checkpoint=tmp_path / "run",
        )
    assert list(tmp_path.iterdir()) == []


def test_layers_that_are_no_longer_tied_are_refused(tmp_path):
    images, labels = np.random.default_rng(0).random((8, 5, 6)), np.arange(8) % 3
    same = [cnnx.Conv3x3(1, 1, padding="same") for _ in range(2)]
    for tied in (True, False):
        network = Sequential([same[0], same[0] if tied else same[1], cnnx.Softmax(30, 3)])
        options = {"checkpoint" if tied else "resume": tmp_path / "run", "epochs": 1, "learn_rate": 0.1}
        if tied:
            network.fit(images, labels, **options)
        else:
            with pytest.raises(ValueError, match=r"^layers\[1\]: expected layers\[0\] again, .*, got Conv3x3\(.*\)$"):
                network.fit(images, labels, **options)
