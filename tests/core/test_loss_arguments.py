"""Losses, targets and weights that cannot be right are refused by name, and nothing has changed."""

import numpy as np
import pytest
from networks import bits
from stacks import IMAGE, stack

import cnnx
from cnnx import EarlyStopping, Sequential

CLASSES = "conv:4 relu pool dense:6 relu softmax:3"
NUMBERS = "conv:4 relu pool dense:6 relu dense:3"
LABELS = np.array([0, 2, 1, 1, 0, 2])
ROWS = np.eye(3)[LABELS]


def changed(values, at, value):
    values = values.copy()
    values[at] = value
    return values


def without_result(*_):
    raise AssertionError("nobody may call this")


# Stacks, labels, options, and the error with its message.
REFUSED = {
    "an unknown loss": (
        CLASSES,
        LABELS,
        {"loss": "mse"},
        ValueError,
        r"^loss: expected 'cross_entropy', .* got 'mse'$",
    ),
    "no loss": (CLASSES, LABELS, {"loss": None}, TypeError, r"^loss: expected .* or a function, got None$"),
    "cross-entropy of numbers": (
        NUMBERS,
        LABELS,
        {},
        ValueError,
        r"^layers: expected Softmax at the end, .* got Dense \(loss='mean_squared_error' takes every output\)$",
    ),
    "labels in a list": (CLASSES, LABELS.tolist(), {}, TypeError, r"^labels: expected a numpy array of integers"),
    "labels as floats": (CLASSES, LABELS.astype(float), {}, TypeError, r"^labels: expected a numpy array of integers"),
    "labels in a column": (
        CLASSES,
        LABELS[:, np.newaxis],
        {},
        ValueError,
        r"^labels: expected shape \(6,\), one label an image, or rows of probabilities \(6, 3\), got \(6, 1\)$",
    ),
    "labels too large": (CLASSES, LABELS + 1, {}, ValueError, r"^labels: expected 0 to 2, got 1 to 3$"),
    "few labels": (CLASSES, LABELS[1:], {}, ValueError, r"^labels: expected shape \(6,\)"),
    "few rows": (CLASSES, ROWS[1:], {}, ValueError, r"^labels: expected shape \(6,\), one label .* got \(5, 3\)$"),
    "rows of three axes": (CLASSES, ROWS[np.newaxis], {}, TypeError, r"^labels: expected a numpy array of integers"),
    "rows too wide": (CLASSES, np.eye(4)[LABELS], {}, ValueError, r"^labels: expected shape .* got \(6, 4\)$"),
    "rows of bools": (CLASSES, ROWS.astype(bool), {}, TypeError, r"^labels: expected a numpy array of integers"),
    "rows with a NaN": (
        CLASSES,
        changed(ROWS, (4, 1), np.nan),
        {},
        ValueError,
        r"^labels: expected finite .* \[4, 1\]$",
    ),
    "a negative probability": (
        CLASSES,
        changed(changed(ROWS, (4, 0), 1.5), (4, 1), -0.5),
        {},
        ValueError,
        r"^labels: expected rows of probabilities, at least 0 and with the sum 1, got \[.*-0.5.*\] in row 4$",
    ),
    "rows with another sum": (CLASSES, ROWS * 2, {}, ValueError, r"^labels: expected rows of prob.* in row 0$"),
    "numbers as labels": (
        NUMBERS,
        LABELS,
        {"loss": "mean_squared_error"},
        ValueError,
        r"^labels: expected shape \(6, 3\), a row .* got \(6,\) \(one-hot rows are np.eye\(3\)\[labels\]\)$",
    ),
    "few numbers": (NUMBERS, ROWS[1:], {"loss": "mean_squared_error"}, ValueError, r"^labels: expected shape \(6, 3\)"),
    "numbers in a list": (
        NUMBERS,
        ROWS.tolist(),
        {"loss": "mean_squared_error"},
        TypeError,
        r"^labels: expected a numpy",
    ),
    "infinite numbers": (
        NUMBERS,
        changed(ROWS, (2, 0), np.inf),
        {"loss": "mean_squared_error"},
        ValueError,
        r"^labels: expected finite numbers, got inf at \[2, 0\]$",
    ),
    "a function's labels in a list": (
        NUMBERS,
        ROWS.tolist(),
        {"loss": without_result},
        TypeError,
        r"^labels: expected a",
    ),
    "few labels of a function": (
        NUMBERS,
        ROWS[1:],
        {"loss": without_result},
        ValueError,
        r"^labels: expected shape \(6, ...\), an entry for each image, got \(5, 3\)$",
    ),
    "few weights": (
        CLASSES,
        LABELS,
        {"sample_weight": np.ones(5)},
        ValueError,
        r"^sample_weight: expected shape \(6,\)",
    ),
    "weights in a list": (
        CLASSES,
        LABELS,
        {"sample_weight": [1.0] * 6},
        TypeError,
        r"^sample_weight: expected a numpy",
    ),
    "a negative weight": (
        CLASSES,
        LABELS,
        {"sample_weight": changed(np.ones(6), 3, -1)},
        ValueError,
        r"^sample_weight: expected finite numbers of at least 0, got -1.0 at index 3$",
    ),
    "a weight that is NaN": (
        CLASSES,
        LABELS,
        {"sample_weight": changed(np.ones(6), 5, np.nan)},
        ValueError,
        r"^sample_weight: expected finite numbers of at least 0, got nan at index 5$",
    ),
}
# The same for what `fit` and `gradients` have, or `fit` alone.
SMOOTHING = {
    "all smoothing": (
        CLASSES,
        LABELS,
        {"label_smoothing": 1},
        ValueError,
        r"^label_smoothing: expected a number from 0",
    ),
    "smoothing as text": (
        CLASSES,
        LABELS,
        {"label_smoothing": "0.1"},
        TypeError,
        r"^label_smoothing: expected a number",
    ),
    "smooth numbers": (
        NUMBERS,
        ROWS,
        {"label_smoothing": 0.1, "loss": "mean_squared_error"},
        ValueError,
        r"^label_smoothing: expected 0 for a loss other than 'cross_entropy', got 0.1$",
    ),
    "a function with smoothing": (
        NUMBERS,
        ROWS,
        {"label_smoothing": 0.1, "loss": without_result},
        ValueError,
        r"^label_smoothing: expected 0",
    ),
}
FIT = {
    "a class too many": (
        CLASSES,
        LABELS,
        {"class_weight": {3: 1}},
        ValueError,
        r"^class_weight: expected classes from 0",
    ),
    "a class by name": (CLASSES, LABELS, {"class_weight": {"2": 1}}, TypeError, r"^class_weight: expected an integer"),
    "a negative class weight": (
        CLASSES,
        LABELS,
        {"class_weight": {1: -1}},
        ValueError,
        r"^class_weight\[1\]: expected a f",
    ),
    "class weights in a list": (
        CLASSES,
        LABELS,
        {"class_weight": [1, 1, 1]},
        TypeError,
        r"^class_weight: expected a num",
    ),
    "few class weights": (CLASSES, LABELS, {"class_weight": np.ones(2)}, ValueError, r"^class_weight: expected shape"),
    "class weights of rows": (
        CLASSES,
        ROWS,
        {"class_weight": {1: 2}},
        ValueError,
        r"^class_weight: expected integer labels \(n,\) beside it, got others \(use sample_weight\)$",
    ),
    "class weights of numbers": (
        NUMBERS,
        ROWS,
        {"class_weight": {1: 2}, "loss": "mean_squared_error"},
        ValueError,
        r"^class_weight: expected integer labels",
    ),
    "validation of another kind": (
        NUMBERS,
        ROWS,
        {"validation": (np.zeros((6, *IMAGE)), LABELS), "loss": "mean_squared_error"},
        ValueError,
        r"^validation: labels: expected shape \(6, 3\)",
    ),
    "early stopping by accuracy": (
        NUMBERS,
        ROWS,
        {
            "validation": (np.zeros((6, *IMAGE)), ROWS),
            "loss": "mean_squared_error",
            "early_stopping": EarlyStopping(1, monitor="accuracy"),
        },
        ValueError,
        r"^early_stopping: expected monitor='loss' beside a loss without classes, got 'accuracy'$",
    ),
}


