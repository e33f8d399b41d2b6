"""`EarlyStopping` ends a run after enough epochs that are not better, and goes back to the best one."""

import copy
import re
import signal

import numpy as np
import pytest
from networks import small_problem
from tolerances import assert_same_bits

import cnnx
from cnnx import EarlyStopping, Sequential

WORD = {"loss": 0, "accuracy": 1}


class Scored(Sequential):
    """A network whose validation has the scores of a list, one after another."""

    def evaluate(self, *_, **__):
        return next(self.scores)


def scored(scores, monitor="loss"):
    """Return a network whose loss or accuracy has these scores, and images and labels. The other gets ever better."""
    plain, images, labels = small_problem()
    network = Scored(plain.layers)
    network.scores = ((score, epoch) if monitor == "loss" else (-epoch, score) for epoch, score in enumerate(scores))
    return network, images, labels


def everything(network, optimizer):
    arrays = [network.parameters, *optimizer.states()]
    return [array.copy() for array in arrays]


def fit(network, images, labels, optimizer, early_stopping, epochs=50, on_progress=None, **options):
    """Return a function that trains, and a list that gets what a step changes, as it is after each epoch."""
    after = []

    def note(progress):
        if progress.validation is not None:
            after.append(everything(network, optimizer))
        return None if on_progress is None else on_progress(progress)

    def train():
        return network.fit(
            images,
            labels,
            epochs=epochs,
            batch_size=4,
            optimizer=optimizer,
            validation=(images[:3], labels[:3]),
            early_stopping=early_stopping,
            on_progress=note,
            progress_every=2,
            **options,
        )

    return train, after


def assert_is(network, optimizer, expected):
    for array, values in zip(everything(network, optimizer), expected, strict=True):
        assert_same_bits(array, values)


# The scores of the epochs' losses, the patience, how many epochs are trained, and which of them is the best.
COURSES = [
    ([3, 2, 1, 1.5, 1.2, 9], 2, 5, 2),
    ([3, 2, 2, 2, 1, 9], 2, 4, 1),  # the same is not better
    ([1, 2, 9], 1, 2, 0),
    ([3, 4, 2, 4, 1, 4, 4, 9], 2, 7, 4),  # a better epoch starts the count anew
    ([float("inf"), 2, float("nan"), 3, 9], 2, 4, 1),
]
OPTIMIZERS = [lambda: cnnx.SGD(0.05), lambda: cnnx.SGD(0.05, momentum=0.5), lambda: cnnx.Adam(0.01)]


@pytest.mark.parametrize(("scores", "patience", "epochs", "best"), COURSES)
@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_it_stops_after_patience_and_goes_back_to_the_best(scores, patience, epochs, best, monitor, restore_best, make):
    scores = scores if monitor == "loss" else [-score for score in scores]
    network, images, labels = scored(scores, monitor)
    optimizer = make()
    stopping = EarlyStopping(patience, monitor=monitor, restore_best=restore_best)
    train, after = fit(network, images, labels, optimizer, stopping)
    history = train()
    assert network.history is history
    assert len(after) == len(history.validation) == epochs
    assert history.losses.shape == history.correct.shape == (epochs * 12,)
    np.testing.assert_array_equal(history.validation[:, WORD[monitor]], scores[:epochs])
    assert_is(network, optimizer, after[best if restore_best else epochs - 1])
    assert (after[best][0] != after[epochs - 1][0]).any()


def interrupt(_):
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, usual)


def fail(_):
    raise LookupError("the callback's own")


ENDINGS = [(None, None), (lambda _: True, None), (interrupt, KeyboardInterrupt), (fail, LookupError)]
IDS = ["all epochs", "True", "Ctrl-C", "error"]


@pytest.mark.parametrize(("end", "error"), ENDINGS, ids=IDS)
@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_the_best_epoch_is_restored_however_the_training_ends(end, error, restore_best, make):
    network, images, labels = scored([3, 1, 2, 9, 9])
    optimizer, last = make(), []

    def stop(progress):
        last[:] = everything(network, optimizer)
        return end(progress) if end is not None and (progress.epoch, progress.step) == (3, 2) else None

    train, after = fit(
        network, images, labels, optimizer, EarlyStopping(9, restore_best=restore_best), epochs=3, on_progress=stop
    )
    if error is None:
        train()
    else:
        with pytest.raises(error):
            train()
    assert network.history.losses.shape == ((36,) if end is None else (32,))
    assert_is(network, optimizer, after[1] if restore_best else last)
    assert (last[0] != after[1][0]).any()


