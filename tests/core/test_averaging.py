"""A moving average of the parameters follows them during a run, and takes their place at its end."""

import copy
import re
import signal

import numpy as np
import pytest
from networks import bits, small_problem
from reference_loop import OPTIMIZERS
from stacks import STACKS, flat_parameters, problem, stack
from tolerances import assert_close, assert_same_bits

import cnnx
from cnnx import EarlyStopping, Sequential, reference

TERMS = 300
DEEP, ARTICLE = STACKS[0], "article:8 pool softmax:10"
NORMALISED = "unbiased:6 norm relu pool:first unbiased:9 norm:0.7 pool softmax:5"
STEPPED = [DEEP, STACKS[5], "dense:9 relu dense:4 relu softmax:3", ARTICLE]
OPTIONS = {"epochs": 3, "batch_size": 4, "shuffle": False}


def by_hand(network, images, labels, optimizer, decay, *, epochs, batch_size):
    """Train with `gradients` and `apply`. Return the average, and how far the parameters ended from it."""
    average, step = network.parameters.copy(), 0
    for _ in range(epochs):
        for start in range(0, len(images), batch_size):
            network.gradients(images[start : start + batch_size], labels[start : start + batch_size])
            network.apply(optimizer)
            step += 1
            reference.average_update(average, network.parameters, step, decay)
    return average, np.abs(network.parameters - average).max()


@pytest.mark.parametrize("names", STEPPED)
@pytest.mark.parametrize("optimizer", ["plain", "momentum", "adam"])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("decay", [0.3, 0.999])  # both sides of the least in most steps
def test_fit_ends_with_the_average_that_its_twin_computes(names, dtype, rng, optimizer, batch_size, decay):
    kind, settings = OPTIMIZERS[optimizer]
    images, labels = problem(rng, names, count=10, kind="blank")
    network = Sequential(stack(cnnx, names, dtype))
    twin = copy.deepcopy(network)
    run = {"epochs": 2, "batch_size": batch_size}
    history = network.fit(images, labels, optimizer=kind(0.02, **settings), average=decay, shuffle=False, **run)
    average, distance = by_hand(twin, images, labels, kind(0.02, **settings), decay, **run)
    assert_close(network.parameters, average, TERMS)
    assert distance > 1e-4
    assert history.losses.shape == (20,)


@pytest.mark.parametrize("names", [DEEP, ARTICLE, NORMALISED])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize(
    "options", [{"threads": 2}, {"threads": 3}, {"progress_every": 1}, {"progress_every": 3}], ids=str
)
def test_neither_threads_nor_windows_change_a_bit(names, dtype, rng, batch_size, options):
    images, labels = problem(rng, names, count=40, kind="blank")
    ends = []
    for given in ({"threads": 1, "progress_every": 1000}, {"threads": 1, "on_progress": lambda _: None, **options}):
        network = Sequential(stack(cnnx, names, dtype))
        run = {"epochs": 2, "batch_size": batch_size, "learn_rate": 0.05, "average": 0.9, "rng": 1, **given}
        history = network.fit(images, labels, **run)
        ends.append((bits(network), history.losses.tobytes()))
    assert ends[0] == ends[1]


def arrays_of(network):
    return [array for layer in network.layers for array in layer.arrays().values()]


def squared(outputs, labels):
    rows = np.eye(outputs.shape[1], dtype=outputs.dtype)[labels]
    return np.square(outputs - rows, dtype=np.float64).sum(axis=1), 2 * (outputs - rows)


@pytest.mark.parametrize("options", [{}, {"loss": squared}], ids=["the core's loss", "an own loss"])
def test_running_statistics_are_averaged_with_the_parameters(dtype, rng, options):
    images, labels = problem(rng, NORMALISED, count=20)
    network = Sequential(stack(cnnx, NORMALISED, dtype))
    twin = copy.deepcopy(network)
    options = {"batch_size": 4, "shuffle": False, **options}
    network.fit(images, labels, epochs=2, optimizer=cnnx.SGD(0.02, 0.9), average=0.9, **options)
    averages, optimizer = [array.copy() for array in arrays_of(twin)], cnnx.SGD(0.02, 0.9)
    for step in range(10):
        batch = slice(4 * (step % 5), 4 * (step % 5) + 4)
        twin.fit(images[batch], labels[batch], epochs=1, optimizer=optimizer, **options)
        for average, array in zip(averages, arrays_of(twin), strict=True):
            reference.average_update(average, array, step + 1, 0.9)
    for array, average, last in zip(arrays_of(network), averages, arrays_of(twin), strict=True):
        assert_close(array, average, TERMS)
        assert np.abs(last - average).max() > 1e-4


def test_the_average_changes_nothing_of_the_training(rng):
    images, labels = problem(rng, DEEP, count=20)
    ends = []
    for average in (None, 0.99):
        network, optimizer = Sequential(stack(cnnx, DEEP)), cnnx.Adam(0.01)
        history = network.fit(images, labels, optimizer=optimizer, average=average, **OPTIONS)
        ends.append((history.losses.tobytes(), optimizer.first_moment.tobytes(), bits(network)))
    assert ends[0][:2] == ends[1][:2]
    assert ends[0][2] != ends[1][2]


