"""Batch normalisation.

Its twin in numpy is in `cnnx/reference/batch_norm.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _checks, _core
from .._checks import FloatArray, RealArray
from .base import Layer, remembered

__all__ = ["BatchNorm"]


class BatchNorm(Layer):
    """Batch normalisation: each channel gets the mean `offset` and the standard deviation `scale`.

    ``output = scale * (input - mean) / sqrt(variance + eps) + offset``

    In `Sequential.fit` and `Sequential.gradients`, mean and variance are those of the channel in the whole batch: over
    all images, and after a convolution over all pixels. `fit` moves the running statistics towards those of each batch:
    ``running = momentum * running + (1 - momentum) * batch``. The batch's variance divides by n, the number of values;
    `running_var` follows the unbiased one, which divides by n - 1. So do PyTorch (whose momentum is 1 - `momentum`) and
    Keras. A batch needs more than one value for each channel: after a dense layer, two images or more.

    Everywhere else the running statistics are used: in `Sequential.predict` and `evaluate`, and in the layer's own
    `forward` and `backprop`, for which they are constants. A network computes a BatchNorm straight after a `Conv3x3`
    together with it when it predicts, so that it costs nothing there.

    A layer that is frozen by `trainable = False` uses its running statistics in training, too, and leaves them as they
    are.

    It is not in the article, but from Ioffe and Szegedy, 2015, "Batch Normalization: Accelerating Deep Network Training
    by Reducing Internal Covariate Shift". A network may have the layer at one position only.

    Args:
        channels: of the input, at least 1: the filters of the convolution before it, or the nodes of the dense layer.
        momentum: the share of the running statistics that stays in each step, from 0 to less than 1.
        eps: is added to the variance and keeps the quotient finite; above 0.
        dtype: float64 or float32, of all arrays and of every result.

    Attributes:
        scale: (channels,), trained; ones at first. Assigned like the arrays of `Conv3x3`.
        offset: (channels,), trained; zeros at first.
        running_mean: (channels,), zeros at first. No optimizer changes it.
        running_var: (channels,), ones at first. No optimizer changes it.
        momentum: as given; it may be changed.
        eps: as given; it may be changed.
        last_input: the input of the last forward pass.
    """

    kind = "BatchNorm"

    def __init__(
        self, channels: int, momentum: float = 0.9, eps: float = 1e-5, *, dtype: DTypeLike = np.float64
    ) -> None:
        self._dtype = _checks.float_dtype(dtype)
        count = _checks.positive_integer("channels", channels)
        self.momentum = momentum
        self.eps = eps
        self._scale: FloatArray = np.ones(count, self._dtype)
        self._offset: FloatArray = np.zeros(count, self._dtype)
        self._running_mean: FloatArray = np.zeros(count, self._dtype)
        self._running_var: FloatArray = np.ones(count, self._dtype)

    @property
    def channels(self) -> int:
        """How many channels the input has."""
        return len(self._scale)

    @property
    def momentum(self) -> float:
        """The share of the running statistics that stays in each step, from 0 to less than 1."""
        return self._momentum

    @momentum.setter
    def momentum(self, value: float) -> None:
        self._momentum = _checks.share("momentum", value)
        self._core = None

    @property
    def eps(self) -> float:
        """What is added to the variance, above 0."""
        return self._eps

    @eps.setter
    def eps(self, value: float) -> None:
        self._eps = _checks.number("eps", value, "a finite number above 0", lambda number: 0 < number < math.inf)
        self._core = None

    @property
    def scale(self) -> FloatArray:
        """(channels,) in the layer's dtype."""
        return self._scale

    @scale.setter
    def scale(self, value: FloatArray) -> None:
        self._scale = self._assigned("scale", value, self._scale, apart_from=self._offset)

    @property
    def offset(self) -> FloatArray:
        """(channels,) in the layer's dtype."""
        return self._offset

    @offset.setter
    def offset(self, value: FloatArray) -> None:
        self._offset = self._assigned("offset", value, self._offset, apart_from=self._scale)

    @property
    def running_mean(self) -> FloatArray:
        """(channels,) in the layer's dtype."""
        return self._running_mean

    @running_mean.setter
    def running_mean(self, value: FloatArray) -> None:
        self._running_mean = self._assigned("running_mean", value, self._running_mean, apart_from=self._running_var)

    @property
    def running_var(self) -> FloatArray:
        """(channels,) in the layer's dtype."""
        return self._running_var

    @running_var.setter
    def running_var(self, value: FloatArray) -> None:
        self._running_var = self._assigned("running_var", value, self._running_var, apart_from=self._running_mean)

    def settings(self) -> dict[str, Any]:
        return {"channels": self.channels, "momentum": self.momentum, "eps": self.eps, "dtype": str(self._dtype)}

    def parameters(self) -> dict[str, FloatArray]:
        return {"scale": self._scale, "offset": self._offset}

    def buffers(self) -> dict[str, FloatArray]:
        return {"running_mean": self._running_mean, "running_var": self._running_var}

    def compiled(self) -> _core.BatchNorm:
        return _core.BatchNorm(
            scale=self._scale,
            offset=self._offset,
            running_mean=self._running_mean,
            running_var=self._running_var,
            momentum=self._momentum,
            eps=self._eps,
            trainable=self._trainable,
        )

    def forward(self, input: RealArray) -> FloatArray:
        """Return the output for one sample, normalised by the running statistics.

        Args:
            input: (height, width, channels) or (channels,).
        """
        values = _checks.as_numbers("input", input, self._dtype)
        if values.ndim not in (1, 3) or values.shape[-1] != self.channels:
            raise ValueError(
                f"input: expected shape (height, width, {self.channels}) or ({self.channels},), got {values.shape}"
            )
        output: FloatArray = self.core.forward(values)
        self._seen.input = values
        return output

    def backprop(self, d_L_d_out: RealArray, learn_rate: float) -> FloatArray:
        """Take a step of gradient descent on `scale` and `offset`, and return the gradient for the input.

        The running statistics are constants and stay as they are. With ``inverse = 1 / sqrt(running_var + eps)``

        ``d_L_d_scale = sum of d_L_d_out * (last_input - running_mean) * inverse``
        ``d_L_d_offset = sum of d_L_d_out``
        ``d_L_d_input = d_L_d_out * scale * inverse``

        where the sums are over height and width.

        Args:
            d_L_d_out: the gradient of the loss for the output, in the output's shape.
            learn_rate: how far the step goes, finite and at least 0.

        Returns:
            d_L_d_input in the shape of the last input, computed with the scale before the step.
        """
        rate = _checks.learn_rate(learn_rate)
        values = _checks.as_numbers("last_input", remembered(self._seen.input), self._dtype)
        gradient = _checks.as_shaped("d_L_d_out", d_L_d_out, self._dtype, values.shape)
        d_L_d_input: FloatArray = self.core.backprop(gradient, values, rate)
        return d_L_d_input
