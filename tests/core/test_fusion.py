"""Fused stages compute what one plain stage per layer does."""

import numpy as np
import pytest
from networks import IMAGES, Plain, bits, forward_by_hand
from pairwise import pairwise
from reference_loop import ADAM, TERMS
from stacks import IMAGE, STACKS, problem, stack
from tolerances import assert_close
from twins import DTYPES, computing_on, uniform

import cnnx
from cnnx import Sequential

LEARN_RATE = 0.02
RUNS = {
    "one by one": {"learn_rate": LEARN_RATE},
    "one by one, momentum": {"optimizer": lambda: cnnx.SGD(LEARN_RATE / 4, momentum=0.8)},
    "batches": {"learn_rate": LEARN_RATE, "batch_size": 5},
    "batches, Adam": {"optimizer": lambda: cnnx.Adam(LEARN_RATE, **ADAM), "batch_size": 5},
}
MORE = [
    "same:8 pool softmax:10",
    "same:3 relu pool:first relu softmax:4",
    "biased:8 relu pool:first relu dropout:0.3 softmax:6",
    "conv:4 pool dropout:0.5 conv:5 relu pool:first relu softmax:3",
    "same:5 pool conv:6 pool:first relu dense:7 softmax:3",
    "same:1 pool:first softmax:3",
    "biased:10 pool softmax:13",
    "biased:26 pool softmax:54",
    "article:2 pool:first relu softmax:24",
    "conv:8 norm pool:first relu dropout:0.3 same:4 norm relu softmax:4",
    "same:3 norm relu conv:5 relu pool norm dense:4 softmax:3",
    "same:16 relu same:17 relu conv:32 relu pool softmax:4",
]


def options_of(run):
    return {name: value() if callable(value) else value for name, value in RUNS[run].items()}


@pairwise(
    names=[*STACKS, *MORE],
    run=RUNS,
    kind=["blocks of bytes", "few pixels", "random float64", "random bytes, some constant"],
    dtype=DTYPES,
    target=cnnx.targets(),
)
def test_every_stack_trains_fused_as_it_does_plain(rng, names, run, kind, dtype):
    images, labels = IMAGES[kind](rng, (24, *IMAGE)), rng.integers(0, int(names.rpartition(":")[2]), 24)
    fused, plain = Sequential(stack(cnnx, names, dtype)), Plain(stack(cnnx, names, dtype))
    histories = []
    for network in (fused, plain):
        np.random.seed(3)  # which values drop
        before = bits(network)
        histories.append(network.fit(images, labels, epochs=1, shuffle=False, **options_of(run)))
        assert bits(network) != before
    assert_close(histories[0].losses.astype(dtype), histories[1].losses.astype(dtype), TERMS)
    assert_close(fused.parameters, plain.parameters, TERMS)
    for count in (2, 24):  # few images and many take different kernels
        assert_close(fused.predict(images[:count]), plain.predict(images[:count]), TERMS)


@pytest.mark.parametrize("target", cnnx.targets())
@pytest.mark.parametrize("ties", ["all", "first"])
@pytest.mark.parametrize("filters", [24, 26])
def test_parameters_have_the_update_that_a_step_leaves_to_the_next_one(rng, target, filters, ties):
    """With so many weights in float32, the first step of two updates them in the second step only."""
    names = f"biased:{filters} relu pool:{ties} softmax:54"
    images, labels = problem(rng, names, 5)
    images[3] = 7
    with computing_on(target):
        for count in range(1, 6):
            fused, plain = Sequential(stack(cnnx, names, np.float32)), Plain(stack(cnnx, names, np.float32))
            for network in (fused, plain):
                network.fit(images[:count], labels[:count], epochs=1, learn_rate=LEARN_RATE, shuffle=False)
            assert_close(fused.parameters, plain.parameters, TERMS)


