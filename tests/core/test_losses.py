"""The losses that the core knows: `fit`, `gradients` and `evaluate` compute what the reference computes."""

import numpy as np
import pytest
from networks import Plain, as_floats, assert_gradient_is_derivative, bits, forward_by_hand
from pairwise import pairwise
from reference_loop import TERMS, mean_gradient, train, update_of
from stacks import IMAGE, OF_BATCHES, STACKS, problem, stack
from tolerances import assert_close, assert_same_bits, assert_same_loss
from twins import DTYPES, parameters, uniform

import cnnx
from cnnx import Sequential, reference

RATE = 0.02  # with which weights up to 2 do not diverge
REGRESSIONS = [
    "conv:6 relu pool:first dense:7 relu dense:5",
    "article:8 pool dense:3",
    "biased:7 relu pool:first dense:1",
    "same:2 relu dense:108 relu dense:4 relu",
    "conv:3 relu average",
    "dense:9 relu dense:4 dropout:0.25",
    "same:5 relu pool softmax:3",
]
CLASSES = STACKS[::3]


def nodes_of(names):
    return forward_by_hand(stack(reference, names), np.full(IMAGE, 0.1)).size


def distributions(rng, count, nodes, dtype=np.float64):
    """Return rows of probabilities, some of them zero."""
    rows = rng.random((count, nodes)) * (rng.random((count, nodes)) < 0.7) + 1e-3
    return (rows / rows.sum(axis=1, keepdims=True)).astype(dtype)


def smoothed_loss(out, label):
    row = np.eye(out.size, dtype=out.dtype)[label] if np.ndim(label) == 0 else label.astype(out.dtype)
    return reference.soft_cross_entropy(out, reference.smoothed(row, 0.1))


# By a name: stacks, a function that draws targets, the options of `fit`, and the reference's loss.
LOSSES = {
    "labels": (CLASSES, lambda rng, n, nodes: rng.integers(0, nodes, n), {}, reference.cross_entropy),
    "smoothed labels": (
        CLASSES,
        lambda rng, n, nodes: rng.integers(0, nodes, n),
        {"label_smoothing": 0.1},
        smoothed_loss,
    ),
    "soft labels": (CLASSES, distributions, {}, reference.soft_cross_entropy),
    "smoothed soft labels": (CLASSES, distributions, {"label_smoothing": 0.1}, smoothed_loss),
    "squared error": (
        REGRESSIONS,
        lambda rng, n, nodes: uniform(rng, (n, nodes)),
        {"loss": "mean_squared_error"},
        reference.mean_squared_error,
    ),
}
EVERY = [(kind, names) for kind, (stacks, *_) in LOSSES.items() for names in stacks]
OF_SAMPLES = [(kind, names) for kind, names in EVERY if names not in OF_BATCHES]


def case(rng, kind, names, count, dtype=np.float64):
    """Return images, labels in the dtype, weights, options and the reference's loss."""
    _, draw, options, loss_of = LOSSES[kind]
    images = rng.integers(0, 256, (count, *IMAGE), np.uint8)
    labels = draw(rng, count, nodes_of(names))
    labels = labels.astype(dtype) if labels.dtype.kind == "f" else labels
    return images, labels, rng.uniform(0, 2, count), options, loss_of


@pairwise(kind_and_names=EVERY, dtype=DTYPES, target=cnnx.targets(), is_weighted=[False, True])
def test_gradients_are_the_reference_s_mean(rng, kind_and_names, dtype, is_weighted):
    kind, names = kind_and_names
    names = names.replace(" dropout:0.25", "")
    images, labels, weights, options, loss_of = case(rng, kind, names, 11, dtype)
    weights = weights if is_weighted else None
    network = Sequential(stack(cnnx, names, dtype))
    before = bits(network)
    loss, accuracy = network.gradients(images, labels, sample_weight=weights, **options)
    expected, losses, correct = mean_gradient(
        stack(reference, names, dtype), as_floats(images, dtype), labels, loss_of, weights
    )
    assert_close(network.gradient, expected.astype(dtype), TERMS)
    assert_same_loss(loss, losses.mean(), dtype)
    assert bits(network) == before
    if "loss" in options:
        assert np.isnan(accuracy)
    else:
        assert accuracy == correct.mean()


class InPython(cnnx.ReLU):
    """A layer because of which a network steps layer by layer in Python, where losses are computed by numpy."""

    def forward(self, input):
        return super().forward(input)


