"""What `Sequential` minimises: losses with their targets, their gradients for the outputs, and the samples' weights.

The core computes the named losses itself. Each of them is also here in numpy, for networks that step in Python. Their
twins for one sample are in `cnnx/reference/loss.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core, _stack
from ._checks import FloatArray
from .layers import Layer

LossFunction: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], "tuple[NDArray[Any], NDArray[Any]]"]
"""A loss of one's own: outputs (n, nodes), targets (n, ...) -> losses (n,), gradients for the outputs (n, nodes)."""

LossName: TypeAlias = Literal["cross_entropy", "mean_squared_error"]

_SUM_TOLERANCE = 1e-3  # how far the sum of a row of probabilities may be from 1


class Loss:
    """A loss. `of` and `compiled` are two ways to compute it, with equal results up to rounding.

    Each loss has a `targets`, `of` and `compiled` of its own, so here they raise NotImplementedError.

    Attributes:
        has_classes: whether the targets are classes, so that a sample is recognised or not.
        is_of_samples: whether each sample's loss depends on that sample alone.
    """

    has_classes = False
    is_of_samples = True

    def check_end(self, layers: Sequence[Layer]) -> None:
        """Refuse layers whose outputs the loss cannot take."""

    def targets(self, labels: Any, count: int, nodes: int, dtype: np.dtype[Any]) -> Any:
        """Return what the caller gave as `labels`, checked, with one entry for each of `count` images."""
        raise NotImplementedError

    def of(self, outputs: FloatArray, targets: Any) -> tuple[NDArray[np.float64], FloatArray]:
        """Return the losses (n,), and their gradients for the outputs (n, nodes), of outputs (n, nodes)."""
        raise NotImplementedError

    def compiled(self, targets: Any, weights: NDArray[np.float64] | None) -> Any:
        """Return the core's loss; None if the core cannot compute it."""
        raise NotImplementedError


class CrossEntropy(Loss):
    """The cross-entropy of probabilities, for labels or for rows of probabilities.

    ``loss = -sum over k of t[k] * ln(p[k])``, where t is a row, or 1 at the label and 0 elsewhere
    ``d_loss_d_p[k] = -t[k] / p[k]``

    Label smoothing s puts ``(1 - s) * t[k] + s / nodes`` in place of t[k] (Szegedy et al., 2016, "Rethinking the
    Inception Architecture for Computer Vision", section 7).
    """

    has_classes = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __str__(self) -> str:
        smoothing = f" with label_smoothing={self.label_smoothing:g}" if self.label_smoothing else ""
        return f"cross_entropy{smoothing}"

    def check_end(self, layers: Sequence[Layer]) -> None:
        if not _stack.ends_in_softmax(layers):
            got = type(layers[-1]).__name__ if layers else "no layers"
            raise ValueError(
                f"layers: expected Softmax at the end, whose probabilities the cross-entropy needs, got {got} "
                "(loss='mean_squared_error' takes every output)"
            )

    def targets(self, labels: Any, count: int, nodes: int, dtype: np.dtype[Any]) -> Any:
        are_rows = isinstance(labels, np.ndarray) and labels.ndim == 2 and labels.dtype.kind in "fiu"
        found = _probabilities(labels, count, nodes, dtype) if are_rows else _checks.labels(labels, count, nodes)
        if not self.label_smoothing:
            return found
        rows = found if are_rows else np.eye(nodes, dtype=dtype)[found]
        return ((1 - self.label_smoothing) * rows + self.label_smoothing / nodes).astype(dtype)

    def of(self, outputs: FloatArray, targets: Any) -> tuple[NDArray[np.float64], FloatArray]:
        rows = targets if targets.ndim == 2 else np.eye(outputs.shape[1], dtype=outputs.dtype)[targets]
        p = np.maximum(outputs, np.finfo(outputs.dtype).tiny)
        return -np.sum(rows * np.log(p), axis=1, dtype=np.float64), -rows / p

    def compiled(self, targets: Any, weights: NDArray[np.float64] | None) -> Any:
        return _core.CrossEntropy(targets=targets, weights=weights)


class MeanSquaredError(Loss):
    """The mean of the squared differences between outputs y and targets t.

    ``loss = 1 / nodes * sum over k of (y[k] - t[k])**2``
    ``d_loss_d_y[k] = 2 / nodes * (y[k] - t[k])``
    """

    def __str__(self) -> str:
        return "mean_squared_error"

    def targets(self, labels: Any, count: int, nodes: int, dtype: np.dtype[Any]) -> Any:
        rows = _numbers(labels, dtype)
        if nodes == 1 and rows.shape == (count,):
            rows = rows.reshape(count, 1)
        if rows.shape != (count, nodes):
            other = f" or ({count},)" if nodes == 1 else ""
            help = f" (one-hot rows are np.eye({nodes})[labels])" if rows.shape == (count,) else ""
            raise ValueError(
                f"labels: expected shape ({count}, {nodes}){other}, a row of targets for each image, got {labels.shape}"
                f"{help}"
            )
        _refuse_non_finite(rows)
        return rows

    def of(self, outputs: FloatArray, targets: Any) -> tuple[NDArray[np.float64], FloatArray]:
        differences = outputs - targets
        factor = outputs.dtype.type(2) / outputs.dtype.type(outputs.shape[1])
        return np.mean(np.square(differences, dtype=np.float64), axis=1), factor * differences

    def compiled(self, targets: Any, weights: NDArray[np.float64] | None) -> Any:
        return _core.MeanSquaredError(rows=targets, weights=weights)


