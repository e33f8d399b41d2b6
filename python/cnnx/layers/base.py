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
    """What all layers have in common, and the base class of your own.

    An own layer is a subclass, written in Python, that has a `forward` and a `backprop`:

    - ``forward(self, input)`` returns the output for one sample, a numpy array. It keeps what `backprop` will need.
    - ``backprop(self, d_L_d_out)`` takes the gradient of the loss for that output, and returns the gradient for that
      input, in the input's shape.

    If the layer has parameters, three things are added:

    - Each parameter is an attribute: a numpy array, float64 or float32, as the other layers of the network.
    - ``parameters(self)`` returns them by the names of the attributes.
    - ``backprop(self, d_L_d_out, learn_rate)`` ends with ``self.descend(learn_rate, name=gradient, ...)``, with the
      gradient of each parameter. By hand that is a step of gradient descent. In a network it leaves the step to the
      optimizer. So compute d_L_d_input before it.

    This layer multiplies its input by a number that is trained::

        class Scale(cnnx.Layer):
            def __init__(self):
                self.factor = np.ones(1)

            def parameters(self):
                return {"factor": self.factor}

            def forward(self, input):
                self.last_input = input
                return self.factor * input

            def backprop(self, d_L_d_out, learn_rate):
                d_L_d_input = self.factor * d_L_d_out
                self.descend(learn_rate, factor=np.sum(d_L_d_out * self.last_input, keepdims=True).reshape(1))
                return d_L_d_input

    A subclass of `Conv3x3` or another layer of cnnx may also define one of the two. The other one, and what it calls by
    `super()`, stay as they are.

    In a `Sequential` such layers work like all others, with every optimizer, batch size and loss. But the network then
    computes layer after layer, in one thread and for one image at a time, which takes much longer. It calls `forward`
    before each `backprop`, with `training` True; for predictions it calls `forward` on a copy, so that several threads
    can predict at once. It also calls `forward` on a copy with zeros, to learn the output's shape, unless the class
    defines `output_shape`. An input is in the dtype of the network, and what `forward` and `backprop` return is
    converted to it. Ctrl-C takes effect at once, and leaves the network as it was after the last whole step.
    `cnnx.load` does not know own layers, so `save` refuses them; `pickle` takes them.

    A layer is free until a network takes it. From then on its arrays are slices of the network's flat array of
    parameters, and an array that is assigned to it is copied into its slice. It is free again when the network is gone
    or does not list the layer any more. A copy is free.

    Attributes:
        kind: the layer's name in saved files, and in a summary.
        trainable: whether training changes the parameters. A layer that is frozen by False passes its gradient on, but
            neither a step of an optimizer, nor its weight decay or momentum, nor `backprop` changes the layer. It may
            be assigned at any time, and holds from the next window of steps on.
        training: whether the pass is one of training in a network: for own layers that drop values or add noise.
        slot: where a network keeps the layer's arrays, or None.
        last_input: the input of the last forward pass, or None before the first.
    """

    kind: str
    slot: Slot | None = None
    _core: Any = None
    _dtype: Any = None
    _seen: Seen
    _trainable = True
    _training = False
    _gradients: dict[str, FloatArray] | None = None  # where a network collects those of the parameters; else None
    _descended = False  # whether they have been added there
    _own: str | None = (
        "neither forward nor backprop"  # what the layer computes in Python; None if the core knows it all
    )

    def __new__(cls: type[AnyLayer], *_: Any, **__: Any) -> AnyLayer:
        """Make a layer that has seen nothing."""
        layer = super().__new__(cls)
        layer._seen = Seen()
        return layer

    def __init_subclass__(cls) -> None:
        """Note which passes a user's subclass defines. The core cannot call them, so its networks step in Python."""
        super().__init_subclass__()
        definers = {
            name: next((c for c in cls.__mro__ if name in c.__dict__), Layer) for name in ("forward", "backprop")
        }
        own = [name for name, definer in definers.items() if not is_own(definer)]
        if own:
            cls._own = f"its own {' and '.join(own)}"
        elif any(is_own(c) and "kind" in c.__dict__ for c in cls.__mro__):
            cls._own = None
        if cls._own is not None and not is_own(cls) and "kind" not in cls.__dict__:
            cls.kind = cls.__name__

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("kind", "forward", "backprop"):
            raise AttributeError(f"{name}: expected only to be used, got an assignment, which no network would notice")
        if self.slot is not None and self._own is not None and not name.startswith("_"):
            parameters = self.parameters()
            if name in parameters and self.__dict__.get(name) is parameters[name]:
                value = self._assigned(name, value, parameters[name])
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
    def training(self) -> bool:
        """Whether the pass is one of training in a network."""
        return self._training

    @property
    def dtype(self) -> Any:
        """The numpy dtype that the layer computes in; None for a layer that takes its input's."""
        if self._dtype is None and self._own is not None:
            return next((array.dtype for array in self.parameters().values()), None)
        return self._dtype

    def forward(self, input: Any) -> FloatArray:  # so that own layers may name the dtype that they take
        """Return the output for one sample, and remember the input.

        Args:
            input: one sample, without a batch axis. The layer's own `forward` says which shapes it takes.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a forward of its own, got none")

    def backprop(self, d_L_d_out: Any, *args: Any, **kwargs: Any) -> FloatArray:
        """Return `d_L_d_input`, the gradient of the loss for the last input, in that input's shape.

        Args:
            d_L_d_out: the gradient of the loss for the last output, in that output's shape.
            args: for a layer that has parameters, `learn_rate`: it then takes a step of gradient descent.
            kwargs: the same by name.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a backprop of its own, got none")

    def descend(self, learn_rate: float, **gradients: RealArray) -> None:
        """Take a step of gradient descent, or leave it to the network's optimizer. For the `backprop` of own layers.

        By hand each parameter changes in place: ``parameter -= learn_rate * gradient``. In a network's training, the
        gradients are added to `Sequential.gradient`, and no parameter changes. A frozen layer stays as it is.

        Args:
            learn_rate: as `backprop` got it.
            gradients: the gradient of the loss for each parameter, by the parameters' names, in their shapes.

        Raises:
            TypeError: the names are not those that `parameters` returns, or a gradient is no array of real numbers.
            ValueError: a gradient has another shape than its parameter.
        """
        rate, parameters = _checks.learn_rate(learn_rate), self.parameters()
        if gradients.keys() != parameters.keys():
            expected, got = (", ".join(names) or "none" for names in (parameters, gradients))
            raise TypeError(f"descend: expected the gradients of {expected}, got {got}")
        checked = {
            name: _checks.as_shaped(f"descend: {name}", gradients[name], array.dtype, array.shape)
            for name, array in parameters.items()
        }
        if self._gradients is not None:
            for name, sum in self._collected().items():
                sum += checked[name]
        elif self._trainable:
            for name, array in parameters.items():
                array -= array.dtype.type(rate) * checked[name]

    def _collected(self) -> dict[str, FloatArray]:
        """Return where the gradients of the parameters are added, by name; nothing for a frozen layer."""
        assert self._gradients is not None, "a network collects them"
        self._descended = True
        return self._gradients

    def settings(self) -> dict[str, Any]:
        """Return the arguments that make a layer like this one. JSON can hold their values."""
        raise NotImplementedError(f"{type(self).__name__}: expected settings of its own, got none")

    def _arguments(self) -> dict[str, Any]:
        if self._own is not None:
            import inspect  # which few programs need

            names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name)]
            return {name: getattr(self, name) for name in names}
        arguments = self.settings()
        if arguments.get("dtype") == "float64":
            arguments["dtype"] = np.float64  # every constructor's default
        return arguments

    def parameters(self) -> dict[str, FloatArray]:
        """Return the arrays that training updates, by the names of their attributes."""
        return {}

    def buffers(self) -> dict[str, FloatArray]:
        """Return the arrays that `fit` also changes but no optimizer does, by the names of their attributes."""
        return {}

    def arrays(self) -> dict[str, FloatArray]:
        """Return `parameters` and `buffers`."""
        return {**self.parameters(), **self.buffers()}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the output's shape for an input of `input_shape`; ValueError if the layer takes no such input."""
        if self._own is None:
            shape: tuple[int, ...] = self.core.output_shape(input_shape)
            return shape
        with np.errstate(all="ignore"):
            try:
                output = self.forgetful().forward(np.zeros(input_shape, self.dtype or np.float64))
            except Exception as error:
                raise ValueError(
                    f"forward: expected to take an input {input_shape}, got {type(error).__name__}: {error}"
                ) from error
        if not isinstance(output, np.ndarray):
            raise TypeError(f"forward: the returned array: expected a numpy array, got {type(output).__name__}")
        return output.shape

    def compiled(self) -> Any:
        """Return the core's layer, made of this layer's arrays and settings; any object if the core has none."""
        return object()

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
            self.__dict__[name if name in self.__dict__ else f"_{name}"] = part
            at += array.size
        self._core = None

    def _assigned(self, name: str, value: Any, current: FloatArray, apart_from: FloatArray | None = None) -> FloatArray:
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
        left_out = ("slot", "_core", "_gradients", "_training", "_descended")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __copy__(self) -> Any:
        """Return a layer with arrays of its own."""
        from copy import deepcopy  # which few programs need

        return deepcopy(self)


def remembered(value: Any) -> Any:
    """Return what the last forward pass left for `backprop`; RuntimeError if there was none."""
    if value is None:
        raise RuntimeError("backprop: expected a forward pass before it, got none")
    return value
