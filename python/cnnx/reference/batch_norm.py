"""Batch normalisation: every channel gets a mean and a standard deviation that are learned.

It is not in the article. Source: Ioffe and Szegedy, *Batch Normalization: Accelerating Deep Network Training by
Reducing Internal Covariate Shift* (2015), algorithms 1 and 2.

A channel's mean and variance are those of the batch in training. Elsewhere they are running means of these. So there is
a forward and a backward pass for one sample, with statistics that are constants, and another for a batch, of which each
sample has a part in every other sample's output.
"""

import numpy as np
import numpy.typing as npt

from .notation import FloatArray

__all__ = [
    "BatchNorm",
    "batch_norm_backward",
    "batch_norm_batch_backward",
    "batch_norm_batch_forward",
    "batch_norm_forward",
    "running_statistics",
]


def batch_norm_forward(
    input: FloatArray, scale: FloatArray, offset: FloatArray, mean: FloatArray, variance: FloatArray, eps: float
) -> FloatArray:
    """Return `scale · (input − mean) / √(variance + eps) + offset`, which is `factor · input + shift`.

    `input` is (height, width, channels) or (channels,), or a batch of these; everything else is (channels,).
    """
    factor = scale / np.sqrt(variance + eps)
    output: FloatArray = (input * factor + (offset - mean * factor)).astype(input.dtype)
    return output


def batch_norm_backward(
    d_L_d_out: FloatArray, input: FloatArray, scale: FloatArray, mean: FloatArray, variance: FloatArray, eps: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `(d_L_d_input, d_L_d_scale, d_L_d_offset)` where mean and variance are constants.

    `d_L_d_scale[c] = Σ d_L_d_out · (input − mean) / √(variance + eps)`
    `d_L_d_offset[c] = Σ d_L_d_out`
    `d_L_d_input = d_L_d_out · scale / √(variance + eps)`

    The sums are over all axes but the last, which is that of the channels.
    """
    inverse = 1 / np.sqrt(variance + eps)
    d_L_d_scale = _sum(d_L_d_out * (input - mean)) * inverse
    return d_L_d_out * (scale * inverse), d_L_d_scale.astype(input.dtype), _sum(d_L_d_out)


def batch_norm_batch_forward(
    inputs: FloatArray, scale: FloatArray, offset: FloatArray, eps: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `(outputs, mean, variance)` of a batch (n, height, width, channels) or (n, channels).

    Mean and variance, both (channels,), are those of the batch. The variance divides by the number of values.
    """
    axes = tuple(range(inputs.ndim - 1))
    mean, variance = inputs.mean(axis=axes), inputs.var(axis=axes)
    return batch_norm_forward(inputs, scale, offset, mean, variance, eps), mean, variance


def batch_norm_batch_backward(
    d_L_d_outs: FloatArray, inputs: FloatArray, scale: FloatArray, eps: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `(d_L_d_inputs, d_L_d_scale, d_L_d_offset)` of a batch.

    An input also moves the mean and the variance. With `x̂ = (input − mean) / √(variance + eps)` and the number `n`
    of a channel's values in the batch,

    `d_L_d_input = scale / √(variance + eps) · (d_L_d_out − d_L_d_offset / n − x̂ · d_L_d_scale / n)`
    """
    axes = tuple(range(inputs.ndim - 1))
    mean, variance = inputs.mean(axis=axes), inputs.var(axis=axes)
    through, d_L_d_scale, d_L_d_offset = batch_norm_backward(d_L_d_outs, inputs, scale, mean, variance, eps)
    inverse, count = 1 / np.sqrt(variance + eps), inputs[..., 0].size
    shares = scale * inverse * (d_L_d_offset + (inputs - mean) * inverse * d_L_d_scale) / count
    return (through - shares).astype(inputs.dtype), d_L_d_scale, d_L_d_offset


def running_statistics(
    running_mean: FloatArray,
    running_var: FloatArray,
    mean: FloatArray,
    variance: FloatArray,
    count: int,
    momentum: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the running mean and variance after a batch of `count` values a channel.

    `running = momentum · running + (1 − momentum) · batch`

    The running variance follows the unbiased variance `variance · count / (count − 1)`.
    """
    unbiased = variance * (count / (count - 1))
    return (
        momentum * running_mean + (1 - momentum) * mean,
        momentum * running_var + (1 - momentum) * unbiased,
    )


def _sum(values: FloatArray) -> FloatArray:
    """Add over all axes but the last."""
    total: FloatArray = values.sum(axis=tuple(range(values.ndim - 1)))
    return total


class BatchNorm:
    """A layer that normalises each channel: (height, width, channels) or (channels,) → the same shape.

    Its `scale` (channels,) is ones at first and its `offset` zeros. It uses the running statistics, `running_mean`
    (zeros at first) and `running_var` (ones).
    """

    last_input: FloatArray

    def __init__(
        self, channels: int, momentum: float = 0.9, eps: float = 1e-5, *, dtype: npt.DTypeLike = np.float64
    ) -> None:
        self.momentum, self.eps = momentum, eps
        self.scale: FloatArray = np.ones(channels, dtype)
        self.offset: FloatArray = np.zeros(channels, dtype)
        self.running_mean: FloatArray = np.zeros(channels, dtype)
        self.running_var: FloatArray = np.ones(channels, dtype)

    def forward(self, input: FloatArray) -> FloatArray:
        """Return the normalised input."""
        self.last_input = input
        return batch_norm_forward(input, self.scale, self.offset, self.running_mean, self.running_var, self.eps)

    def backprop(self, d_L_d_out: FloatArray, learn_rate: float) -> FloatArray:
        """Take a step of gradient descent, and return `d_L_d_input`, computed with the scale before the step."""
        d_L_d_input, d_L_d_scale, d_L_d_offset = batch_norm_backward(
            d_L_d_out, self.last_input, self.scale, self.running_mean, self.running_var, self.eps
        )
        self.scale -= learn_rate * d_L_d_scale
        self.offset -= learn_rate * d_L_d_offset
        return d_L_d_input
