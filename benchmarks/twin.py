"""The first losses that a network should have in training, computed by `cnnx.reference` in float64."""

from typing import Any

import numpy as np
from problem import ByteArray, FloatArray

import cnnx
from cnnx import reference

# The reference's layers take steps, but a batch and an optimizer want gradients. A step at this learn rate hides the
# parameter that it begins from: what it moved, divided by the rate, is the gradient to rounding.
HUGE = 2.0**40


class Twin:
    """A network's layers again, by `cnnx.reference`, with the same parameters."""

    def __init__(self, network: cnnx.Sequential) -> None:
        self.layers: list[Any] = []
        self.parameters: list[FloatArray] = []
        for layer in network.layers:
            settings = layer.settings()
            twin = getattr(reference, layer.kind)(**settings | ({"dtype": "float64"} if "dtype" in settings else {}))
            for name, values in layer.parameters().items():
                setattr(twin, name, values.astype(np.float64))
                self.parameters.append(getattr(twin, name))
            self.layers.append(twin)

    def losses(self, images: ByteArray, labels: ByteArray, batch: int, optimizer: Any) -> FloatArray:
        """Train on the digits in their order and return each one's loss before its step."""
        losses = np.empty(len(images))
        states = [[np.zeros_like(array) for _ in range(2)] for array in self.parameters]
        for step, start in enumerate(range(0, len(images), batch), 1):
            before = [array.copy() for array in self.parameters]
            sums = [np.zeros_like(array) for array in self.parameters]
            some = range(start, min(start + batch, len(images)))
            for place in some:
                losses[place] = self._move(images[place] / 255 - 0.5, int(labels[place]))
                for array, old, total in zip(self.parameters, before, sums, strict=True):
                    total += (old - array) / HUGE
                    array[...] = old
            for array, total, state in zip(self.parameters, sums, states, strict=True):
                _update(array, state, total / len(some), step, optimizer)
        return losses

    def _move(self, values: FloatArray, label: int) -> float:
        """Move every parameter by HUGE times its gradient, and return the loss."""
        for layer in self.layers:
            values = layer.forward(values)
        loss, gradient = reference.cross_entropy(values, label)
        for layer in reversed(self.layers):
            has_parameters = isinstance(layer, (reference.Conv3x3, reference.Dense, reference.Softmax))
            gradient = layer.backprop(gradient, HUGE) if has_parameters else layer.backprop(gradient)
        return loss


def _update(array: FloatArray, state: list[FloatArray], gradient: FloatArray, step: int, optimizer: Any) -> None:
    rate, decay = optimizer.learn_rate, optimizer.weight_decay
    if isinstance(optimizer, cnnx.Adam):
        reference.adam_update(array, *state, gradient, rate, step, *optimizer.betas, optimizer.eps, decay)
    else:
        momentum, nesterov = optimizer.momentum, optimizer.nesterov
        reference.sgd_update(array, state[0], gradient, rate, momentum, nesterov, decay)
