"""A trained network tests and predicts as its layers do, whoever asks, and refuses by name what cannot be right."""

import copy
import multiprocessing
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from networks import IMAGES, as_floats, bits, forward_by_hand, sample, small_problem, three_layers
from pairwise import pairwise
from tolerances import assert_close, assert_same_bits
from twins import DTYPES

import cnnx
from cnnx import Sequential, Softmax, reference
from cnnx.models import article_cnn

AWKWARD_SIZES = [(4, 5, 3, 1), (5, 6, 5, 13), (6, 9, 7, 25), (9, 6, 8, 10), (7, 8, 17, 11), (28, 28, 8, 10)]


def article_problem(dtype, count):
    """Return a network with weights large enough to tell digits apart, `count` digits and their labels."""
    network = article_cnn(dtype=dtype, rng=np.random.default_rng(0))
    network.layers[2].weights *= 30
    network.layers[2].biases += np.linspace(-1, 1, 10, dtype=dtype)
    digits = sample()
    return network, digits.test_images[:count], digits.test_labels[:count]


@pairwise(size=AWKWARD_SIZES, kind=IMAGES, layers=[cnnx, reference], dtype=DTYPES, target=cnnx.targets())
def test_predict_and_evaluate_are_the_layers_forward_passes(rng, size, kind, layers, dtype):
    height, width, _, nodes = size
    network = Sequential(three_layers(cnnx, size, dtype))
    by_hand = three_layers(layers, size, dtype)
    images, labels = IMAGES[kind](rng, (10, height, width)), rng.integers(0, nodes, 10)
    outs = np.array([forward_by_hand(by_hand, image) for image in as_floats(images, dtype)])
    losses = [reference.cross_entropy(out, label)[0] for out, label in zip(outs, labels, strict=True)]
    terms = 9 + network.layers[2].weights.shape[0] + 4 * nodes
    before = bits(network)
    assert_close(network.predict(images), outs, terms)
    loss, accuracy = network.evaluate(images, labels)
    assert_close(np.asarray(loss, dtype), np.asarray(np.mean(losses), dtype), terms)
    assert accuracy == np.mean(outs.argmax(axis=1) == labels)
    assert (type(loss), type(accuracy)) == (float, float)
    assert bits(network) == before


@pairwise(nodes=[1, 2, 10, 11, 13, 25], count=[1, 7, 8, 9, 300], dtype=DTYPES, target=cnnx.targets())
def test_an_image_s_prediction_is_the_same_to_the_bit_among_others(rng, nodes, count, dtype):
    network = Sequential(three_layers(cnnx, (9, 8, 5, nodes), dtype))
    images = rng.integers(0, 256, (count, 9, 8), np.uint8)
    together = network.predict(images)
    assert_same_bits(np.array([network.predict(image) for image in images]), together)
    assert_same_bits(np.concatenate([network.predict(images[:3]), network.predict(images[3:])]), together)


@pytest.mark.parametrize("count", [1, 5, 300])
def test_the_number_of_threads_changes_no_bit(dtype, count):
    network, images, labels = article_problem(dtype, count)
    results = [
        (network.predict(images, threads=threads).tobytes(), network.evaluate(images, labels, threads=threads))
        for threads in (None, 1, 2, 3, 7, np.int64(4), 10**30)
    ]
    assert len(set(results)) == 1


@pytest.mark.smoke
@pytest.mark.parametrize("images", [np.zeros((0, 7, 8), np.uint8), np.zeros((0, 7, 8))], ids=["uint8", "float64"])
def test_no_images_have_no_predictions(dtype, images):
    network, _, _ = small_problem(dtype)
    for threads in (None, 1, 3):
        assert_same_bits(network.predict(images, threads=threads), np.zeros((0, 4), dtype))


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "sliced": lambda images: images.repeat(2, axis=2)[:, :, ::2],
    "negative strides": lambda images: images[:, ::-1].copy()[:, ::-1],
    "read-only": lambda images: np.frombuffer(images.tobytes(), images.dtype).reshape(images.shape),
    "byte-swapped": lambda images: images.astype(images.dtype.newbyteorder()),
    "float16": lambda images: images if images.dtype == np.uint8 else images.astype(np.float16),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["blocks of bytes", "blocks of float32"])
