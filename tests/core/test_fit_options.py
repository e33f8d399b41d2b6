"""What `fit` takes beside images and labels, and what it refuses."""

import contextlib
import inspect

import numpy as np
import pytest
from stacks import IMAGE, STACKS, assert_fit_refuses, fitted, problem, stack

import cnnx
from cnnx import Sequential

DEEP = STACKS[0]
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


def test_fit_s_options_are_named():
    options = list(inspect.signature(Sequential.fit).parameters.values())[3:]
    assert all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in options)


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


@pytest.mark.parametrize("stop", [None, 2, 5])
@pytest.mark.parametrize("change", ["a step by hand", "steps"])
def test_the_history_has_the_run_s_samples_whatever_on_progress_does_with_the_optimizer(rng, change, stop):
    images, labels = problem(rng, DEEP, count=20)
    network, optimizer, reports = Sequential(stack(cnnx, DEEP)), cnnx.Adam(0.01), []

    def use_the_optimizer(progress):
        reports.append(progress)
        if change == "steps":
            optimizer.steps = 0
        else:
            network.gradients(images[:3], labels[:3])
            network.apply(optimizer)
        if len(reports) == stop:
            raise KeyboardInterrupt

    options = {"epochs": 2, "batch_size": 4, "optimizer": optimizer, "shuffle": False, "progress_every": 2}
    with pytest.raises(KeyboardInterrupt) if stop else contextlib.nullcontext():
        network.fit(images, labels, on_progress=use_the_optimizer, **options)
    ends = [8, 16, 20, 28, 36, 40][: len(reports)]
    assert len(network.history.losses) == len(network.history.correct) == ends[-1]
    windows = np.split(network.history.losses, ends[:-1])
    assert [losses.mean() for losses in windows] == [report.loss for report in reports]


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
        def evaluate(self, images, labels, *, threads=None, **options):
            asked.append(threads)
            return super().evaluate(images, labels, threads=threads, **options)

    images, labels = problem(rng, DEEP, count=10)
    options = {"batch_size": 5, "learn_rate": 0.1, "validation": (images, labels), "threads": threads}
    Watched(stack(cnnx, DEEP)).fit(images, labels, epochs=2, **options)
    assert asked == [threads, threads]