@pairwise(kind_and_names=OF_SAMPLES, dtype=DTYPES, is_weighted=[False, True])
def test_a_network_that_steps_in_python_has_the_same_losses(rng, kind_and_names, dtype, is_weighted):
    kind, names = kind_and_names
    images, labels, weights, options, _ = case(rng, kind, names, 4, dtype)
    options = {**options, "sample_weight": weights if is_weighted else None}
    results = []
    for first in (cnnx.ReLU(), InPython()):
        network = Sequential([first, *stack(cnnx, names, dtype)])
        loss, accuracy = network.gradients(images, labels, rng=2, **options)
        results.append((np.array(loss, dtype), accuracy, network.gradient))
    assert_close(results[1][0], results[0][0], TERMS)
    np.testing.assert_equal(results[1][1], results[0][1])
    assert_close(results[1][2], results[0][2], TERMS)


@pytest.mark.parametrize(("kind", "names"), EVERY)
def test_gradients_are_the_derivative_of_the_loss(rng, kind, names):
    images, labels, weights, options, _ = case(rng, kind, names, 3)
    images = rng.uniform(-1, 1, images.shape)
    network = Sequential(stack(cnnx, names))
    some = rng.permutation(network.parameters.size)[:40]
    assert_gradient_is_derivative(network, images, labels, some, least=1e-3, sample_weight=weights, **options)


@pairwise(kind_and_names=EVERY, dtype=DTYPES, batch_size=[1, 4, 11], fuses=[Sequential, Plain], target=cnnx.targets())
def test_fit_follows_the_reference(rng, kind_and_names, dtype, batch_size, fuses):
    kind, names = kind_and_names
    names = names.replace(" dropout:0.25", "")
    images, labels, weights, options, loss_of = case(rng, kind, names, 11, dtype)
    network, plain = fuses(stack(cnnx, names, dtype)), stack(reference, names, dtype)
    update = update_of(cnnx.SGD, {}, np.full(11, RATE))
    losses, correct = train(plain, as_floats(images, dtype), labels, batch_size, update, loss_of, weights)
    history = network.fit(
        images,
        labels,
        epochs=1,
        batch_size=batch_size,
        learn_rate=RATE,
        sample_weight=weights,
        shuffle=False,
        **options,
    )
    assert_close(history.losses.astype(dtype), losses.astype(dtype), TERMS)
    np.testing.assert_array_equal(history.correct, correct if "loss" not in options else [])
    for trained, expected in zip(network.layers, plain, strict=True):
        for name, values in parameters(expected).items():
            assert_close(getattr(trained, name), values, TERMS)


@pairwise(kind_and_names=EVERY, dtype=DTYPES, target=cnnx.targets())
def test_evaluate_has_the_loss_of_the_predictions(rng, kind_and_names, dtype):
    kind, names = kind_and_names
    images, labels, weights, options, loss_of = case(rng, kind, names, 11, dtype)
    if "label_smoothing" in options:  # which is only for training
        options, loss_of = {}, LOSSES[kind.removeprefix("smoothed ")][3]
    network = Sequential(stack(cnnx, names, dtype))
    outputs = network.predict(images)
    for factors, given in ((np.ones(11), None), (weights, weights)):
        expected = np.mean([f * loss_of(*pair)[0] for f, *pair in zip(factors, outputs, labels, strict=True)])
        loss, accuracy = network.evaluate(images, labels, sample_weight=given, **options)
        assert_same_loss(loss, expected, dtype)
        if "loss" in options:
            assert np.isnan(accuracy)
        else:
            classes = labels if labels.ndim == 1 else labels.argmax(axis=1)
            assert accuracy == np.mean(outputs.argmax(axis=1) == classes)


@pairwise(kind_and_names=EVERY, threads=[2, 3, 5, None], dtype=DTYPES, batch_size=[6, 37])
def test_the_number_of_threads_changes_no_bit(rng, kind_and_names, threads, dtype, batch_size):
    kind, names = kind_and_names
    images, labels, weights, options, _ = case(rng, kind, names, 37, dtype)
    evaluates = {} if "label_smoothing" in options else options
    seen = []
    for used in (1, threads):
        network = Sequential(stack(cnnx, names, dtype))
        history = network.fit(
            images,
            labels,
            epochs=2,
            batch_size=batch_size,
            optimizer=cnnx.Adam(0.01),
            sample_weight=weights,
            threads=used,
            rng=3,
            **options,
        )
        loss, _ = network.evaluate(images, labels, sample_weight=weights, threads=used, **evaluates)
        seen.append((bits(network), history.losses.tobytes(), loss))
    assert seen[0] == seen[1]


@pairwise(names=CLASSES, dtype=DTYPES, batch_size=[1, 5], target=cnnx.targets())
def test_rows_with_a_single_one_give_the_bits_of_their_labels(rng, names, dtype, batch_size):
    images, labels = problem(rng, names, 13)
    networks = [Sequential(stack(cnnx, names, dtype)) for _ in range(3)]
    options = {"epochs": 2, "batch_size": batch_size, "learn_rate": 0.05, "shuffle": False}
    rows = np.eye(nodes_of(names))[labels]
    histories = [
        network.fit(images, targets, **options)
        for network, targets in zip(networks, (labels, rows, rows.astype(int)), strict=True)
    ]
    for network, history in zip(networks[1:], histories[1:], strict=True):
        assert bits(network) == bits(networks[0])
        assert_same_bits(history.losses, histories[0].losses)
        assert_same_bits(history.correct, histories[0].correct)


