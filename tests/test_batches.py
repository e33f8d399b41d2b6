"""Training in batches is the mean gradient and the optimizer's formula, whatever the threads."""

import copy

import numpy as np
import pytest
from networks import as_floats, bits, forward_by_hand
from stacks import IMAGE, STACKS, flat_parameters, stack, train
from tolerances import assert_close, assert_same_bits
from twins import parameters

import cnnx
from cnnx import Sequential, reference

STEPS = 20
LEARN_RATE = 0.04  # times STEPS below 1: the roundings of all steps come to less than those of one whole step
TERMS = 300  # in a sum, and in the sums that it is made of

ADAM = {"betas": (0.8, 0.95), "eps": 0.02, "weight_decay": 0.1}  # eps far above what rounding leaves of a zero
OPTIMIZERS = {
    "plain": (cnnx.SGD, {}),
    "weight decay": (cnnx.SGD, {"weight_decay": 0.2}),
    "momentum": (cnnx.SGD, {"momentum": 0.8, "weight_decay": 0.05}),
    "nesterov": (cnnx.SGD, {"momentum": 0.7, "nesterov": True}),
    "adam": (cnnx.Adam, ADAM),
}


def twin_of(kind, settings, rates):
    """Return the update of `reference` for an optimizer, with a learn rate for every step."""
    states = {}

    def update(values, gradient, step):
        first, second = states.setdefault("both", (np.zeros_like(values), np.zeros_like(values)))
        rate = float(rates[step - 1])
        if kind is cnnx.SGD:
            reference.sgd_update(values, first, gradient, rate, **settings)
        else:
            rest = settings["eps"], settings["weight_decay"]
            reference.adam_update(values, first, second, gradient, rate, step, *settings["betas"], *rest)

    return update


def problem(rng, names, count, kind="bytes"):
    """Return images and labels for a stack."""
    draw = {
        "bytes": lambda: rng.integers(0, 256, (count, *IMAGE), np.uint8),
        "floats": lambda: rng.uniform(-1, 1, (count, *IMAGE)),
        "blank": lambda: np.where(rng.random((count, *IMAGE)) < 0.1, 200, 0).astype(np.uint8),
    }
    nodes = int(names.rpartition(":")[2])
    return draw[kind](), rng.integers(0, nodes, count)


def assert_fit_follows(names, dtype, images, labels, batch_size, optimizer, rates=None, **options):
    """Assert that `fit` does what the reference's loop does, and that every parameter has moved."""
    kind, settings = OPTIMIZERS[optimizer]
    network, plain = Sequential(stack(cnnx, names, dtype)), stack(reference, names, dtype)
    before = copy.deepcopy(network)
    steps = -(-len(images) // batch_size)
    update = twin_of(kind, settings, np.full(steps, LEARN_RATE) if rates is None else rates)
    losses, correct = train(plain, as_floats(images, dtype), labels, batch_size, update)
    history = network.fit(
        images,
        labels,
        epochs=1,
        batch_size=batch_size,
        optimizer=kind(LEARN_RATE, **settings),
        shuffle=False,
        **options,
    )
    assert_close(history.losses.astype(dtype), losses.astype(dtype), TERMS)
    np.testing.assert_array_equal(history.correct, correct)
    for trained, expected, old in zip(network.layers, plain, before.layers, strict=True):
        for name, values in parameters(expected).items():
            assert_close(getattr(trained, name), values, TERMS)
            assert np.abs(values - getattr(old, name)).max() > 3e-4


@pytest.mark.parametrize("names", STACKS)
@pytest.mark.parametrize("optimizer", ["plain", "adam"])
def test_fit_is_the_reference_s_loop_for_every_stack(dtype, rng, names, optimizer):
    images, labels = problem(rng, names, count=5 * STEPS - 2)  # the last batch has three
    assert_fit_follows(names, dtype, images, labels, 5, optimizer)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 8, 9, 16, 64])