def test_an_update_left_over_is_in_the_sum_of_all_weights(rng):
    """Every 1,024 steps this sum is computed again. Images with a background read it."""
    names = "article:24 pool softmax:54"
    images, labels = problem(rng, names, 1030)
    images[0] = images[1024:] = 7  # so step 1,024 leaves its update to the next one
    learn_rates = np.where(np.arange(1030) == 1023, LEARN_RATE, 1e-4)
    losses = [
        made(stack(cnnx, names, np.float32))
        .fit(images, labels, epochs=1, learn_rate=1, schedule=lambda _: learn_rates, shuffle=False)
        .losses
        for made in (Sequential, Plain)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_step_of_0_changes_nothing_whatever_it_is_multiplied_with(rng):
    """The step after it multiplies what is left of it with a sum that is infinite here."""
    names = "article:24 pool softmax:54"
    images, labels = rng.uniform(0.5, 1, (8, *IMAGE)), np.zeros(8, int)
    layers = stack(cnnx, names, np.float32)
    layers[0].filters *= np.float32(1e-6)
    network = Sequential(layers)
    factors = np.eye(8)[0]
    history = network.fit(images, labels, epochs=1, learn_rate=1e19, schedule=lambda _: factors, shuffle=False)
    assert np.isfinite(history.losses).all()


@pytest.mark.parametrize("kind", ["blocks of bytes", "few pixels"])
@pytest.mark.parametrize(
    "names", ["article:8 pool softmax:10", "biased:9 pool softmax:17", "same:2 relu pool softmax:3"]
)
def test_few_images_have_the_bits_of_many(dtype, rng, names, kind):
    """For few images, the weights stay in numpy's layout."""
    images = IMAGES[kind](rng, (24, *IMAGE))
    network = Sequential(stack(cnnx, names, dtype))
    few = [network.predict(images[first : first + 3]) for first in range(0, 24, 3)]
    np.testing.assert_array_equal(np.concatenate(few), network.predict(images))


@pytest.mark.parametrize(
    "names",
    [
        "conv:4 relu pool:first conv:6 relu pool:first softmax:3",
        "conv:3 pool relu conv:7 pool softmax:4",
        "conv:16 pool relu same:16 pool relu softmax:4",
    ],
)
def test_rows_that_no_window_reads_change_no_bit(dtype, rng, names):
    """A convolution before a pooling leaves them out; its first convolution apart, both plans add in one order."""
    images, labels = problem(rng, names, 12, "floats")
    gradients = []
    for kind in (Sequential, Plain):
        network = kind([cnnx.ReLU(), *stack(cnnx, names, dtype)])  # nothing of an image's own is fused after a ReLU
        network.gradients(images, labels)
        gradients.append(network.gradient.tobytes())
    assert gradients[0] == gradients[1]


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [(37, 42), (5, 6)])
def test_images_go_back_in_several_bands_or_in_one_of_few_tiles(dtype, rng, size, padding):
    """The fused plan's gradients by Winograd's algorithm are those of the plain plan."""
    layers = [
        cnnx.Conv3x3(16, 16, padding=padding, dtype=dtype, rng=rng),
        cnnx.ReLU(),
        cnnx.Conv3x3(24, 16, padding=padding, dtype=dtype, rng=rng),
        cnnx.GlobalAveragePool(),
        cnnx.Softmax(24, 5, dtype=dtype, rng=rng),
    ]
    images, labels = uniform(rng, (2, *size, 16), dtype), rng.integers(0, 5, 2)
    gradients = []
    for kind in (Sequential, Plain):
        network = kind(layers)
        network.gradients(images, labels)
        gradients.append(network.gradient.copy())
    assert_close(gradients[0], gradients[1], terms=37 * 42)


@pytest.mark.usefixtures("target")
def test_the_gradient_before_a_pooling_is_that_of_the_layers_alone(dtype, rng):
    """The network's kernels skip zeros, and go band by band for 64 filters at a time. The layers' kernels do not."""
    first, conv = (cnnx.Conv3x3(n, c, use_bias=False, dtype=dtype, rng=rng) for n, c in ((32, 1), (70, 32)))
    layers = [first, conv, cnnx.MaxPool2(ties="first"), cnnx.Softmax(10 * 12 * 70, 5, dtype=dtype, rng=rng)]
    image, label = uniform(rng, (24, 28), dtype), 3
    network = Sequential(layers)
    network.gradients(image[None], np.array([label]))
    probabilities, before = forward_by_hand(layers, image), [first.filters.copy(), conv.filters.copy()]
    gradient = np.zeros(5, dtype)
    gradient[label] = -1 / probabilities[label]
    for layer in reversed(layers):
        gradient = layer.backprop(gradient) if isinstance(layer, cnnx.MaxPool2) else layer.backprop(gradient, 1)
    changes = [(old - new.filters).ravel() for old, new in zip(before, (first, conv), strict=True)]
    expected = np.concatenate(changes)
    assert_close(network.gradient[: expected.size], expected, terms=20 * 24)
