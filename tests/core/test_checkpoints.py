"""A training that goes on from a checkpoint has the bits of one that was never interrupted."""

import shutil

import numpy as np
import pytest
from networks import bits, small_problem
from stacks import STACKS, problem, stack

import cnnx
from cnnx import EarlyStopping, Sequential

DEEP, ARTICLE = "same:6 relu pool dropout:0.25 conv:9 relu pool dense:12 relu softmax:10", "article:8 pool softmax:10"
EPOCHS, IMAGE_COUNT = 3, 30


def own_loss(outputs, labels):
    rows = np.eye(outputs.shape[1], dtype=outputs.dtype)[labels]
    return np.square(outputs - rows, dtype=np.float64).sum(axis=1), 2 * (outputs - rows)


# The layers, the images, how the optimizer is made, and the other arguments of `fit`.
RUNS = {
    "the article's": (ARTICLE, "blank", lambda: cnnx.SGD(0.05), {}),
    "the article's in order": (ARTICLE, "blank", lambda: cnnx.SGD(0.05), {"shuffle": False}),
    "the article's on batches": (ARTICLE, "blank", lambda: cnnx.SGD(0.05), {"batch_size": 4}),
    "many weights": ("article:24 pool softmax:54", "bytes", lambda: cnnx.SGD(0.05), {}),
    "averaged, image by image": (ARTICLE, "blank", lambda: cnnx.SGD(0.05), {"average": 0.9}),
    "momentum": (ARTICLE, "floats", lambda: cnnx.SGD(0.05, 0.9), {"schedule": "cosine", "batch_size": 4}),
    "dropout and augmentation": (
        DEEP,
        "bytes",
        lambda: cnnx.Adam(0.01, weight_decay=0.1),
        {"batch_size": 7, "augment": cnnx.RandomAffine(rotation=10, shift=1), "schedule": "one_cycle"},
    ),
    "average and early stopping": (
        STACKS[0],
        "bytes",
        lambda: cnnx.Adam(0.02),
        {"batch_size": 8, "average": 0.9, "early_stopping": EarlyStopping(9), "augment": cnnx.RandomShift(1)},
    ),
    "a loss of one's own": (
        "article:8 pool dense:3 softmax:10",
        "bytes",
        lambda: cnnx.SGD(0.05, 0.5),
        {"batch_size": 4, "loss": own_loss, "sample_weight": np.linspace(0, 2, IMAGE_COUNT), "average": 0.9},
    ),
    "batch normalisation": (
        "unbiased:6 norm relu pool:first unbiased:9 norm:0.7 pool softmax:5",
        "bytes",
        lambda: cnnx.SGD(0.05, 0.9),
        {"batch_size": 8, "average": 0.9, "early_stopping": EarlyStopping(9)},
    ),
    "no best epoch": (
        STACKS[0],
        "bytes",
        lambda: cnnx.SGD(0.2, 0.9),
        {"batch_size": 8, "early_stopping": EarlyStopping(9, monitor="accuracy", restore_best=False)},
    ),
}
GENERATORS = {
    "global": lambda: np.random.seed(7),
    "seed": lambda: 7,
    "PCG64": lambda: np.random.default_rng(7),
    "MT19937": lambda: np.random.Generator(np.random.MT19937(7)),
    "Philox": lambda: np.random.Generator(np.random.Philox(7)),
}


class Keeper:
    """Called by `fit`, copies the last checkpoint."""

    def __init__(self, folder):
        self.folder, self.copies = folder, []

    def __call__(self, _):
        if (self.folder / "last").exists():
            self.copies.append(self.folder / f"{len(self.copies)}")
            shutil.copy(self.folder / "last", self.copies[-1])


def images_of(kind):
    names, images, _, options = RUNS[kind]
    nodes = "softmax:" + names.rpartition(":")[2]
    images, labels = problem(np.random.default_rng(3), nodes, count=IMAGE_COUNT + 10, kind=images)
    held_out = (images[IMAGE_COUNT:], labels[IMAGE_COUNT:]) if "early_stopping" in options else None
    return images[:IMAGE_COUNT], labels[:IMAGE_COUNT], held_out