def test_a_layer_at_two_positions_has_one_average(rng):
    network = Sequential(stack(cnnx, "same:1 same:1 softmax:2"))
    network.layers[1] = network.layers[0]
    images, labels = problem(rng, "softmax:2", count=8)
    twin = copy.deepcopy(network)
    run = {"epochs": 2, "batch_size": 4}
    network.fit(images, labels, learn_rate=0.05, average=0.9, shuffle=False, **run)
    average, _ = by_hand(twin, images, labels, cnnx.SGD(0.05), 0.9, **run)
    assert network.layers[0] is network.layers[1]
    assert_close(network.parameters, average, TERMS)


def test_validation_evaluates_the_average_and_on_progress_sees_the_last_step():
    network, images, labels = small_problem(count=40)
    plain, held_out = copy.deepcopy(network), (images[30:], labels[30:])
    seen, without = [], []
    options = {"epochs": 3, "batch_size": 4, "learn_rate": 0.1, "rng": 1, "progress_every": 100}
    history = network.fit(
        images[:30],
        labels[:30],
        validation=held_out,
        average=0.9,
        on_progress=lambda _: seen.append(bits(network)),
        **options,
    )
    plain.fit(images[:30], labels[:30], on_progress=lambda _: without.append(bits(plain)), **options)
    assert seen == without
    assert tuple(history.validation[-1]) == network.evaluate(*held_out)
    assert tuple(history.validation[-1]) != plain.evaluate(*held_out)


@pytest.mark.parametrize("batch_size", [2, 1])
def test_early_stopping_goes_back_to_the_average_of_the_best_epoch(batch_size):
    network, images, labels = small_problem(count=40)
    held_out = images[20:], labels[20:]
    history = network.fit(
        images[:20],
        labels[:20],
        epochs=200,
        batch_size=batch_size,
        learn_rate=0.5,
        average=0.95,
        validation=held_out,
        early_stopping=EarlyStopping(3),
        rng=1,
    )
    best = history.validation[:, 0].argmin()
    assert len(history.validation) == best + 4 < 200
    assert network.evaluate(*held_out) == tuple(history.validation[best])


def interrupt(_):
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, usual)


def fail(_):
    raise LookupError("the callback's own")


@pytest.mark.parametrize(
    ("end", "error"), [(lambda _: True, None), (interrupt, KeyboardInterrupt), (fail, LookupError)]
)
def test_the_average_stays_however_the_training_ends(end, error):
    network, images, labels = small_problem(count=40)
    shorter = copy.deepcopy(network)
    shorter.fit(images[:12], labels[:12], average=0.9, **{**OPTIONS, "epochs": 1}, learn_rate=0.1)

    def train():
        return network.fit(images, labels, average=0.9, learn_rate=0.1, on_progress=end, progress_every=3, **OPTIONS)

    if error is None:
        train()
    else:
        with pytest.raises(error):
            train()
    assert bits(network) == bits(shorter)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_after_divergence_the_average_is_that_before_the_window(batch_size):
    network, images, labels = small_problem(count=40)
    shorter = copy.deepcopy(network)
    options = {"epochs": 1, "batch_size": batch_size, "learn_rate": 0.1, "average": 0.9, "shuffle": False}
    shorter.fit(images[: 3 * batch_size], labels[: 3 * batch_size], **options)
    rates = {"schedule": lambda steps: np.where(np.arange(steps) < 3, 1.0, 1e308)}
    message = r"at step [56] of epoch 1 with learn rate 1e\+307; the parameters are the average after step 3 "
    with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match=message):
        network.fit(images, labels, progress_every=3, on_progress=lambda _: None, **options, **rates)
    assert bits(network) == bits(shorter)


def test_an_average_of_other_layers_is_refused():
    network, images, labels = small_problem(count=12)

    def replace(_):
        network.layers = [*network.layers[:2], cnnx.Softmax(2 * 3 * 5, 6)]

    message = "average: expected layers with 169 parameters, as at the start of fit, got 231"
    with pytest.raises(ValueError, match=f"^{message}$"):
        network.fit(images, labels, average=0.9, learn_rate=0.1, on_progress=replace, progress_every=2, **OPTIONS)


@pytest.mark.parametrize("average", [0, 0.0, 1, 1.5, -0.1, float("nan"), "0.9", True, [0.9]], ids=repr)
def test_what_is_no_share_is_refused(average):
    network, images, labels = small_problem()
    before = network.parameters.copy()
    expected = re.escape(repr(average))
    with pytest.raises((TypeError, ValueError), match=f"^average: expected a number.*, got {expected}$"):
        network.fit(images, labels, learn_rate=0.05, average=average, **OPTIONS)
    assert_same_bits(network.parameters, before)


def test_the_first_steps_are_soon_forgotten():
    """Without the smaller shares of the first steps, 0.999 would leave most of what the network began with."""
    network, images, labels = small_problem(count=100)
    before = flat_parameters(network.layers)
    last = []
    network.fit(
        images,
        labels,
        epochs=1,
        learn_rate=0.01,
        average=0.999,
        shuffle=False,
        on_progress=lambda _: last.append(network.parameters.copy()),
    )
    assert np.linalg.norm(network.parameters - last[0]) < 0.5 * np.linalg.norm(network.parameters - before)
