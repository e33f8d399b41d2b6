"""Parameters from and to PyTorch and Keras, as plain numpy arrays: neither library needs to be installed.

Both networks have the same layers in the same order. Where cnnx has a `Softmax`, the other has a dense layer, whether
or not a softmax function follows. Layers without parameters may differ in number, such as a Flatten.

A `BatchNorm` has four arrays in all three libraries: the factor, the offset, the running mean and the running variance.
PyTorch also counts the batches; that number is left out, and comes as 0.

The layouts of the arrays:

============  ==========================  =========================  ==========================
parameter     cnnx                        PyTorch                    Keras
============  ==========================  =========================  ==========================
filters       (filters, 3, 3, channels)   (filters, channels, 3, 3)  (3, 3, channels, filters)
weights       (inputs, nodes)             (nodes, inputs)            (inputs, nodes)
biases        (filters,) or (nodes,)      the same                   the same
============  ==========================  =========================  ==========================

Their sources are the pages of torch.nn.Conv2d and torch.nn.Linear, and of keras.layers.Conv2D and keras.layers.Dense.

PyTorch has the channels first, so where images are flattened, the inputs of the dense layer after it are in the order
channels, height, width. They are in the order height, width, channels in cnnx, and in Keras with its usual
``data_format="channels_last"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _stack
from ._checks import FloatArray
from .layers import Layer
from .network import Sequential

__all__ = ["from_keras", "from_torch", "to_keras", "to_torch"]


def from_torch(network: Sequential, state_dict: Mapping[str, Any]) -> None:
    """Copy the parameters of a PyTorch network into `network`.

    Args:
        network: a network of the same layers. It must know its `image_shape`, unless it takes images of every size.
        state_dict: what ``module.state_dict()`` returns: tensors on the CPU, or numpy arrays, by name. They are taken
            in order, so the names do not matter.

    Raises:
        ValueError: the arrays are not those of the same layers. The network has not changed.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict: expected arrays by name, got {type(state_dict).__name__}")
    _fill(_torch_arrays(network), {name: np.asarray(it) for name, it in state_dict.items() if not _is_count(name)})


def to_torch(network: Sequential, names: Iterable[str]) -> dict[str, FloatArray]:
    """Return the parameters of `network` for a PyTorch network of the same layers.

    ``module.load_state_dict({name: torch.from_numpy(values) for name, values in arrays.items()})`` takes them.

    Args:
        network: the network, as in `from_torch`.
        names: the names of the other network's parameters in order: ``module.state_dict()``.

    Raises:
        ValueError: the other network has another number of parameters.
    """
    arrays, names = list(_torch_arrays(network)), list(names)
    count = len([name for name in names if not _is_count(name)])
    if count != len(arrays):
        raise ValueError(f"names: expected {len(arrays)}, one for each of {_listed(arrays)}, got {count}")
    rest = iter(arrays)
    return {name: np.array(0) if _is_count(name) else next(rest).taken() for name in names}


def from_keras(network: Sequential, weights: Iterable[ArrayLike]) -> None:
    """Copy the parameters of a Keras network into `network`.

    Args:
        network: a network of the same layers.
        weights: what ``model.get_weights()`` returns.

    Raises:
        ValueError: the arrays are not those of the same layers. The network has not changed.
    """
    _fill(_keras_arrays(network), {f"weights[{i}]": np.asarray(values) for i, values in enumerate(weights)})


def to_keras(network: Sequential) -> list[FloatArray]:
    """Return the parameters of `network` for ``model.set_weights`` of a Keras network of the same layers."""
    return [array.taken() for array in _keras_arrays(network)]


def _is_count(name: str) -> bool:
    return name.endswith("num_batches_tracked")


class _Array(NamedTuple):
    """One array of a layer, in the layout of another library.

    Attributes:
        layer: the layer.
        name: the name of its parameter.
        place: what it is, for messages.
        order: in the other library's shape, where each number is in the layer's array.
    """

    layer: Layer
    name: str
    place: str
    order: NDArray[np.intp]

    def taken(self) -> FloatArray:
        """Return a copy in the other library's layout."""
        values: FloatArray = _arrays(self.layer)[self.name].reshape(-1)[self.order]
        return values

    def give(self, values: FloatArray) -> None:
        """Copy values in the other library's layout into the layer."""
        own = np.empty_like(_arrays(self.layer)[self.name])
        own.reshape(-1)[self.order] = values
        setattr(self.layer, self.name, own)


def _torch_arrays(network: Sequential) -> Iterator[_Array]:
    """Return the arrays in PyTorch's order. A layer at several positions is several times in a state_dict."""
    for position, layer, input_shape in _inputs(network):
        for name, order in _orders(layer):
            if name == "filters":
                order = order.transpose(0, 3, 1, 2)
            elif name == "weights":
                if len(input_shape) == 3:  # images are flattened here
                    order = order.reshape(*input_shape, -1).transpose(2, 0, 1, 3).reshape(order.shape)
                order = order.T
            yield _Array(layer, name, f"layers[{position}].{name}", order)


def _keras_arrays(network: Sequential) -> Iterator[_Array]:
    """Return the arrays in Keras's order. A layer at several positions is there once."""
    first = {id(layer): position for position, layer in reversed(list(enumerate(network.layers)))}
    for position, layer in enumerate(network.layers):
        if first[id(layer)] == position:
            for name, order in _orders(layer):
                order = order.transpose(1, 2, 3, 0) if name == "filters" else order
                yield _Array(layer, name, f"layers[{position}].{name}", order)


def _arrays(layer: Layer) -> dict[str, FloatArray]:
    """Return all arrays of a layer, in the order of all three libraries."""
    return {**layer.parameters(), **layer.buffers()}


def _orders(layer: Layer) -> Iterator[tuple[str, Any]]:
    """Return the name and the order of each array as cnnx has it, filters always with an axis of channels."""
    for name, values in _arrays(layer).items():
        order = np.arange(values.size).reshape(values.shape)
        yield name, order.reshape(len(order), 3, 3, -1) if name == "filters" else order


def _inputs(network: Sequential) -> Iterator[tuple[int, Layer, tuple[int, ...]]]:
    """Return each layer's position and the shape of its input."""
    shape = network.image_shape
    if shape is None:
        if not _stack.takes_any_size(network.layers):
            raise ValueError("network: expected one that knows its image_shape, got None (assign network.image_shape)")
        shape = _stack.usual_shape(network.layers)
    network.summary(shape)  # refuses layers that do not fit together
    for position, layer in enumerate(network.layers):
        yield position, layer, shape
        shape = layer.output_shape(shape)


def _fill(arrays: Iterator[_Array], given: dict[str, NDArray[Any]]) -> None:
    """Copy each given array into its layer, after a check of all of them."""
    expected = list(arrays)
    if len(given) != len(expected):
        raise ValueError(f"expected {len(expected)} arrays, for {_listed(expected)}, got {len(given)}: {list(given)}")
    for array, (name, values) in zip(expected, given.items(), strict=True):
        if values.shape != array.order.shape or values.dtype.kind != "f":
            raise ValueError(
                f"{name}: expected floats of shape {array.order.shape}, for {array.place}, "
                f"got {values.dtype} {values.shape}"
            )
        if not _arrays(array.layer)[array.name].flags.writeable:
            raise ValueError(f"{array.place}: expected a writable array, got one that was made read-only")
    for array, values in zip(expected, given.values(), strict=True):
        array.give(values)


def _listed(arrays: list[_Array]) -> str:
    return ", ".join(array.place for array in arrays)
