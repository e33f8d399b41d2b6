"""Dropout is active where a network trains and nowhere else, and its choices are a matter of the seed.

What it shares with every layer is in test_every_layer.py, which reads its sizes from cases.py.
"""

import numpy as np
import pytest
from networks import bits
from stacks import IMAGE, stack
from tolerances import assert_close, assert_same_bits

import cnnx
from cnnx import Sequential

PIXELS = 12
WITH_DROPOUT = "conv:4 relu pool dense:8 relu dropout:0.5 dense:6 relu dropout:0.25 softmax:5"
WITHOUT = "conv:4 relu pool dense:8 relu dense:6 relu softmax:5"


def survivors(count, rate, epochs=1, seed=1, **options):
    """Return (epochs * count, PIXELS) booleans: what dropout let through, read from the losses of its training.

    With an image of ones, a first node that weighs pixel i by 2^i and a second that weighs nothing, every subset of the
    pixels has a total of its own, and the loss of the first label tells which it was.
    """
    network = Sequential([cnnx.Dropout(rate), cnnx.Softmax(PIXELS, 2)])
    network.layers[1].weights[...] = 0
    network.layers[1].weights[:, 0] = unit = 2.0 ** np.arange(PIXELS) / 500
    images, labels = np.ones((count, 3, 4)), np.zeros(count, int)
    history = network.fit(
        images, labels, epochs=epochs, learn_rate=0.0, shuffle=False, rng=np.random.default_rng(seed), **options
    )
    totals = -np.log(np.expm1(history.losses)) * (1 - rate) / unit[0]
    np.testing.assert_allclose(totals, np.round(totals), atol=0.01)  # survivors are divided by 1 - rate
    return (np.round(totals).astype(int)[:, np.newaxis] >> np.arange(PIXELS)) & 1 == 1


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_each_value_drops_with_the_probability_given(rate):
    kept = survivors(4000, rate)
    assert kept.mean() == pytest.approx(1 - rate, abs=4 * np.sqrt(rate * (1 - rate) / kept.size))
    np.testing.assert_allclose(kept.mean(axis=0), 1 - rate, atol=4.5 * np.sqrt(rate * (1 - rate) / 4000))


def test_no_two_values_samples_or_epochs_share_their_fate():
    kept = survivors(3000, 0.5, epochs=2)
    first, second = kept[:3000], kept[3000:]
    bound = 4.5 * np.sqrt(0.25 / 3000)
    for a, b in (
        (first, second),
        (first[1:], first[:-1]),
        (first[:, 1:], first[:, :-1]),
        (first[1:, 1:], first[:-1, :-1]),
        (first[1:, :-1], first[:-1, 1:]),
    ):
        assert np.mean(a == b) == pytest.approx(0.5, abs=bound)


def test_the_seed_decides_and_nothing_else():
    kept = survivors(200, 0.5)
    np.testing.assert_array_equal(survivors(200, 0.5, batch_size=7, threads=3), kept)
    np.testing.assert_array_equal(survivors(200, 0.5, progress_every=3, on_progress=lambda _: None), kept)
    assert np.mean(survivors(200, 0.5, seed=2) == kept) == pytest.approx(0.5, abs=0.06)


def test_two_dropouts_of_one_network_choose_apart():
    network = Sequential([cnnx.Dropout(0.5), cnnx.Dropout(0.5), cnnx.Softmax(2000, 2)])
    network.layers[2].weights[...] = [1 / 2000, 0]
    images = np.ones((1, 40, 50))
    loss = network.fit(images, np.zeros(1, int), epochs=1, learn_rate=0.0).losses[0]
    share = -np.log(np.expm1(loss)) / 4
    assert share == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 2000))  # 0.5 if both chose the same


@pytest.mark.parametrize("method", ["predict", "evaluate"])
def test_a_trained_network_drops_nothing(dtype, rng, method):
    images, labels = rng.integers(0, 256, (20, *IMAGE), np.uint8), rng.integers(0, 5, 20)
    network, without = Sequential(stack(cnnx, WITH_DROPOUT, dtype)), Sequential(stack(cnnx, WITHOUT, dtype))
    network.fit(images, labels, epochs=1, learn_rate=0.01)
    without.parameters[...] = network.parameters
    if method == "predict":
        assert_same_bits(network.predict(images), without.predict(images))
    else:
        assert network.evaluate(images, labels) == without.evaluate(images, labels)