class OwnLoss(Loss):
    """A loss that the caller computes, in Python.

    Args:
        function: takes the outputs (n, nodes) and the targets (n, ...) of a batch, and returns the losses (n,) and the
            gradients for the outputs (n, nodes).
    """

    is_of_samples = False

    def __init__(self, function: LossFunction) -> None:
        self._function = function

    def __str__(self) -> str:
        return f"the function {getattr(self._function, '__qualname__', type(self._function).__name__)}"

    def targets(self, labels: Any, count: int, *_: Any) -> Any:
        if not isinstance(labels, np.ndarray):
            raise TypeError(f"labels: expected a numpy array, got {type(labels).__name__}")
        if labels.shape[:1] != (count,):
            raise ValueError(f"labels: expected shape ({count}, ...), an entry for each image, got {labels.shape}")
        return labels

    def compiled(self, *_: Any) -> None:
        return None

    def of(self, outputs: FloatArray, targets: Any) -> tuple[NDArray[np.float64], FloatArray]:
        returned: Any = self._function(outputs, targets)
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            raise TypeError(f"loss: expected the function to return losses and gradients, got {returned!r:.80}")
        losses = _checks.as_shaped("loss: losses", returned[0], np.dtype(np.float64), outputs.shape[:1])
        gradients = _checks.as_shaped("loss: gradients", returned[1], outputs.dtype, outputs.shape)
        for name, values in (("losses", losses), ("gradients", gradients)):
            if not np.isfinite(values).all():
                sample = int(np.argwhere(~np.isfinite(values))[0, 0])
                raise FloatingPointError(
                    f"loss: expected finite {name}, got {values[sample]} for sample {sample} of {len(values)}"
                )
        return losses, gradients


def chosen(loss: Any, label_smoothing: Any = 0.0) -> Loss:
    """Return the loss that the caller of `fit` means."""
    if isinstance(loss, Loss):
        return loss
    smoothing = _checks.share("label_smoothing", label_smoothing)
    if isinstance(loss, str) and loss == "cross_entropy":
        return CrossEntropy(smoothing)
    if smoothing:
        raise ValueError(f"label_smoothing: expected 0 for a loss other than 'cross_entropy', got {label_smoothing!r}")
    if isinstance(loss, str) and loss == "mean_squared_error":
        return MeanSquaredError()
    if callable(loss):
        return OwnLoss(loss)
    raise (ValueError if isinstance(loss, str) else TypeError)(
        f"loss: expected 'cross_entropy', 'mean_squared_error' or a function, got {loss!r}"
    )


def sample_weights(
    sample_weight: Any, class_weight: Any, labels: Any, count: int, nodes: int
) -> NDArray[np.float64] | None:
    """Return what the samples' losses are multiplied by (count,); None if that is 1.

    Args:
        sample_weight: a weight for each sample, or None.
        class_weight: a weight for each class, as a dict or as an array (nodes,), or None. A class that the dict does
            not have has the weight 1.
        labels: as the caller gave them, and already checked.
        count: how many samples there are.
        nodes: how many classes there are.
    """
    weights = None
    if sample_weight is not None:
        weights = _weights("sample_weight", sample_weight, count)
    if class_weight is not None:
        if not (isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu"):
            raise ValueError("class_weight: expected integer labels (n,) beside it, got others (use sample_weight)")
        of_classes = _class_weights(class_weight, nodes)[labels]
        weights = of_classes if weights is None else weights * of_classes
    return weights


def _class_weights(given: Any, nodes: int) -> NDArray[np.float64]:
    if not isinstance(given, dict):
        return _weights("class_weight", given, nodes)
    weights = np.ones(nodes)
    for key, value in given.items():
        index = _checks.integer("class_weight", key)
        if not 0 <= index < nodes:
            raise ValueError(f"class_weight: expected classes from 0 to {nodes - 1}, got {index}")
        weights[index] = _checks.not_negative(f"class_weight[{index}]", value)
    return weights


def _weights(name: str, given: Any, count: int) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = _checks.as_shaped(name, given, np.dtype(np.float64), (count,))
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        at = int(np.argmax(bad))
        raise ValueError(f"{name}: expected finite numbers of at least 0, got {weights[at]} at index {at}")
    return weights


def _probabilities(labels: Any, count: int, nodes: int, dtype: np.dtype[Any]) -> Any:
    """Return rows of probabilities (count, nodes)."""
    rows = _numbers(labels, dtype)
    if rows.shape != (count, nodes):
        raise ValueError(
            f"labels: expected shape ({count},), one label an image, or rows of probabilities ({count}, {nodes}), "
            f"got {rows.shape}"
        )
    _refuse_non_finite(rows)
    bad = (rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1, dtype=np.float64) - 1) > _SUM_TOLERANCE)
    if bad.any():
        at = int(np.argmax(bad))
        raise ValueError(
            f"labels: expected rows of probabilities, at least 0 and with the sum 1, got {labels[at]} in row {at}"
        )
    return rows


def _numbers(labels: Any, dtype: np.dtype[Any]) -> Any:
    with np.errstate(over="ignore"):  # what is too large is refused as not finite
        return _checks.as_numbers("labels", labels, dtype)


def _refuse_non_finite(rows: Any) -> None:
    finite = np.isfinite(rows)
    if not finite.all():
        row, node = np.argwhere(~finite)[0].tolist()
        raise ValueError(f"labels: expected finite numbers, got {rows[row, node]} at [{row}, {node}]")
