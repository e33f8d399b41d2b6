"""`cnnx.data.typed` and `python -m cnnx.train --typed`: digits as fonts have them."""

import numpy as np
import pytest
from command_line import LAST_LINE, outcome, run, run_well, write_digits

import cnnx
from cnnx.data import typed


@pytest.fixture(scope="module")
def digits():
    return typed(200, rng=0)


def test_the_classes_take_turns(digits):
    images, labels = digits
    assert (images.shape, images.dtype, labels.dtype) == ((200, 28, 28), np.uint8, np.uint8)
    np.testing.assert_array_equal(labels, np.arange(200) % 10)


def test_they_are_placed_as_mnist_s_are(digits):
    for image in digits[0]:
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
        centre = [(image.sum(axis=1 - axis) @ np.arange(28)) / image.sum() for axis in (0, 1)]
        assert np.abs(np.array(centre) - 14).max() < 0.51  # bytes are rounded
        assert image.max() > 200


@pytest.mark.smoke
def test_a_seed_draws_the_same_digits_and_each_digit_has_its_own_font(digits):
    images, labels = digits
    np.testing.assert_array_equal(typed(30, rng=0)[0], images[:30])
    np.testing.assert_array_equal(typed(30, rng=np.random.default_rng(0))[0], images[:30])
    np.random.seed(3)
    first = typed(10)[0]
    np.random.seed(3)
    np.testing.assert_array_equal(typed(10)[0], first)
    for digit in range(10):
        assert len(np.unique(images[labels == digit], axis=0)) == 20


@pytest.mark.parametrize(("count", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("10", TypeError)])
def test_a_count_is_a_positive_integer(count, error):
    with pytest.raises(error, match=rf"^count: expected .*, got .*{count}"):
        typed(count)


def test_the_option_adds_them_to_the_digits_to_train_on(tmp_path):
    options = ["--limit", 100, "--batch-size", 10, "--epochs", 2, "--validation", 20, "--typed", 30, "--seed", 4]
    lines = run_well(*options, "--save", tmp_path / "network")
    assert int(LAST_LINE.fullmatch(lines[-1])["steps"]) == 2 * (80 + 30) / 10

    sample, (images, labels) = cnnx.data.load(), typed(30, rng=4)
    np.random.seed(4)
    network = cnnx.models.article_cnn()
    network.fit(
        np.concatenate([sample.train_images[:80], images]),
        np.concatenate([sample.train_labels[:80], labels]),
        epochs=2,
        batch_size=10,
        optimizer=cnnx.SGD(0.005),
    )
    assert outcome(lines) == network.evaluate(sample.test_images[:100], sample.test_labels[:100])


def test_data_that_are_not_digits_refuse_them(tmp_path):
    write_digits(tmp_path / "own", np.random.default_rng(0))
    code, _, errors = run("--data", tmp_path / "own", "--typed", 10)
    assert (code, len(errors)) == (2, 1)
    assert (
        "--typed: expected --data with the digits 0 to 9 in 28x28 pixels beside it, got 4 classes in 9x12" in errors[0]
    )
