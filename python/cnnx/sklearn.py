"""Networks as scikit-learn's estimators, for pipelines, grid searches and cross-validation.

`CNNClassifier` is used as scikit-learn's MLPClassifier. The module needs the extra ``sklearn``, that is, scikit-learn.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _checks, models
from ._checks import FloatArray
from ._extras import missing
from ._images import UINT8
from .augment import Augmentation
from .early_stopping import EarlyStopping
from .layers import Conv3x3, Dense, Layer, MaxPool2, ReLU, Softmax
from .network import Sequential
from .optimizers import SGD, Adam, Optimizer
from .schedules import Schedule

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise missing("cnnx.sklearn", "sklearn", "scikit-learn 1.6 or newer") from error

__all__ = ["CNNClassifier"]

_OPTIMIZERS: dict[str, Callable[[float], Optimizer]] = {"adam": Adam, "sgd": SGD}
_LEAST_SIDE = 8  # pixels: the sides of the smallest images that are convolved, scikit-learn's own digits


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share: how they read their data, make a network and train it."""

    def __init__(
        self,
        network: str | Callable[..., Sequential] | None = None,
        *,
        image_shape: tuple[int, int] | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        optimizer: str | Callable[[float], Optimizer] = "adam",
        learn_rate: float = 0.005,
        schedule: Schedule | str | None = None,
        augment: Augmentation | None = None,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        random_state: Any = None,
        dtype: DTypeLike = "float32",
        threads: int | None = None,
    ) -> None:
        self.network = network
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learn_rate = learn_rate
        self.schedule = schedule
        self.augment = augment
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.dtype = dtype
        self.threads = threads

    def _read(self, X: Any, y: Any = None, *, reset: bool) -> tuple[Any, Any]:
        """Return X as images (n, height, width), uint8 or of `dtype`, and y as an array."""
        given = X.shape[1:] if isinstance(X, np.ndarray) and X.ndim > 2 else None
        if given is not None:
            X = X.reshape(len(X), -1)
        checked = validate_data(self, X, "no_validation" if y is None else y, reset=reset)
        X, y = (checked, None) if y is None else checked
        if reset:
            self.image_shape_ = _image_shape(X.shape[1], given, self.image_shape)
        elif given is not None and given[:2] != self.image_shape_:
            raise ValueError(f"X: expected images of shape {self.image_shape_}, got {given}")
        X = X if X.dtype == UINT8 else X.astype(_checks.float_dtype(self.dtype), copy=False)
        return X.reshape(len(X), *self.image_shape_), y

    def _make(self, nodes: int) -> None:
        """Make a network and what trains it."""
        random = check_random_state(self.random_state)
        self._rng = np.random.default_rng(random.randint(2**31 - 1))
        self.network_ = _network(self.network, self._last)(
            dtype=self.dtype, rng=self._rng, image_shape=self.image_shape_, nodes=nodes
        )
        if not isinstance(self.network_, Sequential):
            raise TypeError(f"network: expected a function that returns a Sequential, got {self.network_!r} from it")
        self.network_.image_shape = self.image_shape_
        self.optimizer_ = _optimizer(self.optimizer, self.learn_rate)
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] | None = [] if self.early_stopping else None

    def _train(self, images: Any, targets: Any, epochs: int, stratify: Any = None) -> None:
        """Train the network for some epochs."""
        validation = stopping = None
        if self.early_stopping and epochs > 1:
            seed = int(self._rng.integers(2**31))
            images, held_out, targets, held_out_targets = train_test_split(
                images, targets, test_size=self.validation_fraction, stratify=stratify, random_state=seed
            )
            validation, stopping = (held_out, held_out_targets), EarlyStopping(self.n_iter_no_change)
        history = self.network_.fit(
            images,
            targets,
            epochs=epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer_,
            schedule=self.schedule,
            augment=self.augment,
            validation=validation,
            early_stopping=stopping,
            shuffle=self.shuffle,
            rng=self._rng,
            threads=self.threads,
        )
        if min(self.image_shape_) == 1:
            self.network_.pixels = None  # features have a scale each, so no warning of another scale would be right
        self.loss_curve_ += history.losses.reshape(-1, len(images)).mean(axis=1).tolist()
        if self.validation_loss_curve_ is not None:
            self.validation_loss_curve_ += history.validation[:, 0].tolist()
        self.n_iter_ = len(self.loss_curve_)

    def _output(self, X: Any) -> FloatArray:
        """Return what the network gives for X."""
        check_is_fitted(self)
        images, _ = self._read(X, reset=False)
        output: FloatArray = self.network_.predict(images, threads=self.threads)
        return output

    _last: Callable[..., Layer]


class CNNClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A classifier for images or plain features, used as scikit-learn's MLPClassifier.

    X is (n, features), as scikit-learn has it, or images (n, height, width). Bytes (uint8) are read as x / 255 - 0.5,
    and other numbers unchanged, so scale them, for example by a StandardScaler in a Pipeline. Labels are integers or
    strings, in an array or a list.

    Args:
        network: makes the network. None makes two convolutions with 16 and 32 filters, each followed by pooling and
            ReLU, or for plain features a dense layer with 100 nodes and ReLU; a softmax follows. A text is the name of
            a function of `cnnx.models`. A function of one's own is called like those, with `dtype`, `rng`,
            `image_shape` and `nodes` by name, and returns a `Sequential` that ends with a Softmax.
        image_shape: (height, width) of the images. None takes it from images (n, height, width). For (n, features) it
            is a square if there are 64, 81, 100 or another square number of features, and else they are plain
            features, an image that is one pixel high.
        epochs: how often to go through all samples, at least 1.
        batch_size: how many samples a step has, at least 1.
        optimizer: "adam", "sgd", or a function that takes the learn rate and returns an optimizer of cnnx, such as
            ``functools.partial(cnnx.SGD, momentum=0.9)``.
        learn_rate: how far a step goes.
        schedule: how the learn rate changes, as in `Sequential.fit`.
        augment: changes each image a little, as in `Sequential.fit`.
        shuffle: whether each epoch takes the samples in a new random order.
        early_stopping: whether to hold out samples, stop when the loss on them gets no better, and go back to the best
            epoch.
        validation_fraction: the share of the samples that is held out.
        n_iter_no_change: after how many epochs in a row that are not better the training stops.
        random_state: draws weights, order and held-out samples: an integer, a `numpy.random.RandomState`, or None for
            numpy's global generator.
        dtype: float32 or float64, of the parameters and the probabilities.
        threads: how many threads share a batch. None for as many as this process has CPUs. The result does not depend
            on it.

    Attributes:
        classes_: the labels, sorted.
        network_: the trained `Sequential`.
        image_shape_: (height, width) of its images.
        n_features_in_: how many features a sample has.
        n_iter_: how many epochs were trained.
        loss_curve_: the mean loss of each epoch's samples, in nats, each before the step on it.
        validation_loss_curve_: the loss on the held-out samples after each epoch; None without early stopping.
    """

    _last = Softmax

    def fit(self, X: ArrayLike, y: ArrayLike) -> CNNClassifier:
        """Train a new network.

        Args:
            X: (n, features) or (n, height, width).
            y: (n,), the label of each sample.
        """
        images, labels = self._labelled(X, y, reset=True)
        self.classes_, labels = np.unique(labels, return_inverse=True)
        self._make(len(self.classes_))
        self._train(images, labels, self.epochs, stratify=labels)
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> CNNClassifier:
        """Train for one epoch on some samples, beginning with a new network in the first call.

        Args:
            X: (n, features) or (n, height, width).
            y: (n,), the label of each sample.
            classes: all labels that will ever come. The first call needs them.
        """
        is_first = not hasattr(self, "network_")
        images, labels = self._labelled(X, y, reset=is_first)
        if is_first:
            if classes is None:
                raise ValueError("classes: expected all labels at the first call of partial_fit, got None")
            self.classes_ = np.unique(np.asarray(classes))
            self._make(len(self.classes_))
        elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise ValueError(f"classes: expected {self.classes_}, as in the first call, got {classes}")
        if not np.isin(labels, self.classes_).all():
            raise ValueError(f"y: expected labels of classes {self.classes_}, got {np.unique(labels)}")
        self._train(images, np.searchsorted(self.classes_, labels), epochs=1)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable label of each sample, (n,)."""
        probabilities = self._output(X)  # first, so that an estimator without classes_ says that it is not fitted
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return the probability of each class of `classes_`, (n, classes)."""
        return self._output(X)

    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Return the logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):  # a probability may be too small for a float
            logarithms: FloatArray = np.log(self._output(X))
        return logarithms

    def _labelled(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, NDArray[Any]]:
        images, y = self._read(X, y, reset=reset)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return images, y


def _image_shape(features: int, given: tuple[int, ...] | None, wanted: Any) -> tuple[int, int]:
    """Return the (height, width) of images.

    Args:
        features: how many numbers a sample has.
        given: the shape of one image if X has images, else None.
        wanted: the parameter `image_shape`.
    """
    shape: tuple[int, int]
    if given is not None and (len(given) == 2 or given[2:] == (1,)):
        shape = given[0], given[1]
    elif given is not None:
        raise ValueError(f"X: expected shape (n, features) or (n, height, width), got (n, {str(given)[1:]}")
    elif wanted is not None:
        shape = _checks.image_shape("image_shape", wanted)
    else:
        side = math.isqrt(features)
        shape = (side, side) if side >= _LEAST_SIDE and side * side == features else (1, features)
    if wanted is not None and shape != tuple(wanted):
        raise ValueError(f"image_shape: expected that of the images, {shape}, got {wanted}")
    if math.prod(shape) != features:
        raise ValueError(f"image_shape: expected height * width = {features}, the number of features, got {wanted}")
    return shape


def _network(network: Any, last: Callable[..., Layer]) -> Callable[..., Any]:
    """Return the function that makes a network."""
    if network is None:
        return functools.partial(_default_network, last)
    if isinstance(network, str):
        network = getattr(models, _checks.one_of("network", network, tuple(models.__all__)))
    if not callable(network):
        raise TypeError(
            f"network: expected None, a name of cnnx.models or a function that returns a Sequential, got {network!r}"
        )
    function: Callable[..., Any] = network
    return function


def _default_network(
    last: Callable[..., Layer], *, dtype: Any, rng: np.random.Generator, image_shape: tuple[int, int], nodes: int
) -> Sequential:
    height, width = image_shape
    if min(image_shape) < _LEAST_SIDE:
        hidden = Dense(height * width, 100, dtype=dtype, rng=rng)
        return Sequential([hidden, ReLU(), last(100, nodes, dtype=dtype, rng=rng)])
    return Sequential(
        [
            Conv3x3(16, 1, padding="same", dtype=dtype, rng=rng),
            MaxPool2(ties="first"),
            ReLU(),
            Conv3x3(32, 16, padding="same", dtype=dtype, rng=rng),
            MaxPool2(ties="first"),
            ReLU(),
            last(height // 4 * (width // 4) * 32, nodes, dtype=dtype, rng=rng),
        ]
    )


def _optimizer(optimizer: Any, learn_rate: float) -> Optimizer:
    """Return a new optimizer."""
    if isinstance(optimizer, str):
        optimizer = _OPTIMIZERS[_checks.one_of("optimizer", optimizer, tuple(_OPTIMIZERS))]
    made = optimizer(learn_rate) if callable(optimizer) else optimizer
    if not isinstance(made, Optimizer) or made is optimizer:
        raise TypeError(f"optimizer: expected 'adam', 'sgd' or a function of the learn rate, got {optimizer!r}")
    return made
