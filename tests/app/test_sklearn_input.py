"""Samples and labels of every kind through `cnnx.sklearn`: they are taken as they are meant, or refused in one line."""

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="scikit-learn is not installed (extra sklearn)")

from sklearn.exceptions import NotFittedError

from cnnx.sklearn import CNNClassifier, CNNRegressor

X = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
Y = np.arange(30) % 3
NAMES = [["a", "bb", "ccc"][label] for label in Y]


def fitted(X=X, y=Y):
    return CNNClassifier(epochs=1, random_state=0).fit(X, y)


LABELS = {
    "unsigned": Y.astype(np.uint64) + 2**63,
    "Python's integers": [int(label) + 2**62 for label in Y],
    "integers as objects": np.array(Y.tolist(), object),
    "a tuple": tuple(NAMES),
    "integers that are floats": Y - 1.0,
    "dates": np.array(["2020-01-01", "2020-01-02", "2021-01-01"], "M8[D]")[Y],
}
if hasattr(np.dtypes, "StringDType"):  # numpy 2
    LABELS["strings of any length"] = np.array(NAMES, np.dtypes.StringDType())


@pytest.mark.smoke
@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_as_they_were(kind):
    classifier = fitted(y=LABELS[kind])
    assert classifier.classes_.tolist() == sorted(set(LABELS[kind] if kind == "a tuple" else list(LABELS[kind])))
    expected = fitted().predict(X)
    assert np.searchsorted(classifier.classes_, classifier.predict(X)).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("images", "same"),
    [(X.tolist(), X.astype(np.float64)), (list(X), X), (tuple(X), X)],
    ids=["numbers", "arrays", "a tuple of arrays"],
)
def test_a_list_of_images_is_an_array_of_them(images, same):
    classifier, expected = fitted(images), fitted(same)
    assert classifier.network_.parameters.tobytes() == expected.network_.parameters.tobytes()
    assert classifier.predict(images[:2]).tolist() == expected.predict(same[:2]).tolist()


NOT_LABELS = {
    r"y: expected labels of one kind, got strings and others": [0, "a", 1] * 10,
    r"y: expected integers or strings, got None at index 3": [0, 1, 2, None] + [0] * 26,
    r"y: expected integers of 64 bits, got 0 to 1180591620717411303424": [0, 2**70] * 15,
    r"y: expected an array without a mask, got a masked array": np.ma.masked_array(Y, Y == 0),
}


@pytest.mark.parametrize("message", NOT_LABELS)
def test_what_is_no_label_is_one_line(message):
    with pytest.raises((TypeError, ValueError), match=rf"^{message}.*$") as error:
        fitted(y=NOT_LABELS[message])
    assert "\n" not in str(error.value)


NOT_SAMPLES = {
    r"X: expected numbers, got an array of dtype datetime64\[s\]": X.astype("M8[s]"),
    r"X: expected numbers, got an array of dtype \[": np.zeros(30, [("a", "f4"), ("b", "f4")]),
    r"X: expected an array without a mask, got a masked array": np.ma.masked_array(X, X > 250),
    r"X: expected an array without a mask, got a masked array ": list(np.ma.masked_array(X, X > 250)),
    r"X: expected samples of one shape, got a list of samples whose shapes differ": [[1, 2], *[[3]] * 29],
    r"Found array with 0 sample": X[:0],
}


@pytest.mark.parametrize("message", NOT_SAMPLES)
def test_what_is_no_sample_is_one_line(message):
    with pytest.raises((TypeError, ValueError), match=rf"^{message}.*$") as error:
        fitted(X=NOT_SAMPLES[message], y=Y[: len(NOT_SAMPLES[message])])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("images", [X, np.stack([X] * 3, -1)], ids=["grey", "colour"])
def test_one_image_to_predict_is_recognised_as_such(images):
    classifier, shape = fitted(images), str(images.shape[1:])[1:-1]
    with pytest.raises(ValueError, match=rf"^X: expected images \(n, {shape}\), got one image \({shape}\) \(X\[np.new"):
        classifier.predict(images[0])
    assert classifier.predict(images[0][np.newaxis]).shape == (1,)


@pytest.mark.parametrize(("classes", "message"), [([], "at least one label, got none"), ([0, "a"], "of one kind")])
def test_classes_of_partial_fit_are_labels(classes, message):
    with pytest.raises((TypeError, ValueError), match=rf"^classes: expected .*{message}"):
        CNNClassifier().partial_fit(X, Y, classes=classes)


def test_other_classes_in_a_later_call_of_partial_fit_are_refused():
    classifier = CNNClassifier().partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"^classes: expected \[0 1 2\], as in the first call, got \[0 1\]$"):
        classifier.partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"^classes: expected integers or strings, got None at index 1"):
        classifier.partial_fit(X, Y, classes=[0, None, 1])


NOT_TO_BEGIN_WITH = {
    r"y: expected labels of classes \[0 1 2\], got \[3 4 5\]": {"y": Y + 3},
    r"sample_weight: expected an array without a mask, got a masked array": {
        "sample_weight": np.ma.masked_array(np.ones(30), Y == 0)
    },
}


@pytest.mark.parametrize("message", NOT_TO_BEGIN_WITH)
def test_after_a_refused_first_call_of_partial_fit_the_next_is_the_first(message):
    classifier = CNNClassifier(random_state=0)
    with pytest.raises((TypeError, ValueError), match=rf"^{message}"):
        classifier.partial_fit(X, **{"y": Y, **NOT_TO_BEGIN_WITH[message]}, classes=[0, 1, 2])
    with pytest.raises(NotFittedError):
        classifier.predict(X)
    assert classifier.partial_fit(X, Y + 3, classes=[3, 4, 5]).classes_.tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    "targets", [NAMES, np.array(NAMES), X[:, 0, 0].astype("M8[s]")], ids=["list", "array", "dates"]
)
def test_a_regressor_s_targets_are_numbers(targets):
    with pytest.raises(TypeError, match=r"^y: expected numbers, got an array of dtype (<U3|datetime64\[s\])$"):
        CNNRegressor(epochs=1).fit(X, targets)