@pytest.mark.usefixtures("target")
def test_a_weight_of_one_changes_no_bit_and_of_zero_leaves_a_sample_out(dtype, rng):
    images, labels = problem(rng, STACKS[0], 12)
    networks = [Sequential(stack(cnnx, STACKS[0], dtype)) for _ in range(4)]
    for network, weights in zip(networks, (None, np.ones(12)), strict=False):
        network.gradients(images, labels, sample_weight=weights)
    assert_same_bits(networks[1].gradient, networks[0].gradient)

    networks[2].gradients(images, labels, sample_weight=np.arange(12) % 2)
    loss, _ = networks[3].gradients(images[1::2], labels[1::2])
    assert_close(2 * networks[2].gradient, networks[3].gradient, TERMS)
    assert_same_loss(2 * networks[2].evaluate(images, labels, sample_weight=np.arange(12) % 2)[0], loss, dtype)


@pytest.mark.parametrize("class_weight", [{0: 0.5, 3: 2, np.int64(4): np.float32(0)}, np.array([0.5, 1, 1, 2, 0])])
def test_a_class_weight_is_the_weight_of_the_class_s_samples(rng, class_weight):
    images, labels = problem(rng, STACKS[0], 20)
    others = rng.uniform(0, 2, 20)
    of_labels = np.array([0.5, 1, 1, 2, 0])[labels]
    options = {"epochs": 1, "learn_rate": 0.1, "batch_size": 4, "shuffle": False}
    for smoothing in (0, 0.2):
        by_class, by_sample = (Sequential(stack(cnnx, STACKS[0])) for _ in range(2))
        by_class.fit(
            images, labels, class_weight=class_weight, sample_weight=others, label_smoothing=smoothing, **options
        )
        by_sample.fit(images, labels, sample_weight=others * of_labels, label_smoothing=smoothing, **options)
        assert bits(by_class) == bits(by_sample)


def test_the_validation_is_without_smoothing_and_without_weights(rng):
    images, labels = problem(rng, STACKS[0], 20)
    network = Sequential(stack(cnnx, STACKS[0]))
    history = network.fit(
        images,
        labels,
        epochs=1,
        learn_rate=0.01,
        label_smoothing=0.3,
        class_weight={0: 5},
        validation=(images, labels),
    )
    np.testing.assert_array_equal(history.validation[-1], network.evaluate(images, labels))


def test_a_regression_has_losses_and_no_accuracy(rng):
    images, targets = rng.uniform(-1, 1, (20, *IMAGE)), uniform(rng, 20)
    network, reports = Sequential(stack(cnnx, "dense:4 relu dense:1")), []
    history = network.fit(
        images,
        targets,
        epochs=3,
        learn_rate=0.01,
        loss="mean_squared_error",
        validation=(images, targets),
        early_stopping=cnnx.EarlyStopping(2),
        on_progress=reports.append,
    )
    assert history.correct.shape == (0,)
    assert len(history.losses) == 20 * len(history.validation)
    loss, accuracy = network.evaluate(images, targets[:, np.newaxis], loss="mean_squared_error")
    assert loss == history.validation[:, 0].min()
    assert np.isnan([accuracy, *history.validation[:, 1], *(report.accuracy for report in reports)]).all()
    assert "accuracy" not in repr(history)
    assert f"validation loss {history.validation[-1, 0]:.3f})" in repr(history)


def test_a_network_learns_a_number_from_its_images(rng):
    """How bright the left half is, less the right half."""
    images = rng.integers(0, 256, (300, 8, 10), np.uint8)
    targets = images[:, :, :5].mean(axis=(1, 2)) - images[:, :, 5:].mean(axis=(1, 2))
    targets = targets / targets.std()
    network = Sequential([cnnx.Dense(80, 1, rng=0)])
    fitted = slice(200)
    network.fit(images[fitted], targets[fitted], epochs=40, learn_rate=0.02, loss="mean_squared_error", rng=1)
    assert network.evaluate(images[200:], targets[200:], loss="mean_squared_error")[0] < 0.01
    assert network.predict(images[200]).shape == (1,)


@pytest.mark.parametrize("names", REGRESSIONS)
def test_predict_returns_the_outputs_of_the_last_layer(dtype, rng, names):
    images = rng.integers(0, 256, (5, *IMAGE), np.uint8)
    network, plain = Sequential(stack(cnnx, names, dtype)), stack(reference, names, dtype)
    expected = np.array([forward_by_hand(plain, image) for image in as_floats(images, dtype)])
    assert_close(network.predict(images), expected, TERMS)
    assert_close(network.predict(images[0]), expected[0], TERMS)
