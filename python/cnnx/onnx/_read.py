"""An ONNX graph becomes a network, if it is a row of operators that cnnx has.

The channels come first in ONNX, and last in cnnx. So convolutions' weights are transposed, and the rows of a dense
layer's weights are put into cnnx's order if the graph flattens images whose channels come first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype

from .._images import Pixels
from .._whole_files import naming
from ..layers import BatchNorm, Conv3x3, Dense, Dropout, GlobalAveragePool, Layer, MaxPool2, ReLU, Softmax
from ..layers.initial import UNINITIALISED
from ..network import Sequential
from ._layout import Layout
from ._node import Node
from ._write import METADATA

_WINDOW: dict[str, tuple[Any, ...]] = {"auto_pad": ("NOTSET", "VALID"), "dilations": ([1, 1],)}
_CONV = {**_WINDOW, "auto_pad": ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), "kernel_shape": ([3, 3],)}
_CONV |= {"strides": ([1, 1],), "group": (1,), "pads": ([0] * 4, [1] * 4)}
_POOL = {**_WINDOW, "kernel_shape": ([2, 2],), "strides": ([2, 2],), "pads": ([0] * 4,)}
_POOL |= {"ceil_mode": (0,), "storage_order": (0, 1)}
_INPUTS = (TensorProto.UINT8, TensorProto.FLOAT, TensorProto.DOUBLE)


def load(path: str | os.PathLike[str], *, softmax: bool = False) -> Sequential:
    """Read a network from an ONNX file.

    The graph must be a row of these operators, with the settings that cnnx has: Conv (3x3, stride 1), MaxPool (2x2),
    GlobalAveragePool, BatchNormalization, Relu, Dropout, Flatten, Gemm, MatMul with Add, Softmax, and those that only
    change the axes. Its input is (n, height, width), (n, channels, height, width) or (n, features). The network takes
    images as all networks do, with the channels last. Features are images that are one pixel high.

    Pooling shares gradients as the file says if cnnx wrote it, and else as most libraries do: ``ties="first"``.

    Args:
        path: the file.
        softmax: whether a Softmax ends the network where the graph ends with a dense layer. Many libraries leave it
            to their loss.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not ONNX, or cnnx cannot express the graph. The message names the node.
    """
    with naming(path):
        data = Path(path).read_bytes()
        try:
            model = onnx.load_model_from_string(data)
            onnx.checker.check_model(model)
        except Exception as error:  # a foreign file can make the parser raise anything
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{path}: expected an ONNX model, got another or a damaged file ({reason})") from None
        try:
            return _Reader(model).network(softmax)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


class _Reader:
    """Goes along the nodes and collects layers.

    Attributes:
        layers: the layers so far.
        layout: the axes of the last node's output.
    """

    def __init__(self, model: Any) -> None:
        graph = model.graph
        self._constants = {it.name: numpy_helper.to_array(it) for it in graph.initializer}
        inputs = [it for it in graph.input if it.name not in self._constants]
        for kind, found in (("input", inputs), ("output", graph.output)):
            if len(found) != 1:
                raise ValueError(f"graph: expected one {kind}, got {[it.name for it in found]}")
        self._nodes, self._input, self._output = graph.node, inputs[0].name, graph.output[0].name
        properties = {it.key: it.value for it in model.metadata_props}
        try:
            kept = json.loads(properties.get(METADATA, "{}"))
            self._ties, pixels = dict(kept.get("ties", {})), kept.get("pixels")
            self._pixels = None if pixels is None else Pixels(**pixels)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"metadata {METADATA!r}: expected what cnnx writes, got another text ({error})") from None
        self.layers: list[Layer] = []
        self._layers: dict[Any, Layer] = {}  # by what they are made of: nodes with the same weights are one layer
        kind = inputs[0].type.tensor_type
        dims = [it.dim_value if it.WhichOneof("value") == "dim_value" else None for it in kind.shape.dim]
        if len(dims) not in (2, 3, 4) or kind.elem_type not in _INPUTS:
            got = f"{tensor_dtype_to_np_dtype(kind.elem_type)} {dims}"
            raise ValueError(f"input {self._input!r}: expected images or features, uint8 or floats, got {got}")
        self.layout = Layout(dims)
        self._scale = [1.0, 0.0] if kind.elem_type == TensorProto.UINT8 else None  # factor and offset of bytes

    def network(self, softmax: bool) -> Sequential:
        """Return the network that computes what the graph does."""
        current = self._input
        for proto in self._nodes:
            node = Node(proto, self._constants)
            if not node.is_standard or node.operator not in _READERS:
                node.refuse(f"one of {', '.join(_READERS)}", f"{proto.domain} {proto.op_type}".strip())
            if node.operator == "Constant":
                self._constants[node.outputs[0]] = node.value()
                continue
            changing = [name for name in node.inputs if name and name not in self._constants]
            if changing != [current] or len(node.outputs) != 1:
                node.refuse(f"one input, {current!r}, and one output (cnnx has layers in a row)", changing)
            _READERS[node.operator](self, node)
            current = node.outputs[0]
        if current != self._output:
            raise ValueError(f"graph: expected the last node's output, {current!r}, got {self._output!r}")
        if softmax and self.layers and isinstance(self.layers[-1], Dense):
            self._end_with_softmax()
        network = Sequential(self.layers)
        network.image_shape = self.layout.image_shape
        network.pixels = self._pixels
        return network

    def _add(self, node: Node, layer: Layer) -> None:
        if self._scale is not None:
            if not np.allclose(self._scale, (1 / 255, -0.5), atol=1e-7):
                factor, offset = self._scale
                node.refuse("bytes as x / 255 - 0.5 before the first layer", f"x * {factor:g} + {offset:g}")
            self._scale = None
        self.layers.append(layer)

    def conv(self, node: Node) -> None:
        self.layout.expect(node, "NCHW")
        node.check(_CONV)
        weights = node.weights(1)
        if weights.shape[2:] != (3, 3):
            node.refuse("filters of 3x3", "x".join(map(str, weights.shape[2:])))
        pads, auto_pad = node.setting("pads", [0] * 4), node.setting("auto_pad", "NOTSET")
        is_padded = pads == [1] * 4 or auto_pad.startswith("SAME")
        key = ("Conv", is_padded, *node.inputs[1:])
        if key not in self._layers:
            self._layers[key] = self._convolution(node, weights, is_padded)
        self._add(node, self._layers[key])
        self.layout.after_convolution(len(weights), is_padded)

    def _convolution(self, node: Node, weights: Any, is_padded: bool) -> Conv3x3:
        filters = np.array(weights.transpose(0, 2, 3, 1), order="C")  # a copy, which is writable
        has_biases = len(node.inputs) > 2 and bool(node.inputs[2])
        is_article = filters.shape[3] == 1 and not has_biases and not is_padded and not self.layers
        layer = Conv3x3(
            len(filters),
            None if is_article else filters.shape[3],
            padding="same" if is_padded else "valid",
            use_bias=has_biases,
            dtype=filters.dtype,
            rng=UNINITIALISED,
        )
        layer.filters = filters[..., 0].copy() if is_article else filters
        if has_biases:
            layer.biases = node.weights(2).copy()
        return layer

    def max_pool(self, node: Node) -> None:
        self.layout.expect(node, "NCHW")
        node.check(_POOL)
        if node.setting("strides", [1, 1]) != [2, 2]:
            node.refuse("strides [2, 2]", [1, 1])
        self._add(node, MaxPool2(ties=self._ties.get(node.key, "first")))
        self.layout.after_pooling()

    def global_average_pool(self, node: Node) -> None:
        self.layout.expect(node, "NCHW")
        self._add(node, GlobalAveragePool())
        self.layout.size = (1, 1)

    def reduce_mean(self, node: Node) -> None:
        axes = node.setting("axes", [], 1)
        if sorted(axis % 4 for axis in axes) != [2, 3]:
            node.refuse("axes [2, 3]", axes)
        self.global_average_pool(node)
        if not node.setting("keepdims", 1):
            self.layout.axes = "NF"

    def relu(self, node: Node) -> None:
        self._add(node, ReLU())

    def dropout(self, node: Node) -> None:
        if len(node.inputs) > 2 and node.inputs[2] and node.constant(2):
            node.refuse("training_mode False", "True")
        self._add(node, Dropout(_decimal(node.setting("ratio", 0.5, 1))))

    def batch_norm(self, node: Node) -> None:
        if self.layout.axes != "NF" or self.layout.size not in (None, (1, 1)):
            self.layout.expect(node, "NCHW")
        if node.setting("training_mode", 0) or not node.setting("spatial", 1):
            node.refuse("running statistics of each channel", "others")
        scale, offset, mean, variance = (node.weights(position).copy() for position in range(1, 5))
        eps, momentum = _decimal(node.setting("epsilon", 1e-5)), _decimal(node.setting("momentum", 0.9))
        layer = BatchNorm(len(scale), momentum, eps, dtype=scale.dtype)
        layer.scale, layer.offset, layer.running_mean, layer.running_var = scale, offset, mean, variance
        self._add(node, layer)

    def gemm(self, node: Node) -> None:
        node.check({"alpha": (1.0,), "beta": (1.0,), "transA": (0,), "transB": (0, 1)})
        self.dense(node, is_transposed=bool(node.setting("transB", 0)))

    def dense(self, node: Node, is_transposed: bool = False) -> None:
        self.layout.expect(node, "NF")
        weights = node.weights(1)
        if weights.ndim != 2:
            node.refuse("weights with two axes", weights.shape)
        weights = self.layout.dense_weights(node, weights.T if is_transposed else weights)
        key = ("Dense", self.layout.order, is_transposed, *node.inputs[1:])
        if key not in self._layers:
            layer = Dense(*weights.shape, dtype=weights.dtype, rng=UNINITIALISED)
            layer.weights = weights
            self._layers[key] = layer
            if len(node.inputs) > 2 and node.inputs[2]:
                _set_biases(node, layer, node.weights(2))
        self._add(node, self._layers[key])
        self.layout.after_dense()

    def softmax(self, node: Node) -> None:
        if not self.layers or not isinstance(self.layers[-1], Dense) or self.layout.axes != "NF":
            node.refuse("a dense layer before it", "none")
        if node.setting("axis", 1) not in (1, -1):
            node.refuse("axis 1", node.setting("axis", 1))
        self._end_with_softmax()

    def _end_with_softmax(self) -> None:
        dense: Any = self.layers.pop()
        softmax = Softmax(*dense.weights.shape, dtype=dense.dtype, rng=UNINITIALISED)
        softmax.weights, softmax.biases = dense.weights, dense.biases
        self.layers.append(softmax)

    def arithmetic(self, node: Node) -> None:
        """Read Add, Sub, Mul and Div: biases after a MatMul, and how bytes become numbers around zero."""
        is_swapped = node.inputs[0] in self._constants
        values = node.constant(0 if is_swapped else 1)
        last = self.layers[-1] if self.layers else None
        if self._scale is not None and values.size == 1 and not (is_swapped and node.operator in ("Sub", "Div")):
            factor, offset = _ARITHMETIC[node.operator](float(values.reshape(-1)[0]))
            self._scale = [self._scale[0] * factor, self._scale[1] * factor + offset]
        elif node.operator == "Add" and isinstance(last, Dense) and not last.biases.any():
            _set_biases(node, last, values)
        else:
            node.refuse("biases after a MatMul, or what bytes become before the first layer", "other arithmetic")

    def cast(self, node: Node) -> None:
        if self._scale is None or node.setting("to", None) not in (TensorProto.FLOAT, TensorProto.DOUBLE):
            node.refuse("bytes that become floats", "another cast")


def _decimal(value: float) -> float:
    """Return the number that one would type for a float32."""
    return float(f"{value:.7g}")


def _set_biases(node: Node, layer: Dense, biases: Any) -> None:
    nodes = layer.biases.shape[0]
    if biases.size not in (1, nodes) or biases.dtype != layer.dtype:
        node.refuse(f"{nodes} biases of {layer.dtype}", f"{biases.dtype} {biases.shape}")
    layer.biases = np.array(np.broadcast_to(biases.reshape(-1), nodes))


_ARITHMETIC: dict[str, Any] = {  # the constant -> a factor and an offset
    "Add": lambda value: (1, value),
    "Sub": lambda value: (1, -value),
    "Mul": lambda value: (value, 0),
    "Div": lambda value: (1 / value, 0),
}

_READERS: dict[str, Any] = {
    **dict.fromkeys(_ARITHMETIC, _Reader.arithmetic),
    "BatchNormalization": _Reader.batch_norm,
    "Cast": _Reader.cast,
    "Constant": None,
    "Conv": _Reader.conv,
    "Dropout": _Reader.dropout,
    "Flatten": lambda reader, node: reader.layout.read_flatten(node),
    "Gemm": _Reader.gemm,
    "GlobalAveragePool": _Reader.global_average_pool,
    "Identity": lambda _reader, _node: None,
    "MatMul": _Reader.dense,
    "MaxPool": _Reader.max_pool,
    "ReduceMean": _Reader.reduce_mean,
    "Relu": _Reader.relu,
    "Reshape": lambda reader, node: reader.layout.read_reshape(node),
    "Softmax": _Reader.softmax,
    "Squeeze": lambda reader, node: reader.layout.read_squeeze(node),
    "Transpose": lambda reader, node: reader.layout.read_transpose(node),
    "Unsqueeze": lambda reader, node: reader.layout.read_unsqueeze(node),
}