@pytest.mark.parametrize("names", [STACKS[0], STACKS[7], "article:8 pool softmax:10"])
def test_any_batch_size_takes_the_mean_gradient(dtype, rng, names, batch_size):
    images, labels = problem(rng, names, count=61)
    assert_fit_follows(names, dtype, images, labels, batch_size, "plain")


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("names", [STACKS[1], "article:8 pool softmax:10"])
def test_every_optimizer_is_its_formula(dtype, rng, names, optimizer, batch_size):
    images, labels = problem(rng, names, count=batch_size * STEPS - batch_size // 2)
    assert_fit_follows(names, dtype, images, labels, batch_size, optimizer)


@pytest.mark.parametrize("kind", ["floats", "blank"])
@pytest.mark.parametrize("names", STACKS[:6])
def test_any_kind_of_image_trains_in_batches(dtype, rng, names, kind):
    images, labels = problem(rng, names, 30, kind)
    assert_fit_follows(names, dtype, images, labels, 8, "momentum")


def test_adam_s_own_settings_are_the_usual_ones(rng):
    images, labels = problem(rng, STACKS[0], count=40)
    networks = [Sequential(stack(cnnx, STACKS[0])) for _ in range(2)]
    optimizers = cnnx.Adam(1e-3), cnnx.Adam(1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    for network, optimizer in zip(networks, optimizers, strict=True):
        network.fit(images, labels, epochs=1, batch_size=8, optimizer=optimizer, shuffle=False)
    assert bits(networks[0]) == bits(networks[1])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_eps_too_small_for_the_dtype_keeps_adam_finite(dtype, rng, batch_size):
    """Some of the core's numbers never have a gradient: those that fill up a register."""
    images, labels = problem(rng, "article:3 pool softmax:10", count=16)
    network = Sequential(stack(cnnx, "article:3 pool softmax:10", dtype))
    optimizer = cnnx.Adam(1e-3, eps=1e-300)
    history = network.fit(images, labels, epochs=1, batch_size=batch_size, optimizer=optimizer, shuffle=False)
    assert np.isfinite(history.losses).all()


@pytest.mark.parametrize("batch_size", [2**31, 2**63 - 1, 2**64])
def test_a_batch_has_at_most_all_images(rng, batch_size):
    images, labels = problem(rng, STACKS[0], count=9)
    networks = [Sequential(stack(cnnx, STACKS[0])) for _ in range(2)]
    for network, size in zip(networks, (9, batch_size), strict=True):
        network.fit(images, labels, epochs=2, batch_size=size, learn_rate=0.05, shuffle=False)
    assert bits(networks[0]) == bits(networks[1])


@pytest.mark.parametrize("batch_size", [1, 6])
@pytest.mark.parametrize("names", [STACKS[0], "article:8 pool softmax:10"])
def test_a_learn_rate_alone_is_plain_sgd_to_the_bit(dtype, rng, names, batch_size):
    images, labels = problem(rng, names, count=32)
    networks = [Sequential(stack(cnnx, names, dtype)) for _ in range(2)]
    for network, options in zip(networks, ({"learn_rate": 0.05}, {"optimizer": cnnx.SGD(0.05)}), strict=True):
        network.fit(images, labels, epochs=2, batch_size=batch_size, shuffle=False, **options)
    assert bits(networks[0]) == bits(networks[1])


DEEP_WITH_DROPOUT = "same:6 relu pool dropout:0.25 conv:9 relu pool dense:12 relu dropout:0.5 softmax:10"


@pytest.mark.parametrize("threads", [2, 3, 4, 7, None])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 21])
@pytest.mark.parametrize("names", [DEEP_WITH_DROPOUT, "conv:5 relu pool:first conv:8 pool softmax:10"])
def test_the_number_of_threads_changes_no_bit(dtype, rng, names, batch_size, threads):
    images, labels = problem(rng, names, count=50)
    networks = [Sequential(stack(cnnx, names, dtype)) for _ in range(2)]
    histories = [
        network.fit(
            images,
            labels,
            epochs=2,
            batch_size=batch_size,
            threads=count,
            optimizer=cnnx.Adam(3e-3),
            schedule="one_cycle",
            augment=cnnx.RandomAffine(rotation=10, scale=0.1, shift=1),
            rng=np.random.default_rng(1),
        )
        for network, count in zip(networks, (1, threads), strict=True)
    ]
    assert bits(networks[0]) == bits(networks[1])
    assert_same_bits(histories[0].losses, histories[1].losses)
    assert_same_bits(histories[0].correct, histories[1].correct)


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


def test_an_optimizer_goes_on_from_where_it_was(dtype, rng):
    images, labels = problem(rng, STACKS[0], count=32)
    for kind, settings in OPTIMIZERS.values():
        once, twice = (Sequential(stack(cnnx, STACKS[0], dtype)) for _ in range(2))
        options = {"batch_size": 4, "shuffle": False}
        once.fit(images, labels, epochs=2, optimizer=kind(LEARN_RATE, **settings), **options)
        optimizer = kind(LEARN_RATE, **settings)
        for epoch in (1, 2):
            twice.fit(images, labels, epochs=1, optimizer=optimizer, **options)
            assert optimizer.steps == 8 * epoch
        assert bits(once) == bits(twice)


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("names", [*STACKS, DEEP_WITH_DROPOUT])
def test_predict_and_evaluate_are_the_layers_forward_for_every_stack(dtype, rng, names, count):
    images, labels = problem(rng, names, count)
    network, plain = Sequential(stack(cnnx, names, dtype)), stack(reference, names, dtype)
    expected = np.array([forward_by_hand(plain, image) for image in as_floats(images, dtype)])
    probabilities = network.predict(images)
    assert_close(probabilities, expected, TERMS)
    assert_same_bits(network.predict(images, threads=3), probabilities)
    loss, accuracy = network.evaluate(images, labels)
    assert loss == pytest.approx(-np.log(expected[np.arange(count), labels]).mean(), rel=1e-4)
    assert accuracy == np.mean(expected.argmax(axis=1) == labels)


def test_training_finds_what_it_is_shown(rng):
    names = "conv:4 relu pool conv:6 relu pool softmax:2"
    images = rng.integers(0, 256, (64, *IMAGE), np.uint8)
    labels = rng.integers(0, 2, 64)
    images[labels == 1, :6] = images[labels == 1, :6].max(axis=2, keepdims=True)  # horizontal bars
    network = Sequential(stack(cnnx, names, np.float32))
    history = network.fit(images, labels, epochs=40, batch_size=16, optimizer=cnnx.Adam(0.01))
    assert history.losses[-64:].mean() < 0.1
    assert network.evaluate(images, labels)[1] > 0.95
    assert np.isfinite(flat_parameters(network.layers)).all()


@pytest.mark.parametrize("batch_size", [30, 2**31, 2**63 - 1, 2**63, 10**30])
def test_a_batch_larger_than_the_data_is_all_of_it(rng, batch_size):
    images, labels = problem(rng, STACKS[1], count=29)
    trained = []
    for size in (29, batch_size):
        network = Sequential(stack(cnnx, STACKS[1]))
        network.fit(images, labels, epochs=2, batch_size=size, learn_rate=0.1, shuffle=False)
        trained.append(bits(network))
    assert trained[0] == trained[1]
