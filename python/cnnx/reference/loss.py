"""The loss: how surprised the network is by the right answer, or how far its outputs are from theirs.

In the article: Part 1, section 5.2, "Cross-Entropy Loss"; its gradient is in Part 2, section 3, "Backprop: Softmax".
Soft labels, and the mean squared error for regression, are not in it.
"""

import numpy as np

from .notation import FloatArray

__all__ = ["cross_entropy", "mean_squared_error", "smoothed", "soft_cross_entropy"]


def cross_entropy(out: FloatArray, label: int) -> tuple[float, FloatArray]:
    """Return the loss of one sample in nats, and its gradient `d_L_d_out` (nodes,).

    `loss = −ln p` with `p = out[label]`
    `d_L_d_out[label] = −1 / p`, and every other entry is zero

    A p below the dtype's smallest normal number counts as that number. So both results are finite even if a probability
    underflows to zero.

    Args:
        out: (nodes,), the probabilities.
        label: the right class, from 0 to nodes − 1.
    """
    p = np.maximum(out[label], np.finfo(out.dtype).smallest_normal)
    d_L_d_out = np.zeros_like(out)
    d_L_d_out[label] = -1 / p
    return float(-np.log(p)), d_L_d_out


def soft_cross_entropy(out: FloatArray, target: FloatArray) -> tuple[float, FloatArray]:
    """Return the loss of one sample whose class is known only by probabilities, and its gradient (nodes,).

    `loss = −Σ_k target[k] · ln out[k]`
    `d_L_d_out[k] = −target[k] / out[k]`

    A target with a single 1 gives `cross_entropy`. As there, no probability counts as less than the dtype's smallest
    normal number. `out` and `target` are (nodes,).
    """
    p = np.maximum(out, np.finfo(out.dtype).smallest_normal)
    return float(-np.sum(target * np.log(p))), np.asarray(-target / p)


def smoothed(target: FloatArray, smoothing: float) -> FloatArray:
    """Return probabilities of the classes (nodes,) that are a little more even than `target` (nodes,).

    `(1 − smoothing) · target[k] + smoothing / nodes`

    A network that trains on them does not grow too sure of its answers. Source: Szegedy et al., *Rethinking the
    Inception Architecture for Computer Vision* (2016), section 7.
    """
    return np.asarray((1 - smoothing) * target + smoothing / target.size, target.dtype)


def mean_squared_error(out: FloatArray, target: FloatArray) -> tuple[float, FloatArray]:
    """Return the mean of the squared differences of one sample's outputs, and its gradient (nodes,).

    `loss = 1 / nodes · Σ_k (out[k] − target[k])²`
    `d_L_d_out[k] = 2 / nodes · (out[k] − target[k])`

    `out` and `target` are (nodes,).
    """
    difference = out - target
    return float(np.mean(difference**2)), np.asarray(2 / out.size * difference, out.dtype)
