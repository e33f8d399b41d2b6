"""Training in the core's loop is what stepping the layers by hand is, in the order and with the values asked for."""

import copy
import signal

import numpy as np
import pytest
from networks import IMAGES, as_floats, bits, forward_by_hand, small_problem, three_layers
from tolerances import assert_close, assert_same_bits
from twins import parameters

import cnnx
from cnnx import MaxPool2, Sequential
from cnnx.models import article_cnn

STEPS = 12
LEARN_RATE = 0.05  # times STEPS below 1: the roundings of all steps come to less than those of one whole step

# (height, width, filters, nodes): odd and even sizes, around the lane counts 4, 8 and 16
SIZES = [
    (4, 4, 1, 2),
    (4, 5, 3, 1),
    (5, 4, 4, 11),
    (5, 6, 5, 13),
    (6, 9, 7, 25),
    (9, 6, 8, 10),
    (7, 8, 9, 3),
    (8, 7, 15, 12),
    (10, 5, 16, 7),
    (5, 10, 17, 10),
    (28, 28, 8, 10),
]


def step_by_hand(module, layers, images, labels):
    """Train as the article does; return every step's loss and whether the digit was recognised."""
    losses, correct = [], []
    for image, label in zip(images, labels, strict=True):
        out = forward_by_hand(layers, image)
        loss, gradient = module.cross_entropy(out, label)
        losses.append(loss)
        correct.append(np.argmax(out) == label)
        for layer in reversed(layers):
            learn_rate = () if isinstance(layer, module.MaxPool2) else (LEARN_RATE,)
            gradient = layer.backprop(gradient, *learn_rate)
    return np.array(losses), np.array(correct)


def assert_fit_equals_stepping(module, make_layers, images, labels, dtype, terms):
    network, by_hand = Sequential(make_layers(cnnx)), make_layers(module)
    before = bits(network)
    history = network.fit(images, labels, epochs=1, learn_rate=LEARN_RATE, shuffle=False)
    losses, correct = step_by_hand(module, by_hand, as_floats(images, dtype), labels)
    assert bits(network) != before or len(set(labels.tolist())) == 1
    assert_close(history.losses.astype(dtype), losses.astype(dtype), terms)
    np.testing.assert_array_equal(history.correct, correct)
    for trained, stepped in zip(network.layers, by_hand, strict=True):
        for name, values in parameters(stepped).items():
            assert_close(getattr(trained, name), values, terms)


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_fit_equals_stepping_the_layers(layers, dtype, ties, rng, size, kind):
    height, width, _, nodes = size
    images = IMAGES[kind](rng, (STEPS, height, width))
    labels = rng.integers(0, nodes, STEPS)
    made = three_layers(cnnx, size)[-1]
    terms = made.weights.shape[0] + 4 * nodes + (height - 2) * (width - 2)
    assert_fit_equals_stepping(
        layers, lambda module: three_layers(module, size, dtype, ties), images, labels, dtype, terms
    )


@pytest.mark.parametrize("width", [4, 17, 18, 33, 34, 35, 36, 37, 63, 64, 65, 66, 67, 68, 127, 128, 129, 190])
@pytest.mark.parametrize("kind", ["few pixels", "blocks of float32"])
def test_no_width_hides_a_pixel(layers, dtype, ties, rng, width, kind):
    images, labels = IMAGES[kind](rng, (STEPS, 7, width)), rng.integers(0, 3, STEPS)
    terms = 5 * width * 4
    assert_fit_equals_stepping(
        layers, lambda module: three_layers(module, (7, width, 3, 3), dtype, ties), images, labels, dtype, terms
    )


OTHER_ROWS = {
    "Softmax alone": lambda m, _, **options: [m.Softmax(11 * 14, 5, **options)],
    "no pooling": lambda m, _, **options: [m.Conv3x3(3, **options), m.Softmax(9 * 12 * 3, 5, **options)],
    "pooled twice": lambda m, ties, **options: [
        m.Conv3x3(9, **options),
        m.MaxPool2(ties=ties),
        m.MaxPool2(ties="first" if ties == "all" else "all"),
        m.Softmax(2 * 3 * 9, 5, **options),
    ],
}


@pytest.mark.parametrize("kind", ["random bytes", "blocks of bytes", "blocks of float32", "random float64"])
@pytest.mark.parametrize("row", OTHER_ROWS)
def test_fit_equals_stepping_any_row_of_layers(layers, dtype, ties, rng, row, kind):
    def make_layers(module):
        return OTHER_ROWS[row](module, ties, dtype=dtype, rng=np.random.default_rng(3))

    images, labels = IMAGES[kind](rng, (STEPS, 11, 14)), rng.integers(0, 5, STEPS)
    assert_fit_equals_stepping(layers, make_layers, images, labels, dtype, terms=9 * 12 * 4 + 20)


@pytest.mark.parametrize("kind", ["random bytes", "blocks of bytes", "constant bytes", "digits"])
def test_bytes_are_read_as_numpy_scales_them_to_the_bit(dtype, ties, rng, kind):
    images, labels = IMAGES[kind](rng, (30, 28, 28)), rng.integers(0, 10, 30)
    of_bytes, of_floats = (article_cnn(dtype=dtype, ties=ties, rng=np.random.default_rng(0)) for _ in range(2))
    for network, pixels in ((of_bytes, images), (of_floats, (images / 255 - 0.5).astype(dtype))):
        network.fit(pixels, labels, epochs=1, learn_rate=LEARN_RATE, shuffle=False)
    assert bits(of_bytes) == bits(of_floats)
    assert_same_bits(of_bytes.predict(images), of_floats.predict(images / 255 - 0.5))


def test_trained_values_stand_in_the_arrays_that_were_there(dtype):
    network, images, labels = small_problem(dtype)
    held = [values for layer in network.layers for values in parameters(layer).values()]
    before = [values.copy() for values in held]
    network.fit(images, labels, epochs=1, learn_rate=LEARN_RATE)
    after = [values for layer in network.layers for values in parameters(layer).values()]
    for array, old, new in zip(held, before, after, strict=True):
        assert array is new
        assert (array != old).any()


@pytest.mark.parametrize("source", ["numpy's global generator", "rng"])
def test_each_epoch_draws_a_permutation(source):
    network, images, labels = small_problem()
    twin = copy.deepcopy(network)
    np.random.seed(8)
    generator = np.random if source != "rng" else np.random.default_rng(9)
    orders = [generator.permutation(STEPS) for _ in range(3)]
    np.random.seed(8)
    rng = None if source != "rng" else np.random.default_rng(9)
    history = network.fit(images, labels, epochs=3, learn_rate=LEARN_RATE, rng=rng)
    order = np.concatenate(orders)
    expected = twin.fit(images[order], labels[order], epochs=1, learn_rate=LEARN_RATE, shuffle=False)
    assert bits(network) == bits(twin)
    assert_same_bits(history.losses, expected.losses)
    assert_same_bits(history.correct, expected.correct)


def test_without_shuffling_no_generator_is_asked():
    network, images, labels = small_problem()
    np.random.seed(8)
    untouched = np.random.random()
    np.random.seed(8)
    network.fit(images, labels, epochs=2, learn_rate=LEARN_RATE, shuffle=False)
    network.fit(images, labels, epochs=2, learn_rate=LEARN_RATE, rng=np.random.default_rng(0))
    assert np.random.random() == untouched


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
