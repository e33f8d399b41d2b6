"""Networks as scikit-learn's estimators, for pipelines, grid searches and cross-validation.

`CNNClassifier` is used as scikit-learn's MLPClassifier. The module needs the extra ``sklearn``, that is, scikit-learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import FloatArray
from ._extras import missing
from .layers import Softmax

try:
    from sklearn.base import ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import column_or_1d, validate_data  # noqa: F401  # the latter since 1.6
except ImportError as error:
    raise missing("cnnx.sklearn", "sklearn", "scikit-learn 1.6 or newer") from error

from ._estimator import Estimator

__all__ = ["CNNClassifier"]


class CNNClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A classifier for images or plain features, used as scikit-learn's MLPClassifier.

    X is (n, features), as scikit-learn has it, or images: (n, height, width) or (n, height, width, channels). Bytes
    (uint8) are read as x / 255 - 0.5, and other numbers unchanged, so scale them, for example by a StandardScaler in a
    Pipeline. Labels are integers or strings, in an array or a list.

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
        dtype: float32 or float64, of the parameters and the probabilities.
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

    def fit(self, X: ArrayLike, y: ArrayLike) -> CNNClassifier:
        """Train a new network.

        Args:
            X: (n, features), or images.
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
            X: (n, features), or images.
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
