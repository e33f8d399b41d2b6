"""What `on_progress` returns ends the training, or lets it go on."""

import copy

import numpy as np
import pytest
from networks import bits, small_problem
from tolerances import assert_same_bits

import cnnx

OPTIONS = {"batch_size": 2, "shuffle": False, "progress_every": 2}  # 12 images make 6 steps, and 3 windows, an epoch


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("step", [2, 4, 6])
@pytest.mark.parametrize("enough", [True, np.True_])
@pytest.mark.parametrize("make", [lambda: cnnx.SGD(0.05, momentum=0.5), lambda: cnnx.Adam(0.01)])
def test_true_stops_after_that_window(dtype, epoch, step, enough, make):
    network, images, labels = small_problem(dtype)
    twin, whole = copy.deepcopy(network), copy.deepcopy(network)
    optimizer, reports = make(), []

    def stop(progress):
        reports.append((progress.epoch, progress.step))
        return enough if reports[-1] == (epoch, step) else None

    validation = (images[:5], labels[:5])
    stopped = network.fit(
        images, labels, epochs=3, optimizer=optimizer, validation=validation, on_progress=stop, **OPTIONS
    )
    complete = whole.fit(images, labels, epochs=3, optimizer=make(), validation=validation, **OPTIONS)
    assert reports[-1] == (epoch, step)
    samples = (epoch - 1) * 12 + 2 * step
    assert optimizer.steps == samples // 2
    assert_same_bits(stopped.losses, complete.losses[:samples])
    assert_same_bits(stopped.correct, complete.correct[:samples])
    assert_same_bits(stopped.validation, complete.validation[: samples // 12])
    assert network.history is stopped

    shorter = make()
    for start in range(0, samples, 12):
        count = min(12, samples - start)
        twin.fit(images[:count], labels[:count], epochs=1, optimizer=shorter, **OPTIONS)
    assert bits(network) == bits(twin)
    assert bits(network) != bits(whole)
    for state, expected in zip(optimizer.states(), shorter.states(), strict=True):
        assert_same_bits(state, expected)


@pytest.mark.parametrize("returned", [None, False, np.False_])
def test_none_and_false_let_it_go_on(returned):
    network, images, labels = small_problem()
    twin = copy.deepcopy(network)
    history = network.fit(images, labels, epochs=2, learn_rate=0.05, on_progress=lambda _: returned, **OPTIONS)
    twin.fit(images, labels, epochs=2, learn_rate=0.05, **OPTIONS)
    assert history.losses.shape == (24,)
    assert bits(network) == bits(twin)


@pytest.mark.parametrize("returned", [1, 0, 0.0, "stop", "", [], (0.5, 0.9), np.int64(1), np.array([True])], ids=repr)
def test_anything_else_is_refused_after_the_first_window(returned):
    network, images, labels = small_problem()
    twin = copy.deepcopy(network)
    with pytest.raises(TypeError, match=r"^on_progress: expected it to return True .* None or False .*, got "):
        network.fit(images, labels, epochs=2, learn_rate=0.05, on_progress=lambda _: returned, **OPTIONS)
    twin.fit(images[:4], labels[:4], epochs=1, learn_rate=0.05, **OPTIONS)
    assert bits(network) == bits(twin)
    assert network.history.losses.shape == (4,)


def test_training_continues_after_it_was_stopped():
    network, images, labels = small_problem()
    twin = copy.deepcopy(network)
    optimizer = cnnx.Adam(0.01)
    options = {"optimizer": optimizer, **OPTIONS}
    network.fit(images, labels, epochs=5, on_progress=lambda progress: progress.step == 6, **options)
    network.fit(images, labels, epochs=1, **options)
    twin.fit(images, labels, epochs=2, **{**options, "optimizer": cnnx.Adam(0.01)})
    assert optimizer.steps == 12
    assert bits(network) == bits(twin)
