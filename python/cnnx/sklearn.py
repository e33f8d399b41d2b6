"""Networks as scikit-learn's estimators, for pipelines, grid searches and cross-validation.

`CNNClassifier` and `CNNRegressor` are used as scikit-learn's MLPClassifier and MLPRegressor. The module needs the extra
``sklearn``, that is, scikit-learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _sklearn_input, models
from ._checks import FloatArray
from ._extras import missing
from .layers import Dense, Softmax

try:
    from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import column_or_1d, validate_data  # noqa: F401  # the latter since 1.6
except ImportError as error:
    raise missing("cnnx.sklearn", "sklearn", "scikit-learn 1.6 or newer") from error

from ._estimator import Estimator

__all__ = ["CNNClassifier", "CNNRegressor"]


class CNNClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A classifier for images or plain features, used as scikit-learn's MLPClassifier.

    X is (n, features), as scikit-learn has it, or images: (n, height, width) or (n, height, width, channels), in an
    array or a list. A sparse X is made dense. Bytes (uint8) are read as x / 255 - 0.5, and other numbers unchanged, so
    scale them, for example by a StandardScaler in a Pipeline. Labels are integers or strings, in an array or a list.

    Args:
        network: makes the network. None makes two convolutions with 16 and 32 filters, each followed by pooling and
            ReLU, or for plain features a dense layer with 100 nodes and ReLU; a softmax follows. A text is the name of
            a function of `cnnx.models`. A function of one's own is called like those, with `dtype`, `rng`,
            `image_shape` and `nodes` by name, and returns a `Sequential` that ends with a Softmax.
        image_shape: (height, width) or (height, width, channels) of the images. None takes it from X if X has images.
            For (n, features) it is a square if there are 64, 81, 100 or another square number of features, and else
            they are plain features, an image that is one pixel high.
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
        dtype: float32 or float64, of the parameters and the outputs. None for float32 if X has bytes or float32, and
            else float64, which takes longer.
        threads: how many threads share a batch. None for as many as this process has CPUs. The result does not depend
            on it.

    Attributes:
        classes_: the labels, sorted.
        network_: the trained `Sequential`.
        image_shape_: (height, width) or (height, width, channels) of its images.
        n_features_in_: how many features a sample has.
        n_iter_: how many epochs were trained.
        loss_curve_: the mean loss of each epoch's samples, in nats, each before the step on it.
        validation_loss_curve_: the loss on the held-out samples after each epoch; None without early stopping.
    """

    _last = Softmax
    _presets = tuple(models.__all__)
    _loss = "cross_entropy"

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> CNNClassifier:
        """Train a new network.

        Args:
            X: (n, features), or images.
            y: (n,), the label of each sample.
            sample_weight: (n,), at least 0, how much each sample counts, compared with the others.
        """
        images, labels = self._labelled(X, y, reset=True)
        self.classes_, labels = np.unique(labels, return_inverse=True)
        self._make(len(self.classes_))
        self._train(images, labels, sample_weight, is_partial=False)
        return self

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> CNNClassifier:
        """Train for one epoch on some samples, beginning with a new network in the first call.

        Args:
            X: (n, features), or images.
            y: (n,), the label of each sample.
            classes: all labels that will ever come. The first call needs them.
            sample_weight: as in `fit`.
        """
        is_first = not self.__sklearn_is_fitted__()
        images, labels = self._labelled(X, y, reset=is_first)
        known = None if classes is None else np.unique(np.asarray(_sklearn_input.labels("classes", classes)))
        if not is_first:
            if known is not None and not np.array_equal(known, self.classes_):
                raise ValueError(f"classes: expected {self.classes_}, as in the first call, got {known}")
            known = self.classes_
        elif known is None:
            raise ValueError("classes: expected all labels at the first call of partial_fit, got None")
        elif not known.size:
            raise ValueError("classes: expected at least one label, got none")
        if not np.isin(labels, known).all():
            raise ValueError(f"y: expected labels of classes {known}, got {np.unique(labels)}")
        if is_first:
            self.classes_ = known
            self._make(len(known))
        self._train(images, np.searchsorted(self.classes_, labels), sample_weight, is_partial=True)
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
        images, y = self._read(X, _sklearn_input.labels("y", y), reset=reset)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return images, y


class CNNRegressor(RegressorMixin, MultiOutputMixin, Estimator):  # type: ignore[misc]
    """A regressor for images or plain features, used as scikit-learn's MLPRegressor.

    It minimises the mean squared error. Targets are one number a sample, or several. They are used unchanged, so scale
    large ones, for example by scikit-learn's TransformedTargetRegressor.

    X, the parameters and the attributes are those of `CNNClassifier`, with these differences: there is no ``classes_``,
    losses are squared errors, and no function of `cnnx.models` is named, since all of them end with a Softmax. With
    None, a `Dense` ends the network. A function of one's own gets the number of targets as `nodes`.
    """

    _last = Dense
    _presets = ()
    _loss = "mean_squared_error"

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> CNNRegressor:
        """Train a new network.

        Args:
            X: (n, features), or images.
            y: (n,) or (n, targets), the numbers to predict.
            sample_weight: (n,), at least 0, how much each sample counts, compared with the others.
        """
        return self._fit(X, y, sample_weight, is_partial=False)

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> CNNRegressor:
        """Train for one epoch on some samples, beginning with a new network in the first call.

        Args:
            X: (n, features), or images.
            y: (n,) or (n, targets), as many targets in each call.
            sample_weight: as in `fit`.
        """
        return self._fit(X, y, sample_weight, is_partial=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, is_partial: bool) -> CNNRegressor:
        is_new = not is_partial or not self.__sklearn_is_fitted__()
        _sklearn_input.refuse_texts(y)
        images, y = self._read(X, y, reset=is_new, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if is_new:
            self._make(1 if y.ndim == 1 else y.shape[1])
            self._is_flat = y.ndim == 1
        self._train(images, y, sample_weight, is_partial=is_partial)
        return self

    def predict(self, X: ArrayLike) -> FloatArray:
        """Return the predicted targets of each sample, (n,) or (n, targets)."""
        targets = self._output(X)
        return targets[:, 0] if self._is_flat else targets
