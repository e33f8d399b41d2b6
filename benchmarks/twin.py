"""The first losses that a network should have in training, computed by `cnnx.reference` in float64."""

import copy
from collections.abc import Callable
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
            some = slice(start, min(start + batch, len(images)))
            losses[some] = self._add_gradients(images[some], labels[some], before, sums)
            count = some.stop - some.start
            for array, total, state in zip(self.parameters, sums, states, strict=True):
                _update(array, state, total / count, step, optimizer)
        return losses

    def probabilities(self, images: Array) -> Array:
        """Return what the network says of each image, (n, 10)."""
        return np.array([self._forward(image) for image in images])

    def _forward(self, image: Array) -> Array:
        values = _scaled(image)
        for layer in self.layers:
            values = layer.forward(values)
        return values

    def _add_gradients(self, images: Array, labels: Array, before: list[Array], sums: list[Array]) -> list[float]:
        """Add the gradients of a batch to `sums`, and return the losses. Parameters stay as they were `before`."""
        values, passes = list(map(_scaled, images)), []
        for layer in self.layers:
            values, back = _batch_forward(layer, values)
            passes.append(back)
        losses, gradients = zip(*map(reference.cross_entropy, values, map(int, labels)), strict=True)
        for back in reversed(passes):
            gradients = back(gradients, lambda: self._take_back(before, sums))
        return list(losses)

    def _take_back(self, before: list[Array], sums: list[Array]) -> None:
        """Turn what a step at the rate HUGE has moved into a gradient."""
        for array, old, total in zip(self.parameters, before, sums, strict=True):
            total += (old - array) / HUGE
            array[...] = old


def _scaled(image: Array) -> Array:
    return image / 255 - 0.5 if image.dtype == np.uint8 else image.astype(np.float64)


def _batch_forward(layer: Any, inputs: list[Array]) -> tuple[list[Array], Any]:
    """Return a layer's outputs, and a function from their gradients to the inputs'; it calls `done` after each step."""
    if isinstance(layer, reference.BatchNorm):
        batch = np.array(inputs)

        def batch_back(gradients: Any, done: Callable[[], None]) -> Any:
            d_L_d_inputs, d_L_d_scale, d_L_d_offset = reference.batch_norm_batch_backward(
                np.array(gradients), batch, layer.scale, layer.eps
            )
            layer.scale -= HUGE * d_L_d_scale
            layer.offset -= HUGE * d_L_d_offset
            done()
            return d_L_d_inputs

        return list(reference.batch_norm_batch_forward(batch, layer.scale, layer.offset, layer.eps)[0]), batch_back
    each = [copy.copy(layer) for _ in inputs]  # which share their parameters
    outputs = [one.forward(input) for one, input in zip(each, inputs, strict=True)]

    def back(gradients: Any, done: Callable[[], None]) -> Any:
        found = []
        for one, gradient in zip(each, gradients, strict=True):
            has_parameters = isinstance(one, (reference.Conv3x3, reference.Dense, reference.Softmax))
            found.append(one.backprop(gradient, HUGE) if has_parameters else one.backprop(gradient))
            done()
        return found

    return outputs, back


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
