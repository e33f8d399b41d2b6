"""What `fit` takes beside images and labels: schedules, augmentation, validation; and what it refuses."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from networks import bits
from stacks import IMAGE, STACKS, stack
from test_batches import LEARN_RATE, OPTIMIZERS, STEPS, assert_fit_follows, problem
from tolerances import assert_close

import cnnx
from cnnx import Sequential, reference, schedules
from cnnx.augment import Augmentation

DEEP = STACKS[0]


def fitted(names, images, labels, dtype=np.float64, **options):
    """Return the bits of a network after training it."""
    network = Sequential(stack(cnnx, names, dtype))
    options = {"epochs": 2, "batch_size": 4, "rng": np.random.default_rng(1), **options}
    if "optimizer" not in options:
        options.setdefault("learn_rate", 0.05)
    network.fit(images, labels, **options)
    return bits(network)


class TestSchedules:
    @pytest.mark.parametrize("batch_size", [1, 5])
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_each_step_has_the_learn_rate_times_its_factor(self, dtype, rng, optimizer, batch_size):
        images, labels = problem(rng, STACKS[1], count=batch_size * STEPS)
        factors = rng.uniform(0, 2, STEPS)
        asked = []
        assert_fit_follows(
            STACKS[1],
            dtype,
            images,
            labels,
            batch_size,
            optimizer,
            rates=LEARN_RATE * factors,
            schedule=lambda steps: asked.append(steps) or factors,
        )
        assert asked == [STEPS]

    @pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
    def test_a_name_is_the_function_of_that_name(self, rng, name):
        images, labels = problem(rng, DEEP, count=18)
        by_name = fitted(DEEP, images, labels, schedule=name)
        assert by_name == fitted(DEEP, images, labels, schedule=getattr(schedules, name))
        assert (by_name == fitted(DEEP, images, labels)) == (name == "constant")

    def test_every_epoch_s_steps_count_the_last_short_one_too(self, rng):
        images, labels = problem(rng, DEEP, count=18)
        asked = []
        fitted(DEEP, images, labels, epochs=3, schedule=lambda steps: asked.append(steps) or np.ones(steps))
        assert asked == [3 * 5]

    @pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
    @pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
    def test_factors_lie_between_zero_and_one(self, name, steps):
        factors = getattr(schedules, name)(steps)
        assert factors.shape == (steps,)
        assert factors.dtype == np.float64
        assert (factors >= 0).all()
        assert (factors <= 1).all()

    def test_their_shapes_are_a_line_half_a_wave_and_a_hill(self):
        assert (schedules.constant(7) == 1).all()
        falling, hill = schedules.cosine(1000), schedules.one_cycle(1000)
        assert falling[0] == 1
        assert falling[500] == pytest.approx(0.5)
        assert falling[-1] < 1e-4
        assert (np.diff(falling) < 0).all()
        assert hill[0] == pytest.approx(1 / 25)
        assert hill.argmax() == 300
        assert hill.max() == 1
        assert hill[-1] < 1e-4
        assert (np.diff(hill[:301]) > 0).all()
        assert (np.diff(hill[300:]) < 0).all()

    @pytest.mark.parametrize(
        ("schedule", "error"),
        [
            ("linear", ValueError),
            (0.5, TypeError),
            (np.ones(5), TypeError),
            (lambda steps: np.ones(steps + 1), ValueError),
            (lambda steps: np.ones((steps, 1)), ValueError),
            (lambda steps: [1.0] * steps, ValueError),
            (lambda _: 1.0, ValueError),
            (lambda steps: np.ones(steps, complex), ValueError),
            (lambda steps: np.full(steps, np.nan), ValueError),
            (lambda steps: np.full(steps, np.inf), ValueError),
            (lambda steps: -np.ones(steps), ValueError),
        ],
    )
    def test_what_is_no_schedule_is_refused(self, rng, schedule, error):
        assert_fit_refuses(rng, error, r"^schedule: expected", schedule=schedule)


def assert_fit_refuses(rng, error, message, **options):
    images, labels = problem(rng, DEEP, count=10)
    network = Sequential(stack(cnnx, DEEP))
    before = bits(network)
    if "optimizer" not in options:
        options.setdefault("learn_rate", 0.1)
    with pytest.raises(error, match=message):
        network.fit(images, labels, **{"epochs": 1, "batch_size": 2, **options})
    assert bits(network) == before


BAD_OPTIONS = {
    "batch of none": ({"batch_size": 0}, ValueError, r"^batch_size: expected"),
    "epochs beyond memory": ({"epochs": 10**30}, ValueError, r"^epochs: expected at most"),
    "half a sample": ({"batch_size": 2.5}, TypeError, r"^batch_size: expected"),
    "batch of True": ({"batch_size": True}, TypeError, r"^batch_size: expected"),
    "no threads": ({"threads": 0}, ValueError, r"^threads: expected"),
    "threads in words": ({"threads": "2"}, TypeError, r"^threads: expected"),
    "two learn rates": ({"learn_rate": 0.1, "optimizer": cnnx.SGD(0.1)}, TypeError, r"^learn_rate: expected none"),
    "no learn rate": ({"learn_rate": None}, TypeError, r"^learn_rate: expected"),
    "an optimizer's name": ({"optimizer": "adam"}, TypeError, r"^optimizer: expected"),
    "an optimizer's class": ({"optimizer": cnnx.Adam}, TypeError, r"^optimizer: expected"),
    "augmentation in words": ({"augment": "shift"}, TypeError, r"^augment: expected"),
    "validation without labels": ({"validation": np.zeros((2, *IMAGE))}, TypeError, r"^validation: expected"),
    "validation of no kind": ({"validation": (None, None)}, TypeError, r"^validation: .*expected"),
}


@pytest.mark.parametrize("kind", BAD_OPTIONS)
def test_fit_refuses_by_name(rng, kind):
    options, error, message = BAD_OPTIONS[kind]
    assert_fit_refuses(rng, error, message, **options)


BAD_SETTINGS = {
    "negative learn rate": (lambda: cnnx.SGD(-0.1), ValueError, "learn_rate"),
    "learn rate in words": (lambda: cnnx.Adam("0.1"), TypeError, "learn_rate"),
    "momentum of one": (lambda: cnnx.SGD(0.1, momentum=1.0), ValueError, "momentum"),
    "negative momentum": (lambda: cnnx.SGD(0.1, momentum=-0.1), ValueError, "momentum"),
    "nesterov in numbers": (lambda: cnnx.SGD(0.1, 0.9, 1), TypeError, "nesterov"),
    "negative weight decay": (lambda: cnnx.SGD(0.1, weight_decay=-1e-4), ValueError, "weight_decay"),
    "infinite weight decay": (lambda: cnnx.Adam(0.1, weight_decay=float("inf")), ValueError, "weight_decay"),
    "one beta": (lambda: cnnx.Adam(0.1, betas=(0.9,)), TypeError, "betas"),
    "beta of one": (lambda: cnnx.Adam(0.1, betas=(0.9, 1.0)), ValueError, r"betas\[1\]"),
    "beta in words": (lambda: cnnx.Adam(0.1, betas=("0.9", 0.99)), TypeError, r"betas\[0\]"),
    "eps of zero": (lambda: cnnx.Adam(0.1, eps=0.0), ValueError, "eps"),
    "eps of NaN": (lambda: cnnx.Adam(0.1, eps=float("nan")), ValueError, "eps"),
}


@pytest.mark.parametrize("kind", BAD_SETTINGS)
def test_an_optimizer_refuses_settings_by_name(kind):
    make, error, name = BAD_SETTINGS[kind]
    with pytest.raises(error, match=rf"^{name}: expected"):
        make()


def test_fit_s_options_are_named():
    options = list(inspect.signature(Sequential.fit).parameters.values())[3:]
    assert all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in options)


class Given(Augmentation):
    """Reads the samples by maps that a test has chosen."""

    def __init__(self, chosen, background=None):
        self.chosen, self.background = chosen, background

    def maps(self, count, *_):
        assert count == len(self.chosen)
        return self.chosen


SHIFTS = [(0, 0), (2, -1), (-3, 4), (0, 13), (11, 0), (-20, 1), (1, 14), (5, -13)]


@pytest.mark.parametrize("background", [None, "-0.5", "another"])
@pytest.mark.parametrize("kind", ["bytes", "floats", "blank"])
@pytest.mark.parametrize("maps", ["whole shifts", "affine"])
@pytest.mark.parametrize("names", ["biased:7 pool softmax:5", STACKS[2]])
def test_augmented_images_are_the_reference_s(dtype, rng, names, maps, kind, background):
    images, labels = problem(rng, names, 40, kind)
    chosen = np.zeros((40, 2, 3))
    chosen[:, 0, 0] = chosen[:, 1, 1] = 1
    if maps == "whole shifts":
        chosen[:, :, 2] = np.resize(SHIFTS, (40, 2))
    else:
        chosen += rng.normal(size=(40, 2, 3)) * [0.2, 0.2, 2]
    pixels = images / 255 - 0.5 if images.dtype == np.uint8 else images
    is_bytes = images.dtype == np.uint8
    given = {None: None, "-0.5": 0 if is_bytes else -0.5, "another": 51 if is_bytes else 0.25}[background]
    outside = given if given is not None else (0 if is_bytes else images.min())
    outside = outside / 255 - 0.5 if is_bytes else outside
    moved = np.array([reference.affine(image, matrix, outside) for image, matrix in zip(pixels, chosen, strict=True)])
    losses = []
    for shown, options in ((images, {"augment": Given(chosen, given)}), (moved, {})):
        network = Sequential(stack(cnnx, names, dtype))
        # Without a step, since rounding may break a tie in the pooling, from where on two runs part.
        history = network.fit(shown, labels, epochs=1, learn_rate=0.0, batch_size=4, shuffle=False, **options)
        losses.append(history.losses.astype(dtype))
    assert_close(*losses, terms=300)


def test_validation_is_evaluate_after_each_epoch(rng):
    images, labels = problem(rng, DEEP, count=30)
    network, seen, expected = Sequential(stack(cnnx, DEEP)), [], []

    def note(progress):
        seen.append(progress.validation)
        if progress.validation is not None:
            expected.append(network.evaluate(images[20:], labels[20:]))

    history = network.fit(
        images[:20],
        labels[:20],
        epochs=3,
        batch_size=4,
        learn_rate=0.1,
        validation=(images[20:], labels[20:]),
        on_progress=note,
        progress_every=2,
    )
    assert [validation is not None for validation in seen] == 3 * [False, False, True]
    np.testing.assert_array_equal([validation for validation in seen if validation], expected)
    np.testing.assert_array_equal(history.validation, expected)


def test_validation_changes_no_training(rng):
    images, labels = problem(rng, DEEP, count=30)
    with_validation = fitted(DEEP, images, labels, validation=(images[:7], labels[:7]))
    assert with_validation == fitted(DEEP, images, labels)


@pytest.mark.parametrize("shape", [(4, 9, 14), (4, 2, 14), (1, 22, 28)])
def test_validation_images_that_do_not_fit_are_refused_before_the_first_step(rng, shape):
    validation = rng.integers(0, 256, shape, np.uint8), rng.integers(0, 5, shape[0])
    assert_fit_refuses(rng, ValueError, r"^validation: .*expected", validation=validation)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_the_validation_takes_as_many_threads_as_the_training(rng, threads):
    asked = []

    class Watched(Sequential):
        def evaluate(self, images, labels, *, threads=None):
            asked.append(threads)
            return super().evaluate(images, labels, threads=threads)

    images, labels = problem(rng, DEEP, count=10)
    options = {"batch_size": 5, "learn_rate": 0.1, "validation": (images, labels), "threads": threads}
    Watched(stack(cnnx, DEEP)).fit(images, labels, epochs=2, **options)
    assert asked == [threads, threads]


LONG_RUN = """
import resource
import numpy as np
import cnnx

class Enough(Exception): pass

def stop(_):
    raise Enough

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

network = cnnx.Sequential([cnnx.Softmax(4, 2)])
images, labels = np.zeros((60_000, 2, 2), np.uint8), np.zeros(60_000, int)
images[:, 1, 1] = 255
before = peak()
try:
    network.fit(images, labels, epochs=1000, learn_rate=0.1, schedule={schedule!r}, on_progress=stop, progress_every=1)
except Enough:
    print(peak() - before)
"""


@pytest.mark.parametrize("schedule", [None, "cosine", "one_cycle"])
def test_a_long_run_takes_no_memory_for_the_steps_to_come(schedule):
    command = [sys.executable, "-c", LONG_RUN.format(schedule=schedule)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(process.stdout) < 50  # MB; a number for each step would take 458


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_factors_computed_when_they_are_due_are_the_schedule_s(name, steps):
    expected = getattr(schedules, name)(steps)
    some = schedules.factors(name, steps)
    np.testing.assert_array_equal(some(0, steps), expected)
    parts = [some(start, min(start + 3, steps)) for start in range(0, steps, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
