"""A run is cut into windows. Between them anything may be read or changed; the cuts change no result."""

import copy
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from networks import IMAGES, bits, small_problem
from stacks import IMAGE, problem, stack
from tolerances import assert_close, assert_same_bits
from twins import parameters

import cnnx
from cnnx import SGD, MaxPool2, Sequential, _training
from cnnx._batch import Batch

STEPS = 12
LEARN_RATE = 0.05


@pytest.mark.parametrize("progress_every", [1, 5, STEPS, 100, np.int64(7)])
@pytest.mark.parametrize("on_progress", [None, lambda _: None])
def test_windows_change_no_bit(dtype, progress_every, on_progress):
    network, images, labels = small_problem(dtype)
    whole = copy.deepcopy(network)
    for either, options in ((whole, {}), (network, {"progress_every": progress_every, "on_progress": on_progress})):
        either.fit(images, labels, epochs=2, learn_rate=LEARN_RATE, rng=np.random.default_rng(1), **options)
    assert bits(network) == bits(whole)


def test_windows_change_no_bit_of_a_long_run_either(dtype, rng):
    network, _, _ = small_problem(dtype)
    images, labels = IMAGES["blocks of bytes"](rng, (2500, 7, 8)), rng.integers(0, 4, 2500)
    whole = copy.deepcopy(network)
    whole.fit(images, labels, epochs=1, learn_rate=LEARN_RATE, shuffle=False)
    network.fit(
        images, labels, epochs=1, learn_rate=LEARN_RATE, shuffle=False, progress_every=100, on_progress=lambda _: None
    )
    assert bits(network) == bits(whole)


@pytest.mark.parametrize("progress_every", [1, 2, 3])
@pytest.mark.parametrize("kind", ["random bytes", "random bytes, some constant"])
def test_windows_change_no_bit_of_steps_that_leave_updates_to_the_next_one(dtype, rng, kind, progress_every):
    names = "article:26 pool softmax:54"
    images, labels = IMAGES[kind](rng, (STEPS, *IMAGE)), rng.integers(0, 54, STEPS)
    whole, network = Sequential(stack(cnnx, names, dtype)), Sequential(stack(cnnx, names, dtype))
    options = {"epochs": 2, "learn_rate": LEARN_RATE, "shuffle": False}
    whole.fit(images, labels, **options)
    network.fit(images, labels, progress_every=progress_every, on_progress=lambda _: None, **options)
    assert bits(network) == bits(whole)


# By the microseconds that a step takes. The last window of an epoch is cut short, so its time says nothing.
LENGTHS = {
    0: [100, 10_000, 14_900, 25_000],
    9: [100, 10_000, 10_000, 4_900, 10_000, 10_000, 5_000],
    2_000: [100] * 500,
}


@pytest.mark.parametrize("microseconds", LENGTHS)
def test_windows_that_nobody_watches_grow_to_a_tenth_of_a_second(rng, monkeypatch, microseconds):
    """Each is a call of the core, of which short windows would need many."""
    network, _, _ = small_problem()
    clock, found, train = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now), [], Batch.train

    def timed(batch, samples, *more):
        assert len(samples.order) > 0, "or the training would go on for ever"
        found.append(len(samples.order))
        clock.now += len(samples.order) * microseconds / 1e6
        train(batch, samples, *more)

    monkeypatch.setattr(_training, "time", clock)
    monkeypatch.setattr(Batch, "train", timed)
    images, labels = IMAGES["blocks of bytes"](rng, (25_000, 7, 8)), rng.integers(0, 4, 25_000)
    network.fit(images, labels, epochs=2, learn_rate=LEARN_RATE)
    assert found == LENGTHS[microseconds]


DEEP_WITH_DROPOUT = "same:6 relu pool dropout:0.25 conv:9 relu pool dense:12 relu dropout:0.5 softmax:10"


