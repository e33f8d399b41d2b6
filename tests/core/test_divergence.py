"""A loss that is no longer finite stops the training, and the last finite parameters stay."""

import re

import numpy as np
import pytest
from networks import bits
from pairwise import pairwise
from stacks import STACKS, flat_parameters, problem, stack
from twins import DTYPES

import cnnx
from cnnx import Sequential

DEEP = STACKS[0]
OPTIMIZERS = {
    "plain": cnnx.SGD,
    "momentum": lambda learn_rate: cnnx.SGD(learn_rate, momentum=0.9),
    "adam": lambda learn_rate: cnnx.Adam(learn_rate, weight_decay=0.1),
}


def states(optimizer):
    return b"".join(state.tobytes() for state in optimizer.states())


def assert_diverges(network, images, labels, match, **options):
    with pytest.raises(FloatingPointError, match=match):
        network.fit(images, labels, epochs=3, shuffle=False, **options)
    assert np.isfinite(flat_parameters(network.layers)).all()


def huge_at(step, dtype):
    """Return a schedule whose learn rate is far too large at one step, so that the loss of the next one is lost."""
    return lambda steps: np.where(np.arange(1, steps + 1) == step, float(np.finfo(dtype).max), 1.0)


@pairwise(
    progress_every=[1, 2, 3, 4, 1000],
    name=OPTIMIZERS,
    batch_size=[1, 4],
    names=[DEEP, "article:4 pool softmax:5"],
    dtype=DTYPES,
    target=cnnx.targets(),
)
def test_a_learn_rate_far_too_large_leaves_finite_parameters(rng, progress_every, name, batch_size, names, dtype):
    images, labels = rng.uniform(-10, 10, (40, 11, 14)), rng.integers(0, 5, 40)
    network = Sequential(stack(cnnx, names, dtype))
    optimizer = OPTIMIZERS[name](float(np.finfo(dtype).max))  # a gradient above 1 makes a parameter infinite
    options = {"batch_size": batch_size, "progress_every": progress_every, "on_progress": lambda _: None}
    message = r"expected .* at step \d+ of epoch \d with learn rate \d\.\d+e\+\d+; "
    assert_diverges(network, images, labels, message, optimizer=optimizer, **options)
    assert all(np.isfinite(state).all() for state in optimizer.states())


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_left_is_a_run_that_ended_with_the_last_finite_window(dtype, rng, name, batch_size):
    images, labels = rng.uniform(-1, 1, (30, 11, 14)), rng.integers(0, 5, 30)
    broken, shorter = (Sequential(stack(cnnx, DEEP, dtype)) for _ in range(2))
    of_broken, of_shorter = (OPTIMIZERS[name](0.01) for _ in range(2))
    bad, last = (18, 16) if batch_size == 1 else (6, 4)
    options = {"batch_size": batch_size, "progress_every": 4, "on_progress": lambda _: None}
    options["schedule"] = huge_at(bad - 1, dtype)
    message = rf"got nan at step {bad} of epoch 1 with learn rate 0\.01; .* after step {last} "
    assert_diverges(broken, images, labels, message, optimizer=of_broken, **options)
    kept = last * batch_size
    shorter.fit(images[:kept], labels[:kept], epochs=1, batch_size=batch_size, optimizer=of_shorter, shuffle=False)
    assert bits(broken) == bits(shorter)
    assert states(of_broken) == states(of_shorter)
    assert of_broken.steps == of_shorter.steps == last


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_first_window_that_diverges_leaves_everything_as_it_was(dtype, rng, name, batch_size):
    images, labels = rng.uniform(-1, 1, (12, 11, 14)), rng.integers(0, 5, 12)
    network, optimizer = Sequential(stack(cnnx, DEEP, dtype)), OPTIMIZERS[name](0.01)
    before = bits(network)
    message = re.escape("the parameters are those after step 0")
    assert_diverges(
        network, images, labels, message, optimizer=optimizer, batch_size=batch_size, schedule=huge_at(2, dtype)
    )
    assert bits(network) == before
    assert optimizer.steps == 0
    fresh = OPTIMIZERS[name](0.01)
    trained = []
    for either in (optimizer, fresh):
        twin = Sequential(stack(cnnx, DEEP, dtype))
        twin.fit(images[:6], labels[:6], epochs=1, batch_size=3, optimizer=either, shuffle=False)
        trained.append(bits(twin))
    assert trained[0] == trained[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_error_after_the_last_step_of_a_window_takes_the_window_back(dtype, rng, monkeypatch, name):
    """For example, there is no memory to look for numbers that are not finite."""
    images, labels = rng.uniform(-1, 1, (30, 11, 14)), rng.integers(0, 5, 30)
    broken, shorter = (Sequential(stack(cnnx, DEEP, dtype)) for _ in range(2))
    of_broken, of_shorter = (OPTIMIZERS[name](0.01) for _ in range(2))
    options = {"epochs": 1, "batch_size": 3, "shuffle": False}

    def break_next(_):
        monkeypatch.setattr("cnnx._training._what_is_not_finite", fail)

    def fail(*_):
        raise MemoryError("no memory")

    with pytest.raises(MemoryError, match=r"^no memory$"):
        broken.fit(images, labels, optimizer=of_broken, progress_every=4, on_progress=break_next, **options)
    monkeypatch.undo()
    shorter.fit(images[:12], labels[:12], optimizer=of_shorter, **options)
    assert bits(broken) == bits(shorter)
    assert states(of_broken) == states(of_shorter)
    assert len(broken.history.losses) == 12


def test_the_error_names_the_schedule_s_learn_rate_and_the_epoch(rng):
    images, labels = problem(rng, DEEP, count=8)
    network = Sequential(stack(cnnx, DEEP))
    factors = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1e200, 0.5, 0.25])
    with pytest.raises(FloatingPointError, match=r"at step 3 of epoch 2 with learn rate 0\.05; .* after step 0"):
        network.fit(images, labels, epochs=2, batch_size=2, learn_rate=0.1, schedule=lambda _: factors, shuffle=False)
    assert np.isfinite(flat_parameters(network.layers)).all()


def test_progress_is_never_reported_of_a_window_that_diverged(rng):
    images, labels = rng.uniform(-1, 1, (30, 11, 14)), rng.integers(0, 5, 30)
    reports = []
    network = Sequential(stack(cnnx, DEEP))
    options = {"learn_rate": 0.01, "progress_every": 4, "on_progress": reports.append, "schedule": huge_at(17, float)}
    assert_diverges(network, images, labels, "got nan", **options)
    assert [report.step for report in reports] == [4, 8, 12, 16]
