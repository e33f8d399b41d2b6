"""`cnnx.sklearn`: estimators that scikit-learn's own checks accept, and that its tools can use."""

import functools
import pickle
import unittest
import warnings

import numpy as np
import pytest
from networks import sample

import cnnx

pytest.importorskip("sklearn", "1.6", reason="scikit-learn is not installed (extra sklearn)")

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from cnnx.sklearn import CNNClassifier, CNNRegressor

NOT_FOR_US = "multilabel"  # checks for estimators that take several labels a sample


@pytest.fixture(scope="module")
def small_digits():
    """1,797 digits of 8x8 pixels, from 0 to 16, which come with scikit-learn."""
    X, y = load_digits(return_X_y=True)
    return (X / 16 - 0.5).astype(np.float32), y


@pytest.fixture(scope="module")
def trained():
    digits = sample()
    return CNNClassifier(epochs=3, random_state=0).fit(digits.train_images, digits.train_labels)


@pytest.mark.smoke
@pytest.mark.filterwarnings("ignore")  # the checks use odd data on purpose
@pytest.mark.parametrize(
    ("estimator", "model"), [(CNNClassifier(), MLPClassifier()), (CNNRegressor(), MLPRegressor())], ids=repr
)
def test_it_passes_every_check_that_scikit_learn_s_own_network_passes(estimator, model):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert [result for result in results if result["status"] not in ("passed", "skipped")] == []
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    checks = {
        check.func.__name__: functools.partial(check, given) for given, check in estimator_checks_generator(model)
    }
    for name in skipped & set(checks):  # only what is skipped for scikit-learn's own, too: without pandas, for example
        with pytest.raises(unittest.SkipTest):
            checks[name]()
    missing = set(checks) - {result["check_name"] for result in results}
    assert [name for name in missing if NOT_FOR_US not in name] == []


def test_it_recognises_digits_in_a_pipeline_and_in_cross_validation(small_digits):
    pipeline = make_pipeline(StandardScaler(), CNNClassifier(epochs=10, random_state=0))
    assert cross_val_score(pipeline, *small_digits, cv=3).min() > 0.9