def test_images_and_labels_may_have_any_layout_and_are_not_modified(dtype, rng, layout, kind):
    network, _, labels = small_problem(dtype)
    plain = IMAGES[kind](rng, (12, 7, 8))
    images, twin = LAYOUTS[layout](plain), copy.deepcopy(network)
    before = images.tobytes()
    options = {"epochs": 1, "learn_rate": 0.1, "shuffle": False}
    network.fit(images, labels.astype(np.uint8).repeat(2)[::2], **options)
    twin.fit(plain, labels, **options)
    assert bits(network) == bits(twin)
    assert_same_bits(network.predict(images), twin.predict(plain))
    assert network.evaluate(images, labels) == twin.evaluate(plain, labels)
    assert images.tobytes() == before


def test_python_s_threads_may_predict_at_once(dtype):
    network, images, _ = article_problem(dtype, 300)
    parts = [images[:5], images[:200], images[5:12], images[100:]]
    expected = [network.predict(part).tobytes() for part in parts]
    with ThreadPoolExecutor(len(parts)) as pool:
        results = list(pool.map(lambda i: network.predict(parts[i % 4]).tobytes(), range(80)))
    assert all(result == expected[i % 4] for i, result in enumerate(results))


def test_python_s_threads_may_predict_at_once_on_images_of_different_shapes(rng):
    network = Sequential([Softmax(24, 3, rng=rng)])
    parts = [rng.random((5, 4, 6)), rng.random((5, 6, 4))]
    expected = [network.predict(part).tobytes() for part in parts]

    def predict(i):
        return {network.predict(parts[i % 2]).tobytes() for _ in range(300)}

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(predict, range(4)))
    finally:
        sys.setswitchinterval(usual)
    assert results == [{expected[i % 2]} for i in range(4)]


def test_a_forked_process_predicts_with_the_trained_network(dtype):
    network, images, labels = article_problem(dtype, 600)
    network.fit(images, labels, epochs=1, learn_rate=0.005)
    expected = network.predict(images, threads=2).tobytes()

    def check():
        assert network.predict(images, threads=2).tobytes() == expected
        network.fit(images, labels, epochs=1, learn_rate=0.005)

    child = multiprocessing.get_context("fork").Process(target=check)
    child.start()
    child.join(60)  # only guards against hanging
    assert child.exitcode == 0


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
@pytest.mark.parametrize("used_before", [False, True])
def test_a_copy_is_equal_and_independent(dtype, duplicate, used_before):
    network, images, labels = small_problem(dtype)
    network.layers[1].ties = "first"
    if used_before:
        network.fit(images, labels, epochs=1, learn_rate=0.1)
    twin = duplicate(network)
    assert type(twin) is Sequential
    assert bits(twin) == bits(network)
    assert twin.layers[1].ties == "first"
    before = bits(network)
    twin.fit(images, labels, epochs=1, learn_rate=0.1, shuffle=False)
    assert bits(network) == before
    network.fit(images, labels, epochs=1, learn_rate=0.1, shuffle=False)
    assert bits(network) == bits(twin)


def test_the_article_s_network_has_a_size_that_fits_its_images(rng):
    network = article_cnn(image_shape=(5, 9), nodes=3, dtype=np.float32, ties="first", rng=rng)
    assert network.predict(np.zeros((2, 5, 9), np.uint8)).shape == (2, 3)
    assert sum(len(bits(Sequential([layer]))) for layer in network.layers) == 4 * (8 * 9 + 1 * 3 * 8 * 3 + 3)
    assert sum(layer.size for layer in article_cnn().layers[2].parameters().values()) + 72 == 13_602
    for image_shape in ((3, 28), (28, 3), (0, 0), (-28, 28)):
        with pytest.raises(ValueError, match=r"^image_shape: expected at least 4x4 pixels, got"):
            article_cnn(image_shape=image_shape)


