"""Training in batches is the mean gradient and the optimizer's formula, whatever the threads."""

import numpy as np
import pytest
from networks import as_floats, bits, forward_by_hand
from pairwise import pairwise
from reference_loop import OPTIMIZERS, STEPS, TERMS, assert_fit_follows
from stacks import IMAGE, STACKS, flat_parameters, problem, stack
from tolerances import assert_close, assert_same_bits, assert_same_loss
from twins import DTYPES

import cnnx
from cnnx import Sequential, reference


@pairwise(names=STACKS, optimizer=["plain", "adam"], dtype=DTYPES, target=cnnx.targets())
def test_fit_is_the_reference_s_loop_for_every_stack(rng, names, optimizer, dtype):
    images, labels = problem(rng, names, count=3 * STEPS - 1)  # the last batch has two
    assert_fit_follows(names, dtype, images, labels, 3, optimizer)


@pairwise(
    batch_size=[1, 2, 7, 8, 9, 16, 64],
    names=[STACKS[0], STACKS[7], "article:8 pool softmax:10"],
    dtype=DTYPES,
    target=cnnx.targets(),
)
def test_any_batch_size_takes_the_mean_gradient(rng, batch_size, names, dtype):
    images, labels = problem(rng, names, count=min(3 * batch_size + 1, 25))
    assert_fit_follows(names, dtype, images, labels, batch_size, "plain")


@pytest.mark.smoke
@pairwise(
    optimizer=OPTIMIZERS,
    batch_size=[1, 4],
    names=[STACKS[1], "article:8 pool softmax:10"],
    dtype=DTYPES,
    target=cnnx.targets(),
)
def test_every_optimizer_is_its_formula(rng, optimizer, batch_size, names, dtype):
    images, labels = problem(rng, names, count=batch_size * STEPS - batch_size // 2)
    assert_fit_follows(names, dtype, images, labels, batch_size, optimizer)


@pairwise(names=STACKS[:6], kind=["floats", "blank"], dtype=DTYPES, target=cnnx.targets())
def test_any_kind_of_image_trains_in_batches(rng, names, kind, dtype):
    images, labels = problem(rng, names, 20, kind)
    assert_fit_follows(names, dtype, images, labels, 8, "momentum")


@pytest.mark.parametrize("batch_size", [10, 2**31, 2**63 - 1, 2**63, 2**64, 10**30])
def test_a_batch_has_at_most_all_images(rng, batch_size):
    images, labels = problem(rng, STACKS[0], count=9)
    networks = [Sequential(stack(cnnx, STACKS[0])) for _ in range(2)]
    for network, size in zip(networks, (9, batch_size), strict=True):
        network.fit(images, labels, epochs=2, batch_size=size, learn_rate=0.05, shuffle=False)
    assert bits(networks[0]) == bits(networks[1])


@pairwise(batch_size=[1, 6], names=[STACKS[0], "article:8 pool softmax:10"], dtype=DTYPES)
def test_a_learn_rate_alone_is_plain_sgd_to_the_bit(rng, batch_size, names, dtype):
    images, labels = problem(rng, names, count=32)
    networks = [Sequential(stack(cnnx, names, dtype)) for _ in range(2)]
    for network, options in zip(networks, ({"learn_rate": 0.05}, {"optimizer": cnnx.SGD(0.05)}), strict=True):
        network.fit(images, labels, epochs=2, batch_size=batch_size, shuffle=False, **options)
    assert bits(networks[0]) == bits(networks[1])


MANY_PARAMETERS = "same:24 relu same:24 pool dense:16 softmax:10"  # threads share their update
DEEP_WITH_DROPOUT = "same:6 relu pool dropout:0.25 conv:9 relu pool dense:12 relu dropout:0.5 softmax:10"


@pairwise(
    threads=[2, 3, 4, 7, None],
    batch_size=[1, 3, 8, 21],
    names=[DEEP_WITH_DROPOUT, "conv:5 relu pool:first conv:8 pool softmax:10", MANY_PARAMETERS],
    dtype=DTYPES,
    target=cnnx.targets(),
)
def test_the_number_of_threads_changes_no_bit(rng, threads, batch_size, names, dtype):
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


@pairwise(count=[8, 12, 17, 29], dtype=DTYPES, target=cnnx.targets())
def test_a_dense_layer_of_many_inputs_reads_all_of_them(rng, count, dtype):
    """It reads 1,024 at a time, and here there are 2,070. For fewer than eight images another kernel is faster."""
    images = rng.integers(0, 256, (count, 46, 45), dtype=np.uint8)
    layers, plain = (
        [kit.Dense(2070, 23, dtype=dtype, rng=0), kit.ReLU(), kit.Softmax(23, 11, dtype=dtype, rng=0)]
        for kit in (cnnx, reference)
    )
    expected = np.array([forward_by_hand(plain, image) for image in as_floats(images, dtype)])
    assert_close(Sequential(layers).predict(images), expected, TERMS)


@pairwise(offset=[8, 16, 32, 48], names=["dense:23 relu softmax:11", "conv:4 softmax:11"], target=cnnx.targets())
def test_where_images_lie_in_memory_changes_no_bit(rng, offset, names, dtype):
    """A dense layer copies images that do not begin a cache line, because it reads them several times."""
    images, labels = rng.uniform(-0.5, 0.5, (24, 16, 16)).astype(dtype), rng.integers(0, 11, 24)
    memory = np.zeros(images.nbytes + 2 * 64, np.uint8)
    aligned = -memory.ctypes.data % 64
    results = []
    for start in (aligned, aligned + offset):
        placed = memory[start : start + images.nbytes].view(dtype).reshape(images.shape)
        placed[...] = images
        network = Sequential(stack(cnnx, names, dtype, (16, 16)))
        network.fit(placed, labels, epochs=2, batch_size=12, learn_rate=0.05, shuffle=False)
        results.append([bits(network), network.predict(placed).tobytes()])
    assert results[0] == results[1]


@pairwise(names=[*STACKS, DEEP_WITH_DROPOUT], count=[1, 3, 17], dtype=DTYPES, target=cnnx.targets())
def test_predict_and_evaluate_are_the_layers_forward_for_every_stack(rng, names, count, dtype):
    images, labels = problem(rng, names, count)
    network, plain = Sequential(stack(cnnx, names, dtype)), stack(reference, names, dtype)
    expected = np.array([forward_by_hand(plain, image) for image in as_floats(images, dtype)])
    probabilities = network.predict(images)
    assert_close(probabilities, expected, TERMS)
    assert_same_bits(network.predict(images, threads=3), probabilities)
    loss, accuracy = network.evaluate(images, labels)
    assert_same_loss(loss, -np.log(expected[np.arange(count), labels]).mean(), dtype)
    assert accuracy == np.mean(expected.argmax(axis=1) == labels)


@pytest.mark.smoke
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
