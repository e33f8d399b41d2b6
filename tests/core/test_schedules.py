"""Schedules: the learn rate of every step, named, computed when it is due, and checked."""

import subprocess
import sys

import numpy as np
import pytest
from pairwise import pairwise
from reference_loop import LEARN_RATE, OPTIMIZERS, STEPS, assert_fit_follows
from stacks import STACKS, assert_fit_refuses, fitted, problem
from twins import DTYPES

from cnnx import schedules

DEEP = STACKS[0]


@pairwise(optimizer=OPTIMIZERS, batch_size=[1, 5], dtype=DTYPES)
def test_each_step_has_the_learn_rate_times_its_factor(rng, optimizer, batch_size, dtype):
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
def test_a_name_is_the_function_of_that_name(rng, name):
    images, labels = problem(rng, DEEP, count=18)
    by_name = fitted(DEEP, images, labels, schedule=name)
    assert by_name == fitted(DEEP, images, labels, schedule=getattr(schedules, name))
    assert (by_name == fitted(DEEP, images, labels)) == (name == "constant")


def test_every_epoch_s_steps_count_the_last_short_one_too(rng):
    images, labels = problem(rng, DEEP, count=18)
    asked = []
    fitted(DEEP, images, labels, epochs=3, schedule=lambda steps: asked.append(steps) or np.ones(steps))
    assert asked == [3 * 5]


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
def test_factors_lie_between_zero_and_one(name, steps):
    factors = getattr(schedules, name)(steps)
    assert factors.shape == (steps,)
    assert factors.dtype == np.float64
    assert (factors >= 0).all()
    assert (factors <= 1).all()


def test_their_shapes_are_a_line_half_a_wave_and_a_hill():
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
def test_what_is_no_schedule_is_refused(rng, schedule, error):
    assert_fit_refuses(rng, error, r"^schedule: expected", schedule=schedule)


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_factors_computed_when_they_are_due_are_the_schedule_s(name, steps):
    expected = getattr(schedules, name)(steps)
    some = schedules.factors(name, steps)
    np.testing.assert_array_equal(some(0, steps), expected)
    parts = [some(start, min(start + 3, steps)) for start in range(0, steps, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


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
for schedule in (None, "cosine", "one_cycle"):
    before = peak()
    try:
        network.fit(images, labels, epochs=1000, learn_rate=0.1, schedule=schedule, on_progress=stop, progress_every=1)
    except Enough:
        print(peak() - before)
"""


def test_a_long_run_takes_no_memory_for_the_steps_to_come():
    process = subprocess.run([sys.executable, "-c", LONG_RUN], capture_output=True, text=True, check=True)
    assert all(int(line) < 50 for line in process.stdout.splitlines())  # MB; a number for each step would take 458
    assert len(process.stdout.splitlines()) == 3