@pytest.mark.parametrize("restore_best", [True, False])
def test_after_divergence_the_message_says_which_parameters_are_left(restore_best):
    network, images, labels = scored([1, 2, 3])
    optimizer = cnnx.SGD(0.05)

    def explode(progress):
        if progress.epoch == 2:
            optimizer.learn_rate = 1e308

    train, after = fit(
        network, images, labels, optimizer, EarlyStopping(9, restore_best=restore_best), on_progress=explode
    )
    left = "of the best epoch" if restore_best else r"after step \d"
    with pytest.raises(FloatingPointError, match=f"the parameters are those {left} "):
        train()
    if restore_best:
        assert_is(network, optimizer, after[0])


def test_before_the_first_epoch_ends_nothing_is_restored():
    network, images, labels = scored([1])
    optimizer, last = cnnx.SGD(0.05), []

    def stop(_):
        last[:] = everything(network, optimizer)
        return True

    history = fit(network, images, labels, optimizer, EarlyStopping(1), on_progress=stop)[0]()
    assert history.losses.shape == (8,)
    assert_is(network, optimizer, last)


def test_it_continues_from_the_best_epoch():
    network, images, labels = scored([2, 1, 3])
    twin, _, _ = small_problem()
    optimizer, other = cnnx.Adam(0.01), cnnx.Adam(0.01)
    fit(network, images, labels, optimizer, EarlyStopping(1), shuffle=False)[0]()
    for either, taking, epochs in ((network, optimizer, 1), (twin, other, 3)):
        either.fit(images, labels, epochs=epochs, batch_size=4, optimizer=taking, shuffle=False)
    assert_is(network, optimizer, everything(twin, other))


def test_one_object_is_for_many_runs():
    stopping = EarlyStopping(2)
    for _ in range(2):
        network, images, labels = scored([5, 6, 7, 8])
        history = fit(network, images, labels, cnnx.SGD(0.05), stopping)[0]()
        assert len(history.validation) == 3


def test_a_memory_that_is_newer_than_the_best_epoch_is_zero_again():
    network, images, labels = scored([1, 2, 3])
    optimizer = cnnx.SGD(0.05)

    def add_momentum(progress):
        if progress.epoch == 2:
            optimizer.momentum = 0.9

    fit(network, images, labels, optimizer, EarlyStopping(2), on_progress=add_momentum)[0]()
    assert not optimizer.velocity.any()
    assert optimizer.steps == 3


def test_the_best_epoch_of_other_layers_is_not_restored():
    network, images, labels = scored([1, 2, 3])

    def replace(progress):
        if progress.epoch == 2:
            network.layers = [copy.deepcopy(layer) for layer in network.layers]

    train, _ = fit(network, images, labels, cnnx.SGD(0.05), EarlyStopping(1), on_progress=replace)
    with pytest.raises(RuntimeError, match=r"^early_stopping: expected the layers of the best epoch, .*, got other"):
        train()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_stopping": EarlyStopping(3)}, "early_stopping: expected validation=(images, labels) beside it, got"),
        ({"early_stopping": 3}, "early_stopping: expected a cnnx.EarlyStopping or None, got 3"),
        ({"early_stopping": EarlyStopping}, "early_stopping: expected a cnnx.EarlyStopping or None, got <class"),
        ({"on_progress": EarlyStopping(3)}, "on_progress: expected a callable or None, got EarlyStopping"),
    ],
)
def test_what_would_be_ignored_is_refused(options, message):
    network, images, labels = small_problem()
    before = network.parameters.copy()
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        network.fit(images, labels, epochs=1, learn_rate=0.05, **options)
    assert_same_bits(network.parameters, before)


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_the_network_s_own_validation_decides(monitor):
    network, images, labels = small_problem(count=40)
    held_out = images[20:], labels[20:]
    history = network.fit(
        images[:20],
        labels[:20],
        epochs=200,
        batch_size=2,
        learn_rate=0.5,
        validation=held_out,
        early_stopping=EarlyStopping(3, monitor=monitor),
        rng=1,
    )
    scores = history.validation[:, WORD[monitor]]
    best = scores.argmin() if monitor == "loss" else scores.argmax()
    assert len(scores) == best + 4 < 200
    assert network.evaluate(*held_out) == tuple(history.validation[best])
