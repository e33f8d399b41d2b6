"""The first losses that a network should have in training, computed by `cnnx.reference` in float64."""

from typing import Any

import numpy as np
from networks import Array

import cnnx
from cnnx import reference

# The reference's layers take steps, but a batch and an optimizer want gradients. A step at this learn rate hides the
# parameter that it begins from: what it moved, divided by the rate, is the gradient to rounding.
HUGE = 2.0**40


class Twin:
    """A network's layers again, by `cnnx.reference`, with the same parameters."""

    def __init__(self, network: cnnx.Sequential) -> None:
        self.layers: list[Any] = []
        self.parameters: list[Array] = []
        for layer in network.layers:
            settings = layer.settings()
            twin = getattr(reference, layer.kind)(**settings | ({"dtype": "float64"} if "dtype" in settings else {}))
            for name, values in layer.parameters().items():
                setattr(twin, name, values.astype(np.float64))
                self.parameters.append(getattr(twin, name))
            self.layers.append(twin)

    def losses(self, images: Array, labels: Array, batch: int, optimizer: Any) -> Array:
        """Train on the images in their order and return each one's loss before its step."""
        losses = np.empty(len(images))
        states = [[np.zeros_like(array) for _ in range(2)] for array in self.parameters]
        for step, start in enumerate(range(0, len(images), batch), 1):
            before = [array.copy() for array in self.parameters]
            sums = [np.zeros_like(array) for array in self.parameters]
            some = range(start, min(start + batch, len(images)))
            for place in some:
                losses[place] = self._move(images[place], int(labels[place]))
                for array, old, total in zip(self.parameters, before, sums, strict=True):
                    total += (old - array) / HUGE
                    array[...] = old
            for array, total, state in zip(self.parameters, sums, states, strict=True):
                _update(array, state, total / len(some), step, optimizer)
        return losses

    def probabilities(self, images: Array) -> Array:
        """Return what the network says of each image, (n, 10)."""
        return np.array([self._forward(image) for image in images])

    def _forward(self, image: Array) -> Array:
        values = image / 255 - 0.5 if image.dtype == np.uint8 else image.astype(np.float64)
        for layer in self.layers:
            values = layer.forward(values)
        return values

    def _move(self, image: Array, label: int) -> float:
        """Move every parameter by HUGE times its gradient, and return the loss."""
        loss, gradient = reference.cross_entropy(self._forward(image), label)
        for layer in reversed(self.layers):
            has_parameters = isinstance(layer, (reference.Conv3x3, reference.Dense, reference.Softmax))
            gradient = layer.backprop(gradient, HUGE) if has_parameters else layer.backprop(gradient)
        return loss


def _update(array: Array, state: list[Array], gradient: Array, step: int, optimizer: Any) -> None:
    rate, decay = optimizer.learn_rate, optimizer.weight_decay
    if isinstance(optimizer, cnnx.Adam):
        reference.adam_update(array, *state, gradient, rate, step, *optimizer.betas, optimizer.eps, decay)
    else:
        momentum, nesterov = optimizer.momentum, optimizer.nesterov
        reference.sgd_update(array, state[0], gradient, rate, momentum, nesterov, decay)


class EverySecond:
    """Keeps every second row and column, as a stride of 2 in the convolution before it does."""

    def forward(self, values: Array) -> Array:
        self.shape = values.shape
        return values[::2, ::2]

    def backprop(self, gradient: Array) -> Array:
        spread = np.zeros(self.shape)
        spread[::2, ::2] = gradient
        return spread