def train(kind, dtype, generator, **more):
    """Return all that a run leaves: parameters, optimizer, history, what the generator draws next, and the scale."""
    names, _, make, options = RUNS[kind]
    images, labels, held_out = images_of(kind)
    network, optimizer = Sequential(stack(cnnx, names, dtype)), make()
    if "dense:3" in names:
        network.layers[0].trainable = False
        network.layers[0].filters.flags.writeable = False
    elif "resume" in more:
        network.parameters[...] = 1
    rng = GENERATORS[generator]()
    run = {"epochs": EPOCHS, "rng": rng, "validation": held_out, "optimizer": optimizer, **options, **more}
    history = network.fit(images, labels, **run)
    drawn = rng.random() if isinstance(rng, np.random.Generator) else np.random.random() if rng is None else None
    past = [array.tobytes() for array in optimizer.states()]
    return bits(network), past, [np.array(it).tobytes() for it in history], drawn, network.pixels, network.image_shape


@pytest.mark.parametrize(
    ("kind", "generator"),
    [
        *((kind, "PCG64") for kind in RUNS),
        *(("dropout and augmentation", generator) for generator in GENERATORS if generator != "PCG64"),
    ],
)
def test_every_checkpoint_leads_to_the_same_end(tmp_path, dtype, kind, generator):
    whole = train(kind, dtype, generator)
    keep = Keeper(tmp_path)
    options = {"checkpoint": tmp_path / "last", "checkpoint_every": 3}
    assert train(kind, dtype, generator, on_progress=keep, progress_every=3, **options) == whole
    assert len(keep.copies) > 3
    for copy in (*keep.copies, tmp_path / "last"):
        assert train(kind, dtype, generator, resume=copy) == whole


OPTIONS = {"epochs": 3, "batch_size": 4, "rng": 1, "shuffle": True, "augment": None, "average": None}


def small_run(path, network=None, *, count=20, optimizer=None, **more):
    """Train a small network. Return all that it leaves."""
    made, images, labels = small_problem(count=count)
    network, optimizer = network or made, optimizer or cnnx.SGD(0.1, 0.9)
    history = network.fit(images, labels, optimizer=optimizer, checkpoint=path, **{**OPTIONS, **more})
    return bits(network), [np.array(it).tobytes() for it in history], network.pixels, repr(optimizer)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_settings_that_on_progress_has_assigned_stay(tmp_path, momentum):
    """Without momentum the velocity rests, and is there again when momentum returns."""
    keep, ends = Keeper(tmp_path), []
    for options in ({}, {"resume": tmp_path / "0"}):
        optimizer = cnnx.SGD(0.1, 0.9)

        def change(progress, optimizer=optimizer):
            keep(progress)
            if progress.epoch == 1:
                optimizer.learn_rate, optimizer.momentum = 0.01, momentum
            else:
                optimizer.momentum = 0.7

        ends.append(small_run(tmp_path / "last", optimizer=optimizer, on_progress=change, **options))
    assert ends[0] == ends[1]
    assert ends[0][-1] == "SGD(0.01, momentum=0.7)"


def test_the_scale_of_earlier_images_is_kept(tmp_path):
    trained, images, labels = small_problem(count=20)
    trained.fit(images, labels, epochs=1, learn_rate=0.0)
    whole = small_run(tmp_path / "last", trained)
    assert whole[2].images == 40
    assert small_run(None, resume=tmp_path / "last") == whole


def test_a_training_that_began_with_large_filters_keeps_its_plan(tmp_path):
    """Large filters are for the plain plan alone, and a run that has begun with it stays with it."""
    names, keep = "article:8 pool softmax:10", Keeper(tmp_path)
    images, labels = problem(np.random.default_rng(3), names, count=40)
    ends = []
    writing = {"checkpoint": tmp_path / "last", "checkpoint_every": 1, "on_progress": keep, "progress_every": 1}
    for options in (writing, {"resume": tmp_path / "5"}):
        network = Sequential(stack(cnnx, names, np.float32))
        network.layers[0].filters[0] = 2**21
        network.fit(images, labels, epochs=1, batch_size=4, optimizer=cnnx.SGD(0.5, weight_decay=1.9), rng=1, **options)
        ends.append(bits(network))
    assert ends[0] == ends[1]


def test_labels_that_are_objects_cannot_be_compared(tmp_path):
    digits = cnnx.data.load()
    labels = digits.train_labels[:4].astype(object)
    with pytest.raises(TypeError, match=r"^labels: expected numbers or text for a checkpoint .*, got dtype object$"):
        cnnx.models.article_cnn().fit(
            digits.train_images[:4],
            labels,
            epochs=1,
            learn_rate=0.1,
            loss=lambda outputs, _: (np.zeros(len(outputs)), np.zeros_like(outputs)),
            checkpoint=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()