@pytest.mark.parametrize("batch_size", [1, 6])
def test_a_rate_of_zero_trains_as_if_it_were_not_there(dtype, rng, batch_size):
    images, labels = rng.integers(0, 256, (20, *IMAGE), np.uint8), rng.integers(0, 5, 20)
    trained = []
    for names in ("conv:4 relu pool dense:8 relu dropout:0 dense:6 relu softmax:5", WITHOUT):
        network = Sequential(stack(cnnx, names, dtype))
        network.fit(images, labels, epochs=1, learn_rate=0.05, batch_size=batch_size, shuffle=False)
        trained.append(bits(network))
    assert trained[0] == trained[1]


def test_after_the_pooling_of_an_image_it_hides_the_background_which_is_a_matter_of_rounding(dtype, rng):
    images = rng.integers(0, 256, (20, *IMAGE), np.uint8)
    images[:, 4:] = 0
    hidden, plain = (
        Sequential(stack(cnnx, names, dtype)).predict(images)
        for names in ("conv:4 pool dropout:0.5 softmax:5", "conv:4 pool softmax:5")
    )
    assert_close(hidden, plain, terms=200)


@pytest.mark.parametrize("rate", [1 - 1e-7, 1 - 1e-9, np.nextafter(1, 0)])
def test_a_rate_next_to_one_drops_nearly_all_and_stays_finite(dtype, rate):
    network = Sequential([cnnx.Dropout(rate), cnnx.Softmax(PIXELS, 2, dtype=dtype)])
    losses = network.fit(np.ones((50, 3, 4)), np.zeros(50, int), epochs=1, learn_rate=0.0).losses
    np.testing.assert_allclose(losses, np.log(2), rtol=1e-6)


def test_without_dropout_or_augmentation_the_generator_draws_orders_alone(rng):
    images, labels = rng.integers(0, 256, (20, *IMAGE), np.uint8), rng.integers(0, 5, 20)
    used, twin = np.random.default_rng(3), np.random.default_rng(3)
    Sequential(stack(cnnx, WITHOUT)).fit(images, labels, epochs=2, learn_rate=0.1, batch_size=4, rng=used)
    for _ in range(2):
        twin.permutation(20)
    assert used.random() == twin.random()


def test_numpy_s_global_seed_repeats_a_run(rng):
    images, labels = rng.integers(0, 256, (20, *IMAGE), np.uint8), rng.integers(0, 5, 20)
    trained = []
    for seed in (5, 5, 6):
        network = Sequential(stack(cnnx, WITH_DROPOUT))
        np.random.seed(seed)
        network.fit(images, labels, epochs=2, learn_rate=0.1, batch_size=4)
        trained.append(bits(network))
    assert trained[0] == trained[1] != trained[2]


RATES = {
    "one": (1, ValueError),
    "above one": (1.5, ValueError),
    "negative": (-1e-9, ValueError),
    "NaN": (float("nan"), ValueError),
    "infinite": (float("inf"), ValueError),
    "minus infinite": (float("-inf"), ValueError),
    "numpy one": (np.float32(1), ValueError),
    "integer beyond float64": (-(10**400), ValueError),
    "None": (None, TypeError),
    "string": ("0.5", TypeError),
    "bool": (False, TypeError),
    "numpy bool": (np.bool_(False), TypeError),
    "complex": (0.5 + 0j, TypeError),
    "list": ([0.5], TypeError),
    "array": (np.array([0.5]), TypeError),
}


@pytest.mark.parametrize("kind", RATES)
def test_a_dropout_rate_is_a_number_from_zero_to_below_one(kind):
    rate, error = RATES[kind]
    with pytest.raises(error, match=r"^rate: expected"):
        cnnx.Dropout(rate)


@pytest.mark.parametrize("rate", [0, 0.0, np.float32(0.5), np.float64(0.999), np.int64(0)])
def test_any_real_number_type_is_a_rate(rate):
    assert cnnx.Dropout(rate).rate == rate
