"""Images on another scale than the training, and bytes that hardly use their range, cause a warning; no others do."""

import copy
import functools
import pickle
import warnings

import numpy as np
import pytest
from networks import sample

import cnnx
from cnnx.models import article_cnn

SCALES = {
    "bytes": lambda digits: digits,
    "-0.5 to 0.5": lambda digits: digits / 255 - 0.5,
    "0 to 1": lambda digits: digits / 255,
    "0 to 255": lambda digits: digits.astype(float),
    "standardised": lambda digits: (digits / 255 - 0.1307) / 0.3081,
}
ALIKE = [{"bytes", "-0.5 to 0.5"}]
TRAINED = [name for name in SCALES if name != "0 to 255"]  # on which the article's network diverges


def trained_on(name, count=100):
    """Return a network of one's own that was trained on such images."""
    return copy.deepcopy(trained_once_on(name, count))


@functools.cache
def trained_once_on(name, count):
    network, digits = article_cnn(), sample()
    network.fit(SCALES[name](digits.train_images[:count]), digits.train_labels[:count], epochs=1, learn_rate=0.001)
    return network


def are_alike(trained, given):
    # Standardised pixels have a wide range. Floats within this range cause no warning; bytes do.
    return (
        trained == given
        or {trained, given} in ALIKE
        or (trained == "standardised" and given in ("-0.5 to 0.5", "0 to 1"))
    )


@pytest.mark.parametrize("use", ["predict", "predict one", "evaluate", "fit"])
@pytest.mark.parametrize("given", SCALES)
@pytest.mark.parametrize("trained", TRAINED)
def test_images_on_another_scale_than_the_training_s_cause_a_warning(trained, given, use):
    network, digits = trained_on(trained), sample()
    images, labels = SCALES[given](digits.test_images[:60]), digits.test_labels[:60]
    calls = {
        "predict": lambda: network.predict(images),
        "predict one": lambda: network.predict(images[0]),
        "evaluate": lambda: network.evaluate(images, labels),
        "fit": lambda: network.fit(images, labels, epochs=1, learn_rate=0.0),
    }
    if are_alike(trained, given):
        calls[use]()  # and warnings are errors
    else:
        with pytest.warns(
            UserWarning, match=r"^images: expected pixels as in the training, .*, got .* \(.*\)$"
        ) as found:
            calls[use]()
        assert [one.filename for one in found] == [__file__]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_remembers_the_scale(copied):
    network = copied(trained_on("bytes"))
    assert network.pixels == cnnx.network.Pixels("uint8", 0, 255, 100)
    with pytest.warns(UserWarning, match="expected pixels as in the training"):
        network.predict(sample().test_images[0] / 255)


def test_only_what_a_trained_network_has_can_be_assigned():
    with pytest.raises(TypeError, match=r"^pixels: expected what a trained network has, or None, got \(0, 255\)$"):
        article_cnn().pixels = (0, 255)


def test_pixels_that_are_assigned_hold_for_images_that_were_looked_at_before():
    network, digits = trained_on("bytes"), sample()
    network.predict(digits.test_images[0])
    network.pixels = trained_on("0 to 1").pixels
    with pytest.warns(UserWarning, match="expected pixels as in the training"):
        network.predict(digits.test_images[0])


def test_own_loops_remember_the_scale_too():
    network, digits = article_cnn(), sample()
    for start in (0, 10):
        some = slice(start, start + 10)
        network.gradients(digits.train_images[some], digits.train_labels[some])
    with pytest.warns(UserWarning, match="expected pixels as in the training"):
        network.evaluate(digits.test_images / 255, digits.test_labels)


def test_a_later_batch_is_looked_at_as_well():
    network, digits = trained_on("bytes"), sample()
    network.predict(digits.test_images[0] / 255 - 0.5)
    with pytest.warns(UserWarning, match="expected pixels as in the training"):
        network.predict(digits.test_images / 255)


@pytest.mark.parametrize("most", [1, 2, 15, 16, 17, 100, 255])
def test_bytes_that_hardly_use_their_range_cause_a_warning(most):
    network, digits = article_cnn(), sample()
    images, labels = np.rint(digits.train_images[:50] / 255 * most).astype(np.uint8), digits.train_labels[:50]
    message = rf"^images: expected bytes from 0 to 255, .*, got none above {most} \(images \* {255 // most} uses"
    if most > 16:
        network.fit(images, labels, epochs=1, learn_rate=0.001)
    else:
        with pytest.warns(UserWarning, match=message) as found:
            network.fit(images, labels, epochs=1, learn_rate=0.001)
        assert [one.filename for one in found] == [__file__]
        network.predict(images)


@pytest.mark.parametrize("given", ["bytes", "-0.5 to 0.5", "0 to 1"])
def test_a_stream_that_starts_in_the_dark_causes_none(given):
    network, digits = article_cnn(), sample()
    black = np.zeros((28, 28), np.uint8)
    dim = digits.train_images[0] // 32
    for image in [black, dim, *digits.train_images[1:40], black, dim]:
        network.fit(SCALES[given](image[None]), np.zeros(1, int), epochs=1, learn_rate=0.0)
        network.predict(SCALES[given](image))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_predicted_without_a_warning(bad):
    network = trained_on("-0.5 to 0.5")
    image = np.full((28, 28), -0.5)
    image[3, 4] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.predict(image)
