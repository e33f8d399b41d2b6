"""What a network asks of its list of layers: their kinds, their dtype, and whether they fit together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .layers import BatchNorm, Conv3x3, Dense, Dropout, GlobalAveragePool, Layer, MaxPool2, ReLU, Softmax

_ANY_SIZE = (8, 8)  # of images: only channels matter where it is used

_OWN_KINDS = {BatchNorm, Conv3x3, Dense, Dropout, GlobalAveragePool, MaxPool2, ReLU, Softmax}


def as_list(value: Any) -> list[Layer]:
    """Return the layers that were given as a list; TypeError if they are not layers in a list or a tuple."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"layers: expected a list of cnnx layers, got {type(value).__name__}")
    check_kinds(value)
    return value if isinstance(value, list) else list(value)


def check_kinds(layers: Sequence[Any]) -> None:
    """Refuse what is no layer, and own layers whose parameters a network cannot train."""
    if _OWN_KINDS.issuperset(map(type, layers)):
        return  # the usual case, since every prediction comes here
    for position, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"layers[{position}]: expected a cnnx layer, got {layer!r}")
        if layer._own is not None and layer.slot is None:
            _check_own(f"layers[{position}] ({type(layer).__name__})", layer)


def _check_own(where: str, layer: Layer) -> None:
    if type(layer).forward is Layer.forward:
        raise TypeError(f"{where}: expected a layer with a forward, got a class without one")
    parameters = layer.parameters()
    if len({array.dtype for array in parameters.values() if isinstance(array, np.ndarray)}) > 1:
        raise TypeError(f"{where}: parameters: expected arrays of one dtype, got several")
    for name, array in parameters.items():
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"{where}: {name}: expected a numpy array of float64 or float32, got {got}")
        if getattr(layer, name, None) is not array:
            raise TypeError(f"{where}: parameters: expected arrays by the names of their attributes, got {name!r}")


def steps_in_python(layers: Sequence[Layer]) -> bool:
    """Whether a layer computes something in Python."""
    return any(layer._own is not None for layer in layers)


def check_saved(layers: Sequence[Layer]) -> None:
    """Refuse layers that `cnnx.load` could not make again."""
    for position, layer in enumerate(layers):
        if layer._own is not None:
            raise TypeError(
                f"layers[{position}] ({type(layer).__name__}): expected a layer that cnnx.load knows, got one with "
                f"{layer._own} (pickle.dumps keeps such a network)"
            )


def dtype_of(layers: Sequence[Layer]) -> np.dtype[Any]:
    """Return the dtype that the layers compute in: float64 if none has parameters; ValueError if they differ."""
    dtypes = {layer.dtype: position for position, layer in reversed(list(enumerate(layers))) if layer.dtype}
    if len(dtypes) > 1:
        (first, _), (other, position) = sorted(dtypes.items(), key=lambda item: item[1])[:2]
        raise ValueError(f"layers[{position}]: expected dtype {first}, as the layers before it, got {other}")
    return next(iter(dtypes), np.dtype(np.float64))


def ends_in_softmax(layers: Sequence[Layer]) -> bool:
    """Whether the outputs are probabilities."""
    return bool(layers) and isinstance(layers[-1], Softmax)


def node_count(layers: Sequence[Layer], image_shape: tuple[int, ...]) -> int:
    """Return how many outputs there are for an image of `image_shape`, which the layers take."""
    if layers and isinstance(layers[-1], (Dense, Softmax)):
        return len(layers[-1].biases)  # the usual case without another call
    shape = image_shape
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape[0]


def has_dropout(layers: Sequence[Layer]) -> bool:
    """Whether training draws random numbers for the layers."""
    return any(isinstance(layer, Dropout) for layer in layers)


