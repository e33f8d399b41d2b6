"""What all layers have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from .._attributes import KnownAttributes, is_own
from .._checks import FloatArray, RealArray

if TYPE_CHECKING:
    from .._flat import Slot

__all__ = ["Layer", "remembered"]


class Seen:
    """What the last forward pass left for backprop; a pass writes here, since a layer checks what it is assigned."""

    def __init__(self) -> None:
        self.input: FloatArray | None = None
        self.input_shape: tuple[int, ...] | None = None
        self.totals: FloatArray | None = None


class Layer(KnownAttributes):
    """What a network needs to know of its layers.

    A layer is free until a network takes it. From then on its arrays are slices of the network's flat array, until the
    network is gone or does not list the layer any more. A copy of a layer is free.

    Attributes:
        kind: the name by which the core and saved files know the layer.
        last_input: what the last forward pass saw.
    """

    kind: str
    slot: Slot | None = None
    _core: Any = None
    _dtype: Any = None
    _seen: Seen
    _own: str | None = "no layer that the core knows"  # why a network cannot compute it

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Make a layer that has seen nothing."""
        layer = super().__new__(cls)
        layer._seen = Seen()
        return layer

    def __init_subclass__(cls) -> None:
        """Note what a user's subclass computes itself: a network calls the core's layer instead."""
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
        """What the last forward pass saw."""
        return self._seen.input

    @last_input.setter
    def last_input(self, value: FloatArray | None) -> None:
        self._seen.input = value

    @property
    def dtype(self) -> Any:
        """The numpy dtype that the layer computes in; None if it takes its input's."""
        return self._dtype

    def forward(self, input: RealArray) -> FloatArray:
        """Return the layer's output for one input, and remember the input."""
        raise NotImplementedError

    def backprop(self, d_L_d_out: RealArray, *args: Any, **kwargs: Any) -> FloatArray:
        """Return the loss gradient for the last input, given that for the output, in their shapes.

        A layer that has parameters takes `learn_rate` too, and takes a step of gradient descent.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return the arguments that would construct a layer like this one, for JSON."""
        raise NotImplementedError

    def _arguments(self) -> dict[str, Any]:
        arguments = self.settings()
        if arguments.get("dtype") == "float64":
            arguments["dtype"] = np.float64  # every constructor's default
        return arguments

    def parameters(self) -> dict[str, FloatArray]:
        """Return the arrays that training updates, by attribute name."""
        return {}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that `forward` makes of an input's shape; ValueError if it refuses that."""
        shape: tuple[int, ...] = self.core.output_shape(input_shape)
        return shape

    def compiled(self) -> Any:
        """Return the core's layer, made of this layer's arrays and settings."""
        raise NotImplementedError

    @property
    def core(self) -> Any:
        """The core's layer: another one whenever an array or a setting has been replaced."""
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

    def _move(self, flat: FloatArray, at: int) -> None:
        """Copy the arrays into `flat`, one after another from `at`, and put these slices in their stead."""
        for name, array in self.parameters().items():
            part = flat[at : at + array.size].reshape(array.shape)
            part[...] = array
            part.flags.writeable = array.flags.writeable
            setattr(self, f"_{name}", part)
            at += array.size
        self._core = None

    def _assigned(self, name: str, value: Any, current: FloatArray, apart_from: FloatArray | None) -> FloatArray:
        """Return a parameter's array after an assignment: a free layer keeps `value`, a slice stays in its slot."""
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
        """Return what a copy or a pickle needs: its slot and the core's layer belong to this layer's own arrays."""
        return {name: value for name, value in self.__dict__.items() if name not in ("slot", "_core")}

    def __copy__(self) -> Any:
        """Return a layer with arrays of its own."""
        from copy import deepcopy  # which few programs need

        return deepcopy(self)


def remembered(value: Any) -> Any:
    """What the last forward pass left for backprop."""
    if value is None:
        raise RuntimeError("backprop: expected a forward pass before it, got none")
    return value