@pytest.mark.parametrize("progress_every", [1, 2, 5, 1000])
def test_windows_of_batches_change_no_bit(rng, progress_every):
    images, labels = problem(rng, DEEP_WITH_DROPOUT, count=45)
    networks = [Sequential(stack(cnnx, DEEP_WITH_DROPOUT)) for _ in range(2)]
    reports = []
    for network, options in zip(
        networks, ({}, {"progress_every": progress_every, "on_progress": reports.append}), strict=True
    ):
        history = network.fit(
            images,
            labels,
            epochs=2,
            batch_size=7,
            optimizer=cnnx.SGD(0.05, momentum=0.9),
            schedule="cosine",
            augment=cnnx.RandomShift(2),
            rng=np.random.default_rng(1),
            **options,
        )
    assert bits(networks[0]) == bits(networks[1])
    ends = [*range(progress_every, 7, progress_every), 7]
    assert [(report.epoch, report.step) for report in reports] == [(epoch, end) for epoch in (1, 2) for end in ends]
    first = min(progress_every * 7, 45)
    assert reports[0].loss == pytest.approx(history.losses[:first].mean())
    assert reports[0].accuracy == pytest.approx(history.correct[:first].mean())


@pytest.mark.parametrize("name", ["filters", "weights", "biases"])
def test_a_change_in_place_while_training_takes_effect(dtype, name):
    network, images, labels = small_problem(dtype)
    twin, unchanged = copy.deepcopy(network), copy.deepcopy(network)

    def change(layers):
        getattr(layers[0] if name == "filters" else layers[2], name)[...] *= 2

    options = {"epochs": 1, "learn_rate": LEARN_RATE, "shuffle": False}
    network.fit(
        images,
        labels,
        progress_every=6,
        on_progress=lambda progress: change(network.layers) if progress.step == 6 else None,
        **options,
    )
    unchanged.fit(images, labels, **options)
    twin.fit(images[:6], labels[:6], **options)
    change(twin.layers)
    twin.fit(images[6:], labels[6:], **options)
    for trained, expected, other in zip(network.layers, twin.layers, unchanged.layers, strict=True):
        for parameter, values in parameters(expected).items():
            assert_close(getattr(trained, parameter), values, terms=60)
            assert (getattr(other, parameter) != values).any()


def test_progress_is_the_mean_of_its_window():
    network, images, labels = small_problem()
    reports = []
    history = network.fit(images, labels, epochs=2, learn_rate=LEARN_RATE, on_progress=reports.append, progress_every=5)
    assert [(report.epoch, report.step) for report in reports] == [(e, s) for e in (1, 2) for s in (5, 10, STEPS)]
    for report in reports:
        stop = (report.epoch - 1) * STEPS + report.step
        window = slice(stop - (5 if report.step % 5 == 0 else STEPS % 5), stop)
        assert report.loss == pytest.approx(history.losses[window].mean())
        assert report.accuracy == pytest.approx(history.correct[window].mean())
    assert history.losses.shape == history.correct.shape == (2 * STEPS,)
    assert (history.losses.dtype, history.correct.dtype) == (np.float64, np.bool_)


def interrupt():
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore Ctrl-C
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, usual)


def fail():
    raise LookupError("the callback's own")


@pytest.mark.parametrize(("stop", "error"), [(interrupt, KeyboardInterrupt), (fail, LookupError)])
def test_what_ends_training_early_leaves_the_parameters_of_a_shorter_run(stop, error):
    network, images, labels = small_problem()
    shorter = copy.deepcopy(network)
    with pytest.raises(error, match="own" if stop is fail else "^$"):
        network.fit(
            images,
            labels,
            epochs=2,
            learn_rate=LEARN_RATE,
            shuffle=False,
            progress_every=3,
            on_progress=lambda progress: stop() if progress.step == 6 else None,
        )
    shorter.fit(images[:6], labels[:6], epochs=1, learn_rate=LEARN_RATE, shuffle=False)
    assert bits(network) == bits(shorter)


def double_filters(network):
    network.layers[0].filters = 2 * network.layers[0].filters


def double_weights(network):
    network.layers[2].weights = 2 * network.layers[2].weights


def shift_biases(network):
    network.layers[2].biases = network.layers[2].biases + np.arange(4)


def first_tie(network):
    network.layers[1].ties = "first"


