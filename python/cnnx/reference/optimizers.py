"""What training adds to the layers, in plain numpy: dropout, the optimizers' updates, moved images."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .conv3x3 import FloatArray

__all__ = ["adam_update", "affine", "dropout", "sgd_update"]

WholeNumbers: TypeAlias = npt.NDArray[np.integer[Any]]


def dropout(input: FloatArray, rate: float, key: int) -> FloatArray:
    """Set a random share of the values to zero and enlarge the others, so that their expected sum stays.

    `output[i] = input[i] / (1 − rate)` with probability `1 − rate`, else 0. Which values survive depends on `key`, a
    whole number of 64 bits, and on their places alone, so `dropout(d_L_d_out, rate, key)` is the backward pass.
    `input` and the result have the same shape, `rate` is at least 0 and below 1.

    Source: Srivastava et al., *Dropout: A Simple Way to Prevent Neural Networks from Overfitting* (2014), in the
    inverted form, which leaves nothing to do when a trained network is used.
    """
    rate = min(input.dtype.type(rate), np.nextafter(input.dtype.type(1), input.dtype.type(0)))
    numbers = _random_numbers(input.size, key).reshape(input.shape)
    return np.where(numbers < int(float(rate) * 2**32), 0, 1 / (1 - rate) * input)


def _random_numbers(count: int, key: int) -> WholeNumbers:
    """Return (count,) numbers from 0 to 2³² − 1, each a hash of its place and of both halves of `key`."""
    low, high = np.uint32(key % 2**32), np.uint32(key >> 32)
    return _mixed(_mixed(np.arange(count, dtype=np.uint32) + low) ^ high)


def _mixed(x: WholeNumbers) -> WholeNumbers:
    """Scatter every bit of 32 over all the others; constants by C. Wellons' search for low bias (lowbias32)."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def sgd_update(
    parameters: FloatArray,
    velocity: FloatArray,
    gradient: FloatArray,
    learn_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """Take one step of stochastic gradient descent: `parameters` and `velocity` change in place.

    `slope = gradient + weight_decay · parameters`
    `velocity ← momentum · velocity + slope`
    `parameters ← parameters − learn_rate · velocity`

    With `nesterov` the step looks ahead: `momentum · velocity + slope` replaces `velocity` in the last line.
    All three arrays have one shape; `velocity` starts as zeros.

    Source: Sutskever et al., *On the importance of initialization and momentum in deep learning* (2013), in the
    form that PyTorch has.
    """
    slope = gradient + weight_decay * parameters
    velocity[...] = momentum * velocity + slope
    parameters -= learn_rate * (momentum * velocity + slope if nesterov else velocity)


def adam_update(
    parameters: FloatArray,
    first_moment: FloatArray,
    second_moment: FloatArray,
    gradient: FloatArray,
    learn_rate: float,
    step: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """Take step number `step`, from 1, of Adam: `parameters` and both moments change in place.

    `first_moment ← beta1 · first_moment + (1 − beta1) · gradient`
    `second_moment ← beta2 · second_moment + (1 − beta2) · gradient²`
    `mean = first_moment / (1 − beta1^step)`, `variance = second_moment / (1 − beta2^step)`
    `parameters ← (1 − learn_rate · weight_decay) · parameters − learn_rate · mean / (√variance + epsilon)`

    The divisions make up for moments that start as zeros. All four arrays have one shape.

    Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization* (2015), with the weight decay of Loshchilov
    and Hutter, *Decoupled Weight Decay Regularization* (2019).
    """
    first_moment[...] = beta1 * first_moment + (1 - beta1) * gradient
    second_moment[...] = beta2 * second_moment + (1 - beta2) * gradient**2
    mean, variance = first_moment / (1 - beta1**step), second_moment / (1 - beta2**step)
    parameters *= 1 - learn_rate * weight_decay
    parameters -= learn_rate * mean / (np.sqrt(variance) + epsilon)


def affine(image: FloatArray, matrix: FloatArray, background: float) -> FloatArray:
    """Move, turn or resize an image: every pixel of the result is looked up where `matrix` says.

    `output[y, x] = image at (v, u)`, where `(v, u) = matrix @ (y, x, 1)`

    Between the pixels the image is bilinear: with v = i + a and u = j + b, i and j whole and a and b in [0, 1),

    `upper = image[i, j] + b · (image[i, j + 1] − image[i, j])`, `lower` the same with i + 1 for i
    `image at (v, u) = upper + a · (lower − upper)`

    where every pixel outside the image counts as `background`. In this form equal neighbours give their own value to
    the bit, so a blank area stays blank. `image` and the result are (h, w), `matrix` is (2, 3).
    """
    height, width = image.shape
    v, u = np.tensordot(matrix[:, :2], np.indices(image.shape), axes=1) + matrix[:, 2, np.newaxis, np.newaxis]
    v, u = np.clip(v, -1, height), np.clip(u, -1, width)  # what lies further out is background all the same
    i, j = np.floor(v).astype(np.intp), np.floor(u).astype(np.intp)
    framed = np.pad(image, 2, constant_values=background)

    def row(below: int) -> FloatArray:
        left, right = (framed[2 + i + below, 2 + j + beside] for beside in (0, 1))
        return np.asarray(left + (u - j) * (right - left))

    upper, lower = row(0), row(1)
    return np.asarray(upper + (v - i) * (lower - upper), image.dtype)
