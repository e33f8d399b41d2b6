"""What a network keeps beside its layers: one array of all parameters, and the core's network made of the layers."""

from __future__ import annotations

import os
import weakref
from typing import Any

import numpy as np

from . import _checks, _core, _flat, _images, _stack
from ._attributes import KnownAttributes
from ._checks import FloatArray
from .layers import Layer


class Planned(KnownAttributes):
    """Layers in a row, their flat array of parameters, and their plan: the core's network for one size of images.

    Arrays, settings and layers may change at any time. Each use checks whether they did, and if so makes a new plan.
    """

    layers: list[Layer] = []  # noqa: RUF012  # each network has its own
    image_shape: tuple[int, ...] | None = None
    _fuse = True  # tests set it to False, to train without fused stages too

    def __init__(self) -> None:
        self._gradient: FloatArray | None = None
        self._flat: FloatArray | None = None
        self._unplan()
        self._adopt()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "layers":
            value = _stack.as_list(value)
        elif name == "image_shape" and value is not None:
            value = _checks.image_shape(name, value)
        super().__setattr__(name, value)

    def _unplan(self) -> None:
        """Forget the plan. A new object, a copy and a forked process have none."""
        from threading import RLock  # at its first use: whoever draws weights has imported it with numpy.random

        # The core's layers, the image shape and the core's network. They are one tuple so that a thread that predicts
        # never sees a part of what another thread has just changed.
        self._planned: tuple[list[Any], tuple[int, ...], Any] = ([], (), None)
        self._lock = RLock()  # held while steps are taken, so that no array moves then
        _networks.add(self)

    def _plan(self, image_shape: tuple[int, ...], given: tuple[int, ...] | None = None) -> Any:
        """Return the core's network for images of `image_shape`, made anew if anything of the layers has changed.

        `given` is the shape that the caller gave, for the message of an error.
        """
        planned_cores, planned_shape, plan = self._planned
        if planned_shape == image_shape and [layer._core for layer in self.layers] == planned_cores:
            return plan
        self._check_shapes(image_shape, given)
        self._adopt()
        cores = [layer.core for layer in self.layers]
        dtype = _stack.dtype_of(self.layers)
        if _stack.steps_in_python(self.layers):
            from ._layer_by_layer import LayerByLayer  # which few programs need

            plan = LayerByLayer(self.layers, image_shape, dtype)
        else:
            plan = _core.Network(cores, image_shape, dtype, fuse=self._fuse)
        self._planned = cores, image_shape, plan
        return plan

    def _trainable_plan(self, image_shape: tuple[int, ...]) -> Any:
        """Return the plan; ValueError if it may not write into a layer's array."""
        for position, layer in enumerate(self.layers):
            for name, array in layer.arrays().items() if layer.trainable else ():
                if not array.flags.writeable:
                    raise ValueError(
                        f"layers[{position}] ({type(layer).__name__}): {name}: expected a writable array, which "
                        "training updates in place, got one that was made read-only"
                    )
        return self._plan(image_shape)

    def _adopt(self) -> FloatArray | None:
        """Return the flat array of all parameters, made anew if the layers have changed.

        Return None if the layers' dtypes differ, or another network has one of the layers: no array moves then.
        """
        _stack.give_channels(self.layers, self)
        layers = _stack.with_parameters(self.layers)
        if not self._has(layers):
            with self._lock:
                is_free = all(layer.network() in (None, self) for layer in layers)
                if not is_free or len({layer.dtype for layer in layers}) > 1:
                    self._flat = None
                elif not self._has(layers):  # another thread may have moved them meanwhile
                    self._flat = _flat.adopt(layers, _stack.dtype_of(self.layers), self)
        return self._flat

    def _all_parameters(self) -> FloatArray:
        """Return the flat array of all parameters; ValueError if the layers cannot have one."""
        flat = self._adopt()
        if flat is None:
            _stack.dtype_of(self.layers)
            position = next(i for i, layer in enumerate(self.layers) if layer.network() not in (None, self))
            raise ValueError(
                f"layers[{position}] ({type(self.layers[position]).__name__}): expected a layer of this network alone, "
                "got one whose arrays are slices of another network's parameters (copy.deepcopy gives a layer its own)"
            )
        return flat

    def _all_gradients(self) -> FloatArray:
        """Return the flat array of all gradients, of as many numbers as the parameters. It is made at its first use."""
        count = sum(layer.parameter_count() for layer in _stack.with_parameters(self.layers))
        dtype = _stack.dtype_of(self.layers)
        if self._gradient is None or self._gradient.size != count or self._gradient.dtype != dtype:
            self._gradient = np.zeros(count, dtype)
        return self._gradient

    def _has(self, layers: list[Layer]) -> bool:
        """Whether the layers' arrays fill this network's flat array."""
        is_owner = all(layer.slot is not None and layer.slot.network() is self for layer in layers)
        return is_owner and self._flat is not None and _flat.fill(layers, self._flat)

    def _check_shapes(self, shape: tuple[int, ...], given: tuple[int, ...] | None = None) -> None:
        """Refuse images of a size that the layers do not take, or only take because the number of pixels is right."""
        _stack.check_kinds(self.layers)
        _stack.give_channels(self.layers, self)
        given = given or shape
        fixed = self._fixed_size()
        if fixed is not None and shape != fixed:
            raise _images.size_error(fixed, given)
        try:
            _stack.check_fit(self.layers, shape)
        except ValueError as error:
            size = self._fitting_size()
            channels = _stack.image_axes(self.layers)[2:] if size is None else size[2:]
            if channels != shape[2:] and (size is None or _stack.takes_any_size(self.layers)):
                raise _images.size_error(("height", "width", *channels), given, str(error)) from None
            if size is None:
                raise
            raise _images.size_error(size, given, str(error)) from None

    def _fixed_size(self) -> tuple[int, ...] | None:
        """Return the only shape of images that the network takes.

        None if there is no such size, or if the layers no longer fit the size that was trained on.
        """
        size = self.image_shape
        is_fixed = size is not None and not _stack.takes_any_size(self.layers) and _stack.fits(self.layers, size)
        return size if is_fixed else None

    def _fitting_size(self) -> tuple[int, ...] | None:
        """Return the smallest square image that the layers take, for a message; None if there is none that is known."""
        if _stack.steps_in_python(self.layers):
            return None  # asking own layers about hundreds of sizes could take minutes
        return _images.fitting_size(lambda size: _stack.fits(self.layers, size), _stack.channels(self.layers))

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle gets: all but what holds this object's own arrays."""
        return {name: value for name, value in self.__dict__.items() if name not in _OF_ONE_OBJECT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take all attributes, also those of a subclass, and start without a plan."""
        self.__dict__.update(state)
        self._gradient = self._flat = None
        self._unplan()
        self._adopt()

    def __copy__(self) -> Any:
        """Return a network with layers of its own."""
        from copy import deepcopy  # which few programs need

        return deepcopy(self)


_OF_ONE_OBJECT = ("_planned", "_lock", "_gradient", "_flat", "_forwarded")
_networks: weakref.WeakSet[Planned] = weakref.WeakSet()
_abandoned: list[Any] = []


def _after_fork() -> None:
    """In the child, forget the core's networks: a thread that the child does not have may hold their locks."""
    for network in list(_networks):
        _abandoned.append(network._planned)  # which nobody may destroy either
        network._unplan()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