def other_layer(network):
    network.layers[1] = MaxPool2(ties="first")


CHANGES = [double_filters, double_weights, shift_biases, first_tie, other_layer]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("when", ["between calls", "while training"])
def test_a_replaced_array_or_setting_takes_effect(change, when):
    network, images, labels = small_problem()
    twin, unchanged = copy.deepcopy(network), copy.deepcopy(network)
    options = {"learn_rate": LEARN_RATE, "epochs": 1, "shuffle": False}
    if when == "between calls":
        network.fit(images[:6], labels[:6], **options)
        change(network)
        network.fit(images[6:], labels[6:], **options)
    else:

        def halfway(progress):
            if progress.step == 6:
                change(network)

        network.fit(images, labels, on_progress=halfway, progress_every=6, **options)
    unchanged.fit(images, labels, **options)
    twin.fit(images[:6], labels[:6], **options)
    change(twin)
    twin = Sequential(twin.layers)
    twin.fit(images[6:], labels[6:], **options)
    assert bits(network) == bits(twin)
    assert bits(network) != bits(unchanged)
    assert_same_bits(network.predict(images), twin.predict(images))


@pytest.mark.parametrize(("nodes", "kind"), [(4, "blank"), (54, "bytes")])
def test_momentum_from_the_middle_of_a_training_on_continues_with_its_weights(dtype, rng, nodes, kind):
    names = f"article:24 pool softmax:{nodes}"
    images, labels = problem(rng, names, STEPS, kind)
    network = Sequential(stack(cnnx, names, dtype))
    twin, unchanged = copy.deepcopy(network), copy.deepcopy(network)
    optimizer = SGD(LEARN_RATE)
    options = {"epochs": 1, "shuffle": False, "progress_every": 5}

    def halfway(progress):
        if progress.step == 5:
            optimizer.momentum = 0.5

    network.fit(images, labels, optimizer=optimizer, on_progress=halfway, **options)
    unchanged.fit(images, labels, optimizer=SGD(LEARN_RATE), **options)
    twin.fit(images[:5], labels[:5], optimizer=SGD(LEARN_RATE), **options)
    twin.fit(images[5:], labels[5:], optimizer=SGD(LEARN_RATE, momentum=0.5), **options)
    assert bits(network) == bits(twin)
    assert bits(network) != bits(unchanged)


def test_a_network_may_be_tested_while_it_trains():
    network, images, labels = small_problem()
    twin = copy.deepcopy(network)
    seen = []

    def test(_):
        seen.append(network.predict(images[:3]))
        network.evaluate(images, labels)

    for either, on_progress in ((network, test), (twin, None)):
        either.fit(
            images, labels, epochs=1, learn_rate=LEARN_RATE, shuffle=False, on_progress=on_progress, progress_every=4
        )
    assert bits(network) == bits(twin)
    assert_same_bits(seen[-1], twin.predict(images[:3]))


@pytest.mark.parametrize("schedule", [None, "cosine"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_learn_rate_that_on_progress_assigns_holds_from_the_next_window_on(schedule, batch_size):
    network, images, labels = small_problem()
    twin, unchanged = copy.deepcopy(network), copy.deepcopy(network)
    optimizer = cnnx.SGD(0.05, momentum=0.5)
    options = {"epochs": 1, "batch_size": batch_size, "shuffle": False, "progress_every": 2}
    steps = 12 // batch_size
    factors = np.ones(steps) if schedule is None else cnnx.schedules.cosine(steps)

    def halve(progress):
        if progress.step == 2:
            optimizer.learn_rate /= 2

    network.fit(images, labels, optimizer=optimizer, schedule=schedule, on_progress=halve, **options)
    halved = np.where(np.arange(steps) < 2, 1, 0.5) * factors
    twin.fit(images, labels, optimizer=cnnx.SGD(0.05, momentum=0.5), schedule=lambda _: halved, **options)
    unchanged.fit(images, labels, optimizer=cnnx.SGD(0.05, momentum=0.5), schedule=schedule, **options)
    assert bits(network) == bits(twin)
    assert bits(network) != bits(unchanged)
