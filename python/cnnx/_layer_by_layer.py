"""What a network with own layers has in place of the core's network: it computes layer after layer, in Python.

The core knows none of these layers, so each sample goes through `forward` of all layers, and back through `backprop`.
Every method does what the method of the same name does in the core's network, up to rounding.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core, _images, _random
from ._checks import FloatArray
from .layers import Dropout, Layer

LossOf = Callable[[FloatArray, slice], "tuple[NDArray[np.float64], FloatArray]"]
"""Outputs (n, nodes), which of the samples these are -> losses (n,), gradients for the outputs (n, nodes)."""


class LayerByLayer:
    """A network that is computed in Python.

    Args:
        layers: the layers, which fit together.
        image_shape: (height, width) or (height, width, channels) of the images.
        dtype: what the layers compute in.

    Attributes:
        parameter_count: how many numbers the flat array of parameters has.
        dtype: as given.
    """

    def __init__(self, layers: Sequence[Layer], image_shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.dtype, self._layers = dtype, list(layers)
        self._shapes = [image_shape]
        for layer in layers:
            self._shapes.append(layer.output_shape(self._shapes[-1]))
        self._starts: dict[int, int] = {}  # where each layer's parameters begin in the flat array, by id
        self.parameter_count = 0
        for layer in layers:
            if id(layer) not in self._starts:
                self._starts[id(layer)] = self.parameter_count
                self.parameter_count += layer.parameter_count()
        self._lock = RLock()

    def predict(self, images: Any, _: int) -> FloatArray:
        """Return the outputs (n, nodes). No layer remembers its input."""
        outputs = np.empty((len(images), *self._shapes[-1]), self.dtype)
        layers = [layer.forgetful() for layer in self._layers]
        for image, output in zip(images, outputs, strict=True):
            value = self._read(image)
            with self._lock:  # while another thread trains, the parameters are those between two steps
                for position, layer in enumerate(layers):
                    value = self._forward(position, layer, value)
            output[...] = value
        return outputs

    def forward(self, images: Any, samples: Any, _: int) -> FloatArray:
        """Return the outputs of some images (samples, nodes), as in training."""
        with self._training(None) as steps:
            return np.stack([self._train_forward(steps, images, samples, i) for i in range(len(samples.order))])

    def gradient(
        self, images: Any, loss_of: LossOf, samples: Any, gradient: FloatArray, d_images: Any = None
    ) -> tuple[NDArray[np.float64], FloatArray]:
        """Set `gradient` to that of the sum of some images' losses. Return each loss, and the outputs.

        Args:
            images: the images.
            loss_of: the loss.
            samples: which of the images, and how they are read.
            gradient: where the gradient goes.
            d_images: (samples, values), where the gradient for the images goes, or None.
        """
        count = len(samples.order)
        losses, outputs = np.empty(count), np.empty((count, *self._shapes[-1]), self.dtype)
        with self._training(gradient) as steps:
            for i in range(count):
                outputs[i] = self._train_forward(steps, images, samples, i)
                losses[i : i + 1], d_outputs = loss_of(outputs[i : i + 1], slice(i, i + 1))
                d_image = self._train_backward(steps, d_outputs[0], d_images is not None)
                if d_images is not None:
                    d_images[i] = d_image.reshape(-1)
        return losses, outputs

    def apply(self, gradient: FloatArray, optimizer: Any, learn_rate: float) -> None:
        """Take the optimizer's step along `gradient`."""
        arrays, starts = [], []
        for layer in {id(layer): layer for layer in self._layers}.values():
            at = self._starts[id(layer)]
            for array in layer.parameters().values():
                if layer.trainable:
                    arrays.append(array)
                    starts.append(at)
                at += array.size
        with self._lock:
            _core.apply(arrays=arrays, starts=starts, gradient=gradient, optimizer=optimizer, learn_rate=learn_rate)

    def place(self) -> Any:
        """Return what `continue_at` needs: nothing, since the layers' arrays hold all."""
        return _core.Place(packed=None, steps=0, plain=True)

    def continue_at(self, place: Any) -> None:
        """Go on from where another network was."""

    def _read(self, image: Any) -> FloatArray:
        values: FloatArray = (image / 255 - 0.5).astype(self.dtype) if image.dtype == _images.UINT8 else image
        return values

    def _where(self, position: int) -> str:
        return f"layers[{position}] ({type(self._layers[position]).__name__})"

    def _forward(self, position: int, layer: Layer, value: FloatArray) -> FloatArray:
        return self._checked(position, "forward", layer.forward(value), self._shapes[position + 1])

    def _checked(self, position: int, name: str, value: Any, shape: tuple[int, ...]) -> FloatArray:
        """Return what a layer's `forward` or `backprop` returned, as the next layer takes it."""
        where = f"{self._where(position)}: {name}: the returned array"
        found: FloatArray = _checks.as_shaped(where, value, self.dtype, shape)
        return found

    @contextmanager
    def _training(self, gradient: FloatArray | None) -> Iterator[list[_Step]]:
        """Return the layers as they are for some passes of training, which add to `gradient`."""
        for position, layer in enumerate(self._layers):
            if layer.trainable and layer.buffers():
                raise ValueError(
                    f"{self._where(position)}: expected no layer that needs the whole batch, in the training of a "
                    "network with layers in Python, which takes one image after another"
                )
            if layer._own is not None and not layer.parameters() and _rate_argument(layer) == "required":
                raise TypeError(
                    f"{self._where(position)}: backprop: expected no learn_rate, because `parameters` returns none "
                    "(return the arrays by name, and end backprop with self.descend(learn_rate, name=gradient))"
                )
        with self._lock:
            if gradient is not None:
                gradient[...] = 0
            steps = [_Step(layer, position) for position, layer in enumerate(self._layers)]
            for position, step in enumerate(steps):
                is_own = self._layers[position]._own is not None
                step.is_repeated = is_own and self._layers.count(self._layers[position]) > 1
                step.layer._training = True
                step.layer._gradients = self._slices(self._layers[position], gradient)
            try:
                yield steps
            finally:
                for step in steps:
                    step.layer._training, step.layer._gradients = False, None

    def _slices(self, layer: Layer, gradient: FloatArray | None) -> dict[str, FloatArray]:
        """Return the slices of `gradient` for a layer's parameters by name; none for a frozen layer."""
        slices: dict[str, FloatArray] = {}
        if gradient is not None and layer.trainable:
            at = self._starts[id(layer)]
            for name, array in layer.parameters().items():
                slices[name] = gradient[at : at + array.size].reshape(array.shape)
                at += array.size
        return slices

    def _train_forward(self, steps: list[_Step], images: Any, samples: Any, i: int) -> FloatArray:
        value = self._read(images[samples.order[i]])
        if samples.maps is not None:
            from .reference import affine  # which few programs need

            value = affine(value, samples.maps[i], samples.background)
        key = _random.key(samples.seed, samples.samples_before + i)
        for position, step in enumerate(steps):
            value = self._checked(position, "forward", step.forward(value, key), self._shapes[position + 1])
        return value

    def _train_backward(self, steps: list[_Step], d_output: FloatArray, wants_image: bool) -> FloatArray:
        """Return the gradient for the image, if it is wanted: passes that nobody needs are left out."""
        learning = [i for i, layer in enumerate(self._layers) if layer.trainable and layer.parameters()]
        first = 0 if wants_image else min(learning, default=len(steps))
        for position in range(len(steps) - 1, first - 1, -1):
            d_input = steps[position].backprop(d_output, self._where(position))
            if position > first or wants_image:  # nobody reads the gradient for the input of the first
                d_output = self._checked(position, "backprop", d_input, self._shapes[position])
        return d_output