MASKED = np.ma.array(np.zeros((12, 7, 8), np.uint8))
BAD_ARGUMENTS = [
    *(("images", bad, TypeError) for bad in (None, [[[1]]], MASKED, MASKED.astype(float), "digits")),
    *(("images", np.zeros((12, 7, 8), dtype), TypeError) for dtype in (int, np.int8, bool, complex, object, "S1")),
    *(("images", np.zeros(shape, np.uint8), ValueError) for shape in ((), (7,), (1, 12, 7, 8))),
    *(("labels", bad, TypeError) for bad in (None, [0] * 12, np.ma.zeros(12, int), 3)),
    *(("labels", np.zeros(12, dtype), TypeError) for dtype in (float, bool, complex, object, "S1")),
    *(("labels", np.zeros(shape, int), ValueError) for shape in ((), (0,), (11,), (13,), (12, 1), (1, 12))),
    *(("labels", np.full(12, bad), ValueError) for bad in (-1, 4, 2**31, 2**32, np.uint64(2**63), np.int64(-(2**63)))),
    *(("epochs", bad, ValueError) for bad in (0, -1)),
    *(("epochs", bad, TypeError) for bad in (None, 1.0, True, "1", [1])),
    *(("learn_rate", bad, ValueError) for bad in (-0.1, float("nan"), float("inf"), np.float32("nan"))),
    *(("learn_rate", bad, TypeError) for bad in (None, "0.1", True, 0.1j, np.array([0.1]))),
    *(("progress_every", bad, ValueError) for bad in (0, -100)),
    *(("progress_every", bad, TypeError) for bad in (None, 2.5, True, "1")),
    *(("rng", bad, TypeError) for bad in (0.5, np.random, np.random.RandomState(0))),
    *(("on_progress", bad, TypeError) for bad in (3, "print", [print])),
    *(("threads", bad, ValueError) for bad in (0, -1)),
    *(("threads", bad, TypeError) for bad in (1.5, True, "2", [1])),
]


@pytest.mark.parametrize(
    ("name", "bad", "error"), BAD_ARGUMENTS, ids=lambda value: value if isinstance(value, str) else None
)
def test_bad_arguments_are_refused_by_name_and_change_nothing(name, bad, error):
    network, images, labels = small_problem()
    before, drawn = bits(network), np.random.get_state()[2]
    pair = {"images": images, "labels": labels}
    training = {"epochs": 1, "learn_rate": 0.1, "rng": None, "on_progress": None, "progress_every": 100}
    calls = (
        (network.fit, {**pair, **training}),
        (network.evaluate, {**pair, "threads": None}),
        (network.predict, {"images": images, "threads": None}),
    )
    refusing = [(call, options) for call, options in calls if name in options]
    assert refusing
    for call, options in refusing:
        with pytest.raises(error, match=rf"^{name}: expected .*, got"):
            call(**{**options, name: bad})
        assert bits(network) == before
    assert np.random.get_state()[2] == drawn


@pytest.mark.parametrize("shape", [(7, 8), (0, 7, 8)])
def test_training_and_testing_need_at_least_one_image(shape):
    network, _, _ = small_problem()
    images, labels = np.zeros(shape, np.uint8), np.zeros(shape[0], int)
    with pytest.raises(ValueError, match=r"^images: expected shape .* got \("):
        network.fit(images, labels, epochs=1, learn_rate=0.1)
    with pytest.raises(ValueError, match=r"^images: expected shape .* got \("):
        network.evaluate(images, labels)


@pytest.mark.parametrize("shape", [(12, 2, 8), (12, 7, 2), (12, 0, 8), (0, 7, 0), (12, 8, 8), (12, 1, 1), (2, 1)])
def test_images_of_the_wrong_size_are_refused_with_the_layer_that_cannot_take_them(shape):
    network, _, _ = small_problem()
    network.layers[2] = Softmax(2 * 3 * 5, 4)
    with pytest.raises(ValueError, match=r"^(images|layers\[[02]\] \(\w+\)): expected .*, got"):
        network.predict(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype_of_images", [np.uint8, np.float32])
def test_a_mask_is_named_where_it_is_refused(dtype_of_images):
    network, images, labels = small_problem()
    with pytest.raises(TypeError, match=r"^images: expected an array without a mask"):
        network.evaluate(np.ma.array(images.astype(dtype_of_images)), labels)


def test_predictions_while_it_trains_see_the_parameters_between_two_windows(dtype):
    network, images, labels = article_problem(dtype, 400)
    some, seen, stop = images[:20], [], threading.Event()

    def predict():
        mine = [network.predict(some).tobytes()]
        while not stop.is_set():
            mine.append(network.predict(some).tobytes())
        return mine

    between = [network.predict(some).tobytes()]
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(predict) for _ in range(3)]
        network.fit(
            images,
            labels,
            epochs=3,
            learn_rate=0.01,
            progress_every=50,
            on_progress=lambda _: between.append(network.predict(some).tobytes()),
        )
        stop.set()
        seen = [bits for future in futures for bits in future.result()]
    assert len(set(between)) == 1 + 3 * 8
    assert set(seen) <= set(between)