def assert_refused(method, names, labels, options, error, message):
    network = Sequential(stack(cnnx, names))
    before, gradient = bits(network), network.gradient.copy()
    images = np.random.default_rng(0).uniform(-1, 1, (6, *IMAGE))
    needed = {"epochs": 1, "learn_rate": 0.1} if method == "fit" else {}
    with pytest.raises(error, match=message):
        getattr(network, method)(images, labels, **needed, **options)
    assert bits(network) == before
    assert (network.gradient == gradient).all()
    assert network.history is None
    assert network.image_shape is None


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("method", ["fit", "gradients", "evaluate"])
def test_losses_targets_and_weights(kind, method):
    assert_refused(method, *REFUSED[kind])


@pytest.mark.parametrize("kind", SMOOTHING)
@pytest.mark.parametrize("method", ["fit", "gradients"])
def test_smoothing(kind, method):
    assert_refused(method, *SMOOTHING[kind])


@pytest.mark.parametrize("kind", FIT)
def test_options_of_fit(kind):
    assert_refused("fit", *FIT[kind])


def test_a_target_that_float32_cannot_hold_is_not_finite():
    network = Sequential(stack(cnnx, NUMBERS, np.float32))
    with pytest.raises(ValueError, match=r"^labels: expected finite numbers, got inf"):
        network.evaluate(np.zeros((6, *IMAGE)), ROWS * 1e300, loss="mean_squared_error")