def test_a_grid_search_in_two_processes_finds_what_one_finds(small_digits):
    X, y = small_digits[0][:600], small_digits[1][:600]
    grid = {"network": [None, "article_cnn"], "learn_rate": [0.0001, 0.01]}
    two, one = (
        GridSearchCV(CNNClassifier(epochs=3, random_state=0, threads=1), grid, cv=2, n_jobs=jobs).fit(X, y)
        for jobs in (2, 1)
    )
    assert two.best_params_["learn_rate"] == 0.01
    np.testing.assert_array_equal(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"])


@pytest.mark.parametrize("mode", [None, "r", "r+", "c"])
def test_a_memory_mapped_estimator_predicts(trained, tmp_path, mode):
    joblib.dump(trained, tmp_path / "trained.joblib")
    loaded = joblib.load(tmp_path / "trained.joblib", mmap_mode=mode)
    images = sample().test_images
    np.testing.assert_array_equal(loaded.predict_proba(images), trained.predict_proba(images))


def test_memory_mapped_images_train_and_are_read(trained, tmp_path):
    digits = sample()
    joblib.dump(digits.train_images, tmp_path / "images.joblib")
    images = joblib.load(tmp_path / "images.joblib", mmap_mode="r")
    assert isinstance(images, np.memmap)
    again = CNNClassifier(epochs=3, random_state=0).fit(images, digits.train_labels)
    np.testing.assert_array_equal(again.network_.parameters, trained.network_.parameters)
    jobs = (joblib.delayed(trained.predict)(part) for part in np.array_split(images, 4))
    answers = np.concatenate(joblib.Parallel(n_jobs=2, max_nbytes=1000)(jobs))
    np.testing.assert_array_equal(answers, trained.predict(digits.train_images))


def test_a_pickled_estimator_goes_on_as_the_original(trained):
    digits = sample()
    first, second = (pickle.loads(pickle.dumps(trained)) for _ in range(2))
    for estimator in (first, second):
        estimator.partial_fit(digits.test_images, digits.test_labels)
    np.testing.assert_array_equal(first.network_.parameters, second.network_.parameters)
    assert first.n_iter_ == trained.n_iter_ + 1


LABELS = {
    "list": lambda labels: labels.tolist(),
    "strings": lambda labels: [f"class {label}" for label in labels],
    "negative": lambda labels: labels.astype(np.int64) * 1000 - 5000,
    "objects": lambda labels: np.array([str(label) for label in labels], object),
    "bools": lambda labels: labels > 4,
}


@pytest.mark.smoke
@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind_come_back(small_digits, kind):
    X, y = small_digits
    labels = LABELS[kind](y)
    estimator = CNNClassifier(epochs=4, random_state=0).fit(X.tolist(), labels)
    np.testing.assert_array_equal(estimator.classes_, np.unique(labels))
    assert estimator.score(X, labels) > 0.9
    assert estimator.predict(X[:1]).dtype == np.asarray(labels).dtype


def test_images_are_the_same_flat_and_upright(trained):
    images = sample().test_images
    for form in (images.reshape(1000, -1), images[..., np.newaxis]):
        np.testing.assert_array_equal(trained.predict_proba(form), trained.predict_proba(images))


def test_probabilities_are_in_the_order_of_the_classes_and_in_the_dtype(trained):
    images = sample().test_images
    probabilities = trained.predict_proba(images)
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(trained.classes_[probabilities.argmax(axis=1)], trained.predict(images))
    np.testing.assert_allclose(np.exp(trained.predict_log_proba(images)), probabilities, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "image_shape", "expected"),
    [
        ((64,), None, (8, 8)),
        ((49,), None, (1, 49)),
        ((65,), None, (1, 65)),
        ((64,), (4, 16), (4, 16)),
        ((64,), (1, 64), (1, 64)),
        ((9, 11), None, (9, 11)),
        ((9, 11, 1), None, (9, 11)),
        ((9, 11, 3), None, (9, 11, 3)),
        ((192,), (8, 8, 3), (8, 8, 3)),
        ((8, 8), (8, 8, 1), (8, 8)),
    ],
)
def test_the_shape_of_the_images_is_given_or_found(rng, shape, image_shape, expected):
    X, y = rng.normal(size=(20, *shape)), np.arange(20) % 2
    estimator = CNNClassifier(epochs=1, image_shape=image_shape).fit(X, y)
    assert estimator.image_shape_ == estimator.network_.image_shape == expected
    has_convolutions = any(isinstance(layer, cnnx.Conv3x3) for layer in estimator.network_.layers)
    assert has_convolutions == (min(expected[:2]) >= 8)


@pytest.mark.parametrize("name", cnnx.models.__all__)
def test_a_network_of_cnnx_models_is_named(name):
    digits = sample()
    estimator = CNNClassifier(name, epochs=1, random_state=0, dtype="float64")  # else bytes mean float32
    estimator.fit(digits.train_images[:50], digits.train_labels[:50])
    expected = getattr(cnnx.models, name)()
    assert [repr(layer) for layer in estimator.network_.layers] == [repr(layer) for layer in expected.layers]


def test_a_function_makes_the_network(small_digits):
    def network(*, dtype, rng, image_shape, nodes):
        assert image_shape == (8, 8)
        return cnnx.Sequential([cnnx.Softmax(64, nodes, dtype=dtype, rng=rng)])

    estimator = CNNClassifier(network, epochs=5, random_state=0).fit(*small_digits)
    assert [type(layer) for layer in estimator.network_.layers] == [cnnx.Softmax]
    assert estimator.score(*small_digits) > 0.8


def test_an_optimizer_is_made_for_each_fit(small_digits):
    optimizer = functools.partial(cnnx.SGD, momentum=0.9)
    estimator = CNNClassifier(epochs=3, optimizer=optimizer, learn_rate=0.02, random_state=0)
    first = estimator.fit(*small_digits).optimizer_
    assert (type(first), first.momentum, first.learn_rate) == (cnnx.SGD, 0.9, 0.02)
    assert estimator.fit(*small_digits).optimizer_.steps == first.steps


