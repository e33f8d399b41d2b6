"""The base class of all layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .. import _checks
from .._attributes import KnownAttributes, is_own
from .._checks import FloatArray, RealArray

if TYPE_CHECKING:
    from .._flat import Slot

__all__ = ["Layer", "remembered"]

AnyLayer = TypeVar("AnyLayer", bound="Layer")


class Seen:
    """What the last forward pass left for `backprop`.

    It is an object of its own because an assignment to a layer's attribute is checked, which costs time in each pass.

    Attributes:
        input: the input.
        input_shape: its shape before it was flattened, for `Dense` and `Softmax`.
        totals: the values before the softmax function, for `Softmax`.
    """

    def __init__(self) -> None:
        self.input: FloatArray | None = None
        self.input_shape: tuple[int, ...] | None = None
        self.totals: FloatArray | None = None


class Layer(KnownAttributes):
    """What all layers have in common, and what a network needs to know of them.

    A layer is free until a network takes it. From then on its arrays are slices of the network's flat array of
    parameters. It is free again when the network is gone or does not list the layer any more. A copy is free.

    Attributes:
        kind: the layer's name in saved files.
        trainable: whether training changes the parameters. A layer that is frozen by False passes its gradient on, but
            neither a step of an optimizer, nor its weight decay or momentum, nor `backprop` changes the layer. It may
            be assigned at any time, and holds from the next window of steps on.
        slot: where a network keeps the layer's arrays, or None.
        last_input: the input of the last forward pass, or None before the first.
    """

    kind: str
    slot: Slot | None = None
    _core: Any = None
    _dtype: Any = None
    _seen: Seen
    _trainable = True
    _own: str | None = "no layer that the core knows"  # why a network cannot compute it

    def __new__(cls: type[AnyLayer], *_: Any, **__: Any) -> AnyLayer:
        """Make a layer that has seen nothing."""
        layer = super().__new__(cls)
        layer._seen = Seen()
        return layer

    def __init_subclass__(cls) -> None:
        """Note which passes a user's subclass defines. A network calls the core and not these, so it refuses them."""
        super().__init_subclass__()
        definers = {
            name: next((c for c in cls.__mro__ if name in c.__dict__), Layer) for name in ("forward", "backprop")
        }
        own = [name for name, definer in definers.items() if not is_own(definer)]
        if own:
            cls._own = f"its own {' and '.join(own)}"
        elif hasattr(cls, "kind"):
            cls._own = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("kind", "forward", "backprop"):
            raise AttributeError(f"{name}: expected only to be used, got an assignment, which no network would notice")
        super().__setattr__(name, value)

    @property
    def last_input(self) -> FloatArray | None:
        """The input of the last forward pass; None before the first."""
        return self._seen.input

    @last_input.setter
    def last_input(self, value: FloatArray | None) -> None:
        self._seen.input = value

    @property
    def trainable(self) -> bool:
        """Whether training changes the parameters."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = _checks.boolean("trainable", value)
        self._core = None

    @property
    def dtype(self) -> Any:
        """The numpy dtype that the layer computes in; None for a layer that takes its input's."""
        return self._dtype

    def forward(self, input: RealArray) -> FloatArray:
        """Return the output for one sample, and remember the input.

        Args:
            input: one sample, without a batch axis. The layer's own `forward` says which shapes it takes.
        """
        raise NotImplementedError

    def backprop(self, d_L_d_out: RealArray, *args: Any, **kwargs: Any) -> FloatArray:
        """Return `d_L_d_input`, the gradient of the loss for the last input, in that input's shape.

        Args:
            d_L_d_out: the gradient of the loss for the last output, in that output's shape.
            args: for a layer that has parameters, `learn_rate`: it then takes a step of gradient descent.
            kwargs: the same by name.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return the arguments that make a layer like this one. JSON can hold their values."""
        raise NotImplementedError

    def _arguments(self) -> dict[str, Any]:
        arguments = self.settings()
        if arguments.get("dtype") == "float64":
            arguments["dtype"] = np.float64  # every constructor's default
        return arguments

    def parameters(self) -> dict[str, FloatArray]:
        """Return the arrays that training updates, by the names of their attributes."""
        return {}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the output's shape for an input of `input_shape`; ValueError if the layer takes no such input."""
        shape: tuple[int, ...] = self.core.output_shape(input_shape)
        return shape

    def compiled(self) -> Any:
        """Return the core's layer, made of this layer's arrays and settings."""
        raise NotImplementedError

    @property
    def core(self) -> Any:
        """The core's layer. It is made anew after an array or a setting has been replaced."""
        if self._core is None:
            self._core = self.compiled()
        return self._core

    def parameter_count(self) -> int:
        """Return how many numbers `parameters` holds."""
        return sum(array.size for array in self.parameters().values())

    def network(self) -> Any:
        """Return the network whose flat array holds the layer's arrays; None if the layer is free."""
        network = None if self.slot is None else self.slot.network()
        return network if network is not None and any(layer is self for layer in network.layers) else None

    def forgetful(self: AnyLayer) -> AnyLayer:
        """Return a layer with the same arrays and settings, whose passes leave no trace in this one."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__, _seen=twin._seen)
        return twin

    def _move(self, flat: FloatArray, at: int) -> None:
        """Copy the arrays into `flat`, one after another from `at`, and replace them by these slices of it."""
        for name, array in self.parameters().items():
            part = flat[at : at + array.size].reshape(array.shape)
            part[...] = array
            part.flags.writeable = array.flags.writeable
            setattr(self, f"_{name}", part)
            at += array.size
        self._core = None

    def _assigned(self, name: str, value: Any, current: FloatArray, apart_from: FloatArray | None) -> FloatArray:
        """Return the array that a parameter has after `value` was assigned to it.

        That is `value` itself in a free layer. In a network it stays the slice, and `value` is copied into it.
        """
        if self.network() is None:
            kept: FloatArray = _checks.parameter(name, value, current, apart_from)
            self.slot = self._core = None
            return kept
        _checks.parameter_values(name, value, current)
        if not current.flags.writeable:
            raise ValueError(f"{name}: expected the layer's array to be writable, got one that was made read-only")
        current[...] = value
        return current

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle gets: all but the slot and the core's layer, which hold this one's arrays."""
        return {name: value for name, value in self.__dict__.items() if name not in ("slot", "_core")}

    def __copy__(self) -> Any:
        """Return a layer with arrays of its own."""
        from copy import deepcopy  # which few programs need

        return deepcopy(self)


def remembered(value: Any) -> Any:
    """Return what the last forward pass left for `backprop`; RuntimeError if there was none."""
    if value is None:
        raise RuntimeError("backprop: expected a forward pass before it, got none")
    return value
