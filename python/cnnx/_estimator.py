"""What scikit-learn's estimators share: how they read their data, make a network and train it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from . import _checks, _sklearn_input, models
from ._checks import FloatArray
from ._images import UINT8
from ._losses import LossName
from .augment import Augmentation
from .early_stopping import EarlyStopping
from .layers import Conv3x3, Dense, Layer, MaxPool2, ReLU
from .network import Sequential
from .optimizers import SGD, Adam, Optimizer
from .schedules import Schedule

_OPTIMIZERS: dict[str, Callable[[float], Optimizer]] = {"adam": Adam, "sgd": SGD}
_LEAST_SIDE = 8  # pixels: the sides of the smallest images that are convolved, scikit-learn's own digits


class Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What the classifiers and regressors of `cnnx.sklearn` share, which describe the parameters and attributes."""

    def __init__(
        self,
        network: str | Callable[..., Sequential] | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
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
        dtype: DTypeLike | None = None,
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

    def _read(self, X: Any, y: Any = "no_validation", *, reset: bool, **checks: bool) -> tuple[Any, Any]:
        """Return X as images, uint8 or floats, and y as an array. `checks` are those of scikit-learn's for y."""
        X = _sklearn_input.samples(X)
        if not reset:
            self._refuse_one(getattr(X, "shape", None))
        given = X.shape[1:] if isinstance(X, np.ndarray) and X.ndim > 2 else None
        if given is not None:
            X = X.reshape(len(X), math.prod(given))
        checked = validate_data(self, X, y, reset=reset, accept_sparse="csr", **checks)
        X, y = checked if isinstance(checked, tuple) else (checked, None)
        X = X.toarray() if issparse(X) else X
        if reset:
            self.image_shape_ = _image_shape(X.shape[1], given, self.image_shape)
            found = "float32" if X.dtype in (UINT8, np.float32) else "float64"
            self._dtype = _checks.float_dtype(found if self.dtype is None else self.dtype)
        elif given is not None and _checks.image_shape("X", given) != self.image_shape_:
            raise ValueError(f"X: expected images of shape {self.image_shape_}, got {given}")
        X = X if X.dtype == UINT8 else X.astype(self._dtype, copy=False)
        return X.reshape(len(X), *self.image_shape_), y

    def _refuse_one(self, shape: Any) -> None:
        """Refuse an image without the first axis, which scikit-learn would take for `height` samples."""
        if shape == self.image_shape_ and shape[0] > 1:
            raise ValueError(f"X: expected images (n, {str(shape)[1:]}, got one image {shape} (X[np.newaxis] helps)")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_iter_")  # which the first training sets at its end; a refused one leaves a network

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _make(self, nodes: int) -> None:
        """Make a network and what trains it. The estimator is fitted only after its first training."""
        self.__dict__.pop("n_iter_", None)
        random = check_random_state(self.random_state)
        self._rng = np.random.default_rng(random.randint(2**31 - 1))
        self.network_ = _network(self.network, self._last, self._presets)(
            dtype=self._dtype, rng=self._rng, image_shape=self.image_shape_, nodes=nodes
        )
        if not isinstance(self.network_, Sequential):
            raise TypeError(f"network: expected a function that returns a Sequential, got {self.network_!r} from it")
        self.network_.image_shape = self.image_shape_
        self.optimizer_ = _optimizer(self.optimizer, self.learn_rate)
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] | None = [] if self.early_stopping else None

    def _train(self, images: Any, targets: Any, weights: Any, *, is_partial: bool) -> None:
        """Train the network: for `epochs`, or for a single one if this is a part of the samples."""
        if weights is not None:
            _sklearn_input.refuse_mask("sample_weight", weights)
            weights = _check_sample_weight(weights, images, ensure_non_negative=True)
            if not weights.any():
                raise ValueError("sample_weight: expected some weights above zero, got none")
            weights = weights / weights.mean()  # so that a weight of 2 is as good as a sample that comes twice
        validation = stopping = None
        if self.early_stopping and not is_partial:
            train, held_out = train_test_split(
                np.arange(len(images)),
                test_size=self.validation_fraction,
                stratify=targets if self._loss == "cross_entropy" else None,
                random_state=int(self._rng.integers(2**31)),
            )
            validation, stopping = (images[held_out], targets[held_out]), EarlyStopping(self.n_iter_no_change)
            images, targets, weights = images[train], targets[train], None if weights is None else weights[train]
        history = self.network_.fit(
            images,
            targets,
            epochs=1 if is_partial else self.epochs,
            loss=self._loss,
            sample_weight=weights,
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

    _last: Callable[..., Layer]  # of the network that None makes
    _presets: tuple[str, ...]  # which functions of cnnx.models may make it
    _loss: LossName


def _image_shape(features: int, given: tuple[int, ...] | None, wanted: Any) -> tuple[int, ...]:
    """Return the shape of one image, as a network has it.

    Args:
        features: how many numbers a sample has.
        given: the shape of one image if X has images, else None.
        wanted: the parameter `image_shape`.
    """
    side = math.isqrt(features)
    wanted = None if wanted is None else _checks.image_shape("image_shape", wanted)
    if given is not None and len(given) > 3:
        raise ValueError(f"X: expected (n, features) or images (n, height, width, channels), got (n, {str(given)[1:]}")
    if given is not None:
        shape = _checks.image_shape("X", given)
    elif wanted is not None:
        shape = wanted
    else:
        shape = (side, side) if side >= _LEAST_SIDE and side * side == features else (1, features)
    if wanted is not None and shape != wanted:
        raise ValueError(f"image_shape: expected that of the images, {shape}, got {wanted}")
    if math.prod(shape) != features:
        raise ValueError(f"image_shape: expected {features} values, the number of features, got {wanted}")
    return shape


def _network(network: Any, last: Callable[..., Layer], presets: tuple[str, ...]) -> Callable[..., Any]:
    """Return the function that makes a network."""
    if network is None:
        return functools.partial(_default_network, last)
    if isinstance(network, str) and presets:
        network = getattr(models, _checks.one_of("network", network, presets))
    if not callable(network):
        names = "a name of cnnx.models " if presets else ""
        raise TypeError(f"network: expected None, {names}or a function that returns a Sequential, got {network!r}")
    function: Callable[..., Any] = network
    return function


def _default_network(
    last: Callable[..., Layer], *, dtype: Any, rng: np.random.Generator, image_shape: tuple[int, ...], nodes: int
) -> Sequential:
    height, width = image_shape[:2]
    if min(height, width) < _LEAST_SIDE:
        hidden = Dense(math.prod(image_shape), 100, dtype=dtype, rng=rng)
        return Sequential([hidden, ReLU(), last(100, nodes, dtype=dtype, rng=rng)])
    return Sequential(
        [
            Conv3x3(16, *image_shape[2:] or (1,), padding="same", dtype=dtype, rng=rng),
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