def test_a_random_state_gives_one_result_for_every_number_of_threads(small_digits):
    networks = [
        CNNClassifier(epochs=2, random_state=3, threads=threads, augment=cnnx.RandomShift(1)).fit(*small_digits)
        for threads in (1, 2)
    ]
    np.testing.assert_array_equal(networks[0].network_.parameters, networks[1].network_.parameters)
    other = CNNClassifier(epochs=2, random_state=4).fit(*small_digits)
    assert not np.array_equal(networks[0].network_.parameters, other.network_.parameters)


def test_the_loss_curve_has_the_mean_of_each_epoch(small_digits):
    estimator = CNNClassifier(epochs=4, random_state=0).fit(*small_digits)
    losses = estimator.network_.history.losses.reshape(4, -1)
    np.testing.assert_allclose(estimator.loss_curve_, losses.mean(axis=1))
    assert (estimator.n_iter_, estimator.validation_loss_curve_) == (4, None)


def test_early_stopping_holds_out_samples_and_stops(small_digits):
    estimator = CNNClassifier(
        epochs=200, early_stopping=True, n_iter_no_change=2, validation_fraction=0.2, random_state=0, learn_rate=0.01
    ).fit(*small_digits)
    curve = estimator.validation_loss_curve_
    assert estimator.n_iter_ == len(estimator.loss_curve_) == len(curve) == int(np.argmin(curve)) + 3 < 200
    assert len(estimator.network_.history.losses) % (1797 - 360) == 0


def test_partial_fit_learns_from_batches_whose_labels_differ(small_digits):
    X, y = small_digits
    estimator = CNNClassifier(random_state=0)
    for start in range(0, 1600, 100):
        estimator.partial_fit(X[start : start + 100], y[start : start + 100], classes=range(10))
    assert estimator.n_iter_ == 16
    assert estimator.score(X[1600:], y[1600:]) > 0.8