class _Step:
    """A layer at one position, for some passes of training.

    A layer of cnnx is a twin that leaves no trace. An own layer is itself, since it may keep what it learns anywhere.
    """

    is_repeated = False

    def __init__(self, layer: Layer, position: int) -> None:
        self.layer = layer if layer._own is not None else layer.forgetful()
        self._position, self._key = position, 0
        self._left: dict[str, Any] = {}
        self._takes_rate = _rate_argument(layer) != "none"

    def forward(self, value: FloatArray, key: int) -> Any:
        layer = self.layer
        if isinstance(layer, Dropout) and layer._own is None:
            self._key = _random.key(key, self._position)
            return _dropped(value, layer.rate, self._key)
        output = layer.forward(value)
        if self.is_repeated:
            self._left = {**layer.__dict__, "_seen": copy.copy(layer._seen)}
        return output

    def backprop(self, d_output: FloatArray, where: str) -> Any:
        layer = self.layer
        if isinstance(layer, Dropout) and layer._own is None:
            return _dropped(d_output, layer.rate, self._key)
        if self.is_repeated:  # as `forward` at this position left it
            layer.__dict__.update(self._left)
        layer._descended = False
        d_input = layer.backprop(d_output, 0.0) if self._takes_rate else layer.backprop(d_output)
        if layer._gradients and not layer._descended:
            names = ", ".join(f"{name}=..." for name in layer._gradients)
            raise TypeError(
                f"{where}: backprop: expected a call of self.descend(learn_rate, {names}), got none "
                "(in a network the optimizer takes the step)"
            )
        return d_input


def _dropped(values: FloatArray, rate: float, key: int) -> FloatArray:
    from .reference import dropout  # which few programs need

    return np.asarray(dropout(values, rate, key), values.dtype)


def _rate_argument(layer: Layer) -> str:
    """Whether `backprop` takes a second argument: "required", "optional" or "none"."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(layer.backprop).parameters.values())
    positional = [each for each in parameters if each.kind in kinds]
    if len(positional) > 1:
        return "required" if positional[1].default is inspect.Parameter.empty else "optional"
    return "optional" if any(each.kind == each.VAR_POSITIONAL for each in parameters) else "none"
