"""A network becomes an ONNX graph: each layer one operator, or a few of them.

cnnx keeps the channels last, and ONNX's convolutions take them first: (n, channels, height, width). The graph's input
is (n, height, width) or (n, height, width, channels), as in cnnx. The channels come to the front before the first
convolution, and go to the end again before the first dense layer, so that dense weights stay as they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .. import _checks, _stack
from .._whole_files import naming, writing
from ..layers import BatchNorm, Conv3x3, Dense, Dropout, GlobalAveragePool, Layer, MaxPool2, ReLU, Softmax
from ..network import Sequential

OPSET = 17  # of 2022, so that most readers know it
IR_VERSION = 8  # the file format that came with this set of operators
METADATA = "cnnx"  # the key under which a file keeps what ONNX has no place for


def export(
    network: Sequential,
    path: str | os.PathLike[str],
    *,
    image_shape: tuple[int, ...] | None = None,
    uint8: bool = False,
) -> None:
    """Write a network into an ONNX file, which appears whole or not at all.

    The graph computes what `Sequential.predict` does, in float32. Its input "images" is (n, height, width) or
    (n, height, width, channels) for any n. Its output is (n, nodes): "probabilities" after a Softmax, and else
    "output".

    Args:
        network: the network.
        path: the file, which is replaced if it exists.
        image_shape: (height, width) or (height, width, channels) of the images. None takes the network's own. A network
            that has none, and takes images of every size, has an input of any size.
        uint8: whether the input has bytes, which the graph then reads as x / 255 - 0.5. Else it has floats.

    Raises:
        TypeError: a layer has no counterpart in ONNX.
        ValueError: the layers do not fit together, or the size of the images is not known.
        OSError: the file cannot be written.
    """
    if not isinstance(network, Sequential):
        raise TypeError(f"network: expected a Sequential, got {type(network).__name__}")
    uint8 = _checks.boolean("uint8", uint8)
    shape = network.image_shape if image_shape is None else _checks.image_shape("image_shape", image_shape)
    if shape is None and not _stack.takes_any_size(network.layers):
        raise ValueError("image_shape: expected a height and a width, since the network knows none, got None")
    network.summary(shape)  # refuses layers that do not fit together
    nodes = _stack.node_count(network.layers, shape or _stack.usual_shape(network.layers))
    model = _model(network, shape or _stack.image_axes(network.layers), nodes, uint8)
    onnx.checker.check_model(model, full_check=True)
    with naming(path), writing(Path(path)) as file:
        file.write(model.SerializeToString())


def _model(network: Sequential, image_axes: tuple[int | str, ...], nodes: int, uint8: bool) -> Any:
    """Return the model, which has `nodes` outputs. An axis of any size has a name in `image_axes`."""
    graph = _Graph("NHW" if len(image_axes) == 2 else "NHWC")
    if uint8:
        graph.add("scale", "Cast", to=TensorProto.FLOAT)
        graph.add("scale", "Div", graph.constant("scale.most", np.float32(255)))
        graph.add("scale", "Sub", graph.constant("scale.middle", np.float32(0.5)))
    first = {id(layer): position for position, layer in reversed(list(enumerate(network.layers)))}
    ties = {}
    for position, layer in enumerate(network.layers):
        write = _WRITERS.get(type(layer))
        if write is None:
            raise TypeError(f"layers[{position}] ({type(layer).__name__}): expected a layer that ONNX has")
        graph.owner = f"{first[id(layer)]}"  # a layer at several positions has its parameters once
        graph.layer = f"{position} {type(layer).__name__}"
        write(graph, layer)
        if isinstance(layer, MaxPool2):
            ties[graph.nodes[-1].name] = layer.ties
    graph.flatten()
    output = "probabilities" if _stack.ends_in_softmax(network.layers) else "output"
    graph.nodes[-1].output[0] = output
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "network",
            [
                helper.make_tensor_value_info(
                    "images",
                    TensorProto.UINT8 if uint8 else TensorProto.FLOAT,
                    ["batch", *image_axes],
                )
            ],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", nodes])],
            list(graph.initializers.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="cnnx",
    )
    pixels = network.pixels and network.pixels._asdict()
    helper.set_model_props(model, {METADATA: json.dumps({"pixels": pixels, "ties": ties})})
    return model


class _Graph:
    """The nodes so far. Each takes the output of the one before it.

    Attributes:
        nodes: the nodes.
        initializers: the constants by name.
        axes: what the last output's axes are: "NHW" or "NHWC" for images, "NCHW", or "NF" for flat values.
        owner: the first position of the layer that is being written, which names its parameters.
        layer: the position and kind of that layer, which name its nodes.
    """

    def __init__(self, axes: str) -> None:
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.axes = axes
        self.owner = self.layer = ""

    def constant(self, name: str, value: Any) -> str:
        """Keep a constant and return its name."""
        self.initializers[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def parameter(self, name: str, values: Any) -> str:
        """Keep a parameter of the layer and return its name."""
        return self.constant(f"{self.owner}.{name}", values.astype(np.float32))

    def add(self, layer: str, operator: str, *constants: str, **attributes: Any) -> None:
        """Add a node."""
        given = self.nodes[-1].output[0] if self.nodes else "images"
        name = f"{layer} {operator}" if layer.split()[-1] != operator else layer
        self.nodes.append(helper.make_node(operator, [given, *constants], [f"{name} output"], name=name, **attributes))

    def channels_first(self) -> None:
        """Bring the channels in front of height and width, where ONNX's operators for images expect them."""
        if self.axes == "NHW":
            self.add(self.layer, "Unsqueeze", self.constant("channels", np.array([1])))
        elif self.axes == "NHWC":
            self.add(self.layer, "Transpose", perm=[0, 3, 1, 2])
        self.axes = "NCHW"

    def flatten(self) -> None:
        """Bring the values into one row a sample, in cnnx's order: height, width, channels."""
        if self.axes == "NCHW":
            self.add(self.layer, "Transpose", perm=[0, 2, 3, 1])
        if self.axes != "NF":
            self.add(self.layer, "Flatten", axis=1)
        self.axes = "NF"