def with_parameters(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers that have parameters, in order, each once."""
    check_kinds(layers)
    return list({id(layer): layer for layer in layers if layer.parameters()}.values())


def give_channels(layers: Sequence[Layer], network: Any) -> None:
    """Let each Conv3x3 that was made without channels, and is as it was made, take them from the layer before it.

    A layer keeps its one channel if an earlier position needs it so, or if a network other than `network` has it.
    """
    if not any(isinstance(layer, Conv3x3) and layer._open is not None for layer in layers[1:]):
        return
    shape: tuple[int, ...] = _ANY_SIZE
    for position, layer in enumerate(layers):
        if isinstance(layer, Conv3x3) and len(shape) == 3 and layer.is_open():
            is_elsewhere = any(layer is before for before in layers[:position])
            if not is_elsewhere and layer.network() in (None, network):
                layer.take_channels(shape[2])
        try:
            shape = (*_ANY_SIZE, *layer.output_shape(shape)[2:])
        except ValueError:  # the layers do not fit together, or their outputs have no channels
            return


def check_fit(layers: Sequence[Layer], image_shape: tuple[int, ...]) -> None:
    """Refuse layers that do not fit together for images (height, width) or (height, width, channels)."""
    shape = image_shape
    for position, layer in enumerate(layers):
        where = f"layers[{position}] ({type(layer).__name__})"
        if isinstance(layer, Conv3x3) and layer.in_channels is None and len(shape) == 3:
            help = f"Conv3x3({layer.num_filters}, in_channels={shape[2]}) takes it"
            raise ValueError(f"{where}: expected input (height, width), got {shape} ({help})")
        try:
            shape = layer.output_shape(shape)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if isinstance(layer, BatchNorm) and any(layer is before for before in layers[:position]):
            raise ValueError(
                f"{where}: expected a BatchNorm at one position, because its running statistics are those of one "
                f"place, got that of layers[{_position_of(layer, layers)}] again (make another one)"
            )
        if position > 0 and isinstance(layers[position - 1], Softmax):
            raise ValueError(f"{where}: expected nothing after Softmax, got another layer")
    if not layers:
        raise ValueError("layers: expected Softmax, Dense or another layer with outputs (nodes,) at the end, got none")
    if len(shape) != 1:
        raise ValueError(
            f"layers: expected Softmax, Dense or another layer with outputs (nodes,) at the end, got "
            f"{type(layers[-1]).__name__} with outputs {shape}"
        )


def _position_of(layer: Layer, layers: Sequence[Layer]) -> int:
    return next(position for position, other in enumerate(layers) if other is layer)


def check_least_batch(layers: Sequence[Layer], image_shape: tuple[int, ...], least: int) -> None:
    """Refuse a batch of one image if a BatchNorm has a single value of each channel in it."""
    if least > 1 or not any(isinstance(layer, BatchNorm) for layer in layers):
        return
    for position, (layer, shape) in enumerate(zip(layers, sizes(layers, image_shape)[0], strict=True)):
        if isinstance(layer, BatchNorm) and layer.trainable and all(size == 1 for size in shape[:-1]):
            raise ValueError(
                f"layers[{position}] (BatchNorm): expected at least 2 images in each batch, because the layer has only "
                "one value of each channel of an image, got a batch of 1 (another batch_size or number of images helps)"
            )


def fits(layers: Sequence[Layer], image_shape: tuple[int, ...]) -> bool:
    """Whether the layers fit together for images (height, width) or (height, width, channels)."""
    try:
        check_fit(layers, image_shape)
    except ValueError:
        return False
    return True


def channels(layers: Sequence[Layer]) -> int:
    """Return how many channels the first convolution takes: 1 for grey images, or if there is no convolution."""
    first = next((layer for layer in layers if isinstance(layer, (Conv3x3, Dense))), None)
    return (first.in_channels or 1) if isinstance(first, Conv3x3) else 1


def image_axes(layers: Sequence[Layer]) -> tuple[int | str, ...]:
    """Return the axes of an image that the first convolution takes, for a message."""
    count = channels(layers)
    return ("height", "width") if count == 1 else ("height", "width", count)


def usual_shape(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Return the shape of images for which a network is described before it has seen any: MNIST's or CIFAR's."""
    count = channels(layers)
    return (28, 28) if count == 1 else (32, 32, count)


def takes_any_size(layers: Sequence[Layer]) -> bool:
    """Whether the layers' output has the same shape for images of every size."""
    return any(isinstance(layer, GlobalAveragePool) for layer in layers)


def frozen_count(layers: Sequence[Layer], counts: Sequence[int]) -> int:
    """Return how many parameters training does not change. `counts` has those of each layer."""
    return sum(count for layer, count in zip(layers, counts, strict=True) if not layer.trainable)


def sizes(layers: Sequence[Layer], image_shape: tuple[int, ...]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return each layer's output shape, and how many parameters it has that no layer before it has."""
    shapes: list[tuple[int, ...]] = []
    counts = []
    for position, layer in enumerate(layers):
        shapes.append(layer.output_shape(shapes[-1] if shapes else image_shape))
        is_again = any(layer is before for before in layers[:position])
        counts.append(0 if is_again else layer.parameter_count())
    return shapes, counts