def test_plain_features_on_another_scale_are_predicted_without_a_warning(rng):
    X = rng.normal(size=(100, 3))
    estimator = CNNClassifier(epochs=1).fit(X, X[:, 0] > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.predict(X + 1000)


@pytest.mark.parametrize(("given", "expected"), [("u1", "f4"), ("f4", "f4"), ("f8", "f8"), ("i4", "f8")])
def test_the_dtype_follows_the_data_unless_one_is_given(small_digits, given, expected):
    X, y = ((small_digits[0] + 0.5) * 255).astype(given), small_digits[1]
    assert CNNClassifier(epochs=1).fit(X, y).predict_proba(X).dtype == expected
    assert CNNClassifier(epochs=1, dtype="float32").fit(X, y).predict_proba(X).dtype == np.float32


def test_samples_weigh_as_asked():
    X, y = np.zeros((40, 3)), np.arange(40) % 2
    probabilities = (
        CNNClassifier(epochs=300, random_state=0)
        .fit(X, y, sample_weight=np.where(y == 1, 3.0, 1.0))
        .predict_proba(X[:1])
    )
    np.testing.assert_allclose(probabilities, [[0.25, 0.75]], atol=0.02)
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        CNNClassifier().fit(X, y, sample_weight=np.zeros(40))


# ----------------------------------------------------------------------------------------------------- regression


def centres(rng, count):
    """Return images of one bright spot, and where it is: (n, 2), from -1 to 1."""
    places = rng.uniform(-1, 1, (count, 2))
    y, x = np.indices((12, 10))
    rows, columns = 5.5 + 5 * places[:, :1, np.newaxis], 4.5 + 4 * places[:, 1:, np.newaxis]
    return np.exp(-((y - rows) ** 2 + (x - columns) ** 2) / 4), places


def test_a_regressor_finds_a_spot_in_an_image(rng):
    X, y = centres(rng, 600)
    regressor = CNNRegressor(random_state=0).fit(X[:500], y[:500])
    assert regressor.score(X[500:], y[500:]) > 0.95
    assert regressor.predict(X[500:]).shape == (100, 2)
    single = CNNRegressor(random_state=0, epochs=1).fit(X, y[:, 0])
    assert single.predict(X[:5]).shape == (5,)
    assert isinstance(single.network_.layers[-1], cnnx.Dense)


def test_a_regressor_works_in_a_pipeline_and_stops_early(rng):
    X = rng.normal(size=(400, 5)) * 10 + 3
    y = np.sin(X[:, 0] / 10) + X[:, 1] / 20
    regressor = CNNRegressor(epochs=200, early_stopping=True, n_iter_no_change=3, random_state=0)
    assert cross_val_score(make_pipeline(StandardScaler(), regressor), X, y, cv=3).min() > 0.7
    assert regressor.fit((X - 3) / 10, y).n_iter_ < 200


def test_a_regressor_learns_from_batches(rng):
    X, y = centres(rng, 500)
    regressor = CNNRegressor(random_state=0)
    for _ in range(5):
        for start in range(0, 400, 100):
            regressor.partial_fit(X[start : start + 100], y[start : start + 100])
    assert regressor.n_iter_ == 20
    assert regressor.score(X[400:], y[400:]) > 0.8


def test_a_regressor_weighs_samples():
    X, y = np.zeros((40, 3)), np.arange(40) % 2
    regressor = CNNRegressor(epochs=300, random_state=0).fit(X, y, sample_weight=np.where(y == 1, 3.0, 1.0))
    np.testing.assert_allclose(regressor.predict(X[:1]), [0.75], atol=0.02)


def test_a_regressor_has_no_presets(rng):
    with pytest.raises(TypeError, match=r"network: expected None, or a function that .*, got 'article"):
        CNNRegressor("article_cnn").fit(*centres(rng, 10))


WRONG = {
    "image_shape: expected 64 values, the number of features": {"image_shape": (8, 9)},
    "image_shape: expected a height and a width": {"image_shape": 64},
    "network: expected 'article_cnn'": {"network": "unknown"},
    "network: expected None, a name of cnnx.models or": {"network": cnnx.Sequential([])},
    "network: expected a function that returns a Sequential, got None": {"network": lambda **_: None},
    "optimizer: expected 'adam' or 'sgd', got 'lbfgs'": {"optimizer": "lbfgs"},
    "optimizer: expected 'adam', 'sgd' or a function": {"optimizer": cnnx.Adam(0.1)},
    "epochs: expected": {"epochs": 0},
    "dtype: expected float32 or float64": {"dtype": "int8"},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_parameter_is_named(small_digits, message):
    with pytest.raises((TypeError, ValueError), match=message):
        CNNClassifier(**WRONG[message]).fit(*small_digits)


def test_images_of_other_shapes_are_refused(trained):
    with pytest.raises(ValueError, match=r"X: expected images of shape \(28, 28\), got \(14, 56\)"):
        trained.predict(np.zeros((2, 14, 56), np.uint8))
    with pytest.raises(ValueError, match=r"X: expected \(n, features\) or .* got \(n, 8, 8, 3, 2\)"):
        CNNClassifier().fit(np.zeros((2, 8, 8, 3, 2)), [0, 1])
    with pytest.raises(ValueError, match="image_shape: expected that of the images"):
        CNNClassifier(image_shape=(4, 16)).fit(np.zeros((2, 8, 8)), [0, 1])


def test_classes_of_partial_fit_are_checked(small_digits):
    X, y = small_digits
    with pytest.raises(ValueError, match="classes: expected all labels at the first call"):
        CNNClassifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="y: expected labels of classes"):
        CNNClassifier().partial_fit(X, y, classes=[0, 1])
    estimator = CNNClassifier().partial_fit(X, y, classes=range(10))
    with pytest.raises(ValueError, match="as in the first call"):
        estimator.partial_fit(X, y, classes=[0, 1])