def _conv3x3(graph: _Graph, layer: Conv3x3) -> None:
    graph.channels_first()
    filters = layer.filters.reshape(layer.num_filters, 3, 3, -1)
    parameters = [graph.parameter("filters", filters.transpose(0, 3, 1, 2))]
    if layer.biases is not None:
        parameters.append(graph.parameter("biases", layer.biases))
    graph.add(graph.layer, "Conv", *parameters, kernel_shape=[3, 3], pads=[int(layer.padding == "same")] * 4)


def _batch_norm(graph: _Graph, layer: BatchNorm) -> None:
    if graph.axes != "NF":
        graph.channels_first()
    arrays = {**layer.parameters(), **layer.buffers()}
    names = [graph.parameter(name, arrays[name]) for name in ("scale", "offset", "running_mean", "running_var")]
    graph.add(graph.layer, "BatchNormalization", *names, epsilon=layer.eps, momentum=layer.momentum)


def _dense(graph: _Graph, layer: Dense | Softmax) -> None:
    graph.flatten()
    graph.add(graph.layer, "Gemm", graph.parameter("weights", layer.weights), graph.parameter("biases", layer.biases))


def _softmax(graph: _Graph, layer: Softmax) -> None:
    _dense(graph, layer)
    graph.add(graph.layer, "Softmax", axis=-1)


def _dropout(graph: _Graph, layer: Dropout) -> None:
    graph.add(graph.layer, "Dropout", graph.parameter("rate", np.array(layer.rate)))


def _max_pool2(graph: _Graph, _: MaxPool2) -> None:
    graph.channels_first()
    graph.add(graph.layer, "MaxPool", kernel_shape=[2, 2], strides=[2, 2])


def _relu(graph: _Graph, _: ReLU) -> None:
    graph.add(graph.layer, "Relu")


def _global_average_pool(graph: _Graph, _: GlobalAveragePool) -> None:
    graph.channels_first()
    graph.add(graph.layer, "GlobalAveragePool")


_WRITERS: dict[type[Layer], Callable[[_Graph, Any], None]] = {
    BatchNorm: _batch_norm,
    Conv3x3: _conv3x3,
    Dense: _dense,
    Dropout: _dropout,
    GlobalAveragePool: _global_average_pool,
    MaxPool2: _max_pool2,
    ReLU: _relu,
    Softmax: _softmax,
}
