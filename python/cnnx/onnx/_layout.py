"""In which order a graph has an image's values, from node to node."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._node import Node

_AXES = {2: "NF", 3: "NHW", 4: "NCHW"}  # what an input of so many axes has


class Layout:
    """The axes of a node's output, and what is known of their lengths.

    Args:
        dims: the input's dimensions; None where one is not known. Four are taken as ONNX's: the channels come first.

    Attributes:
        axes: "NHW", "NCHW" or "NHWC" for images, and "NF" for flat values.
        order: how the values are flattened: "HWC", as in cnnx, or "CHW".
        size: (height, width); None if unknown.
        channels: how many channels there are; None if unknown.
        image_shape: the shape of the network's images; None if unknown.
    """

    def __init__(self, dims: list[int | None]) -> None:
        self._dims, self.axes, self.order = dims, _AXES[len(dims)], "HWC"
        self._is_untouched = True
        self._measure()

    def _measure(self) -> None:
        known = dict(zip(self.axes, self._dims, strict=True))
        height, width, self.channels = known.get("H", 1), known.get("W", known.get("F")), known.get("C", 1)
        self.size: tuple[int, int] | None = None if height is None or width is None else (height, width)
        shape = None if self.size is None or self.channels is None else (*self.size, self.channels)
        self.image_shape = shape[:2] if shape is not None and shape[2] == 1 else shape

    def expect(self, node: Node, axes: str) -> None:
        """Refuse a node whose input has other axes."""
        self._is_untouched = False
        if self.axes != axes:
            node.refuse(f"an input with the axes {', '.join(axes)}", ", ".join(self.axes))

    def after_convolution(self, filters: int, is_padded: bool) -> None:
        """Take the size and the channels of a convolution's output."""
        self.channels = filters
        if not is_padded and self.size is not None:
            self.size = self.size[0] - 2, self.size[1] - 2

    def after_pooling(self) -> None:
        """Take the size of a pooling layer's output."""
        if self.size is not None:
            self.size = self.size[0] // 2, self.size[1] // 2

    def after_dense(self) -> None:
        """Take the order of a dense layer's output, which has no height and width."""
        self.order, self.size, self.channels = "HWC", None, 1

    def flatten(self) -> None:
        """Bring each sample's values into a row."""
        if self.axes != "NF":
            self.order, self.axes = ("CHW" if self.axes == "NCHW" else "HWC"), "NF"

    def read_flatten(self, node: Node) -> None:
        if node.setting("axis", 1) not in (1, 1 - len(self.axes)):
            node.refuse("axis 1", node.setting("axis", 1))
        self.flatten()

    def read_reshape(self, node: Node) -> None:
        shape = node.constant(1).tolist()
        if len(shape) != 2 or (shape[0] not in (-1, 0, self._dims[0]) and shape[1] != -1):
            node.refuse("a shape that flattens each sample, such as [0, -1]", shape)
        self.flatten()

    def read_transpose(self, node: Node) -> None:
        perm = node.setting("perm", None)
        if self._is_untouched and self.axes == "NCHW" and perm == [0, 3, 1, 2]:
            self.axes = "NHWC"  # so the graph's input has the channels last
            self._measure()
        self._is_untouched = False
        is_complete = perm is not None and sorted(perm) == list(range(len(self.axes)))
        axes = "".join(self.axes[axis] for axis in perm) if is_complete else None
        if axes not in ("NCHW", "NHWC", "NHW"):
            node.refuse("perm [0, 2, 3, 1] or [0, 3, 1, 2]", perm)
        self.axes = axes

    def read_unsqueeze(self, node: Node) -> None:
        self.expect(node, "NHW")
        axes = node.setting("axes", [], 1)
        if axes not in ([1], [-3], [3], [-1]):
            node.refuse("axes [1] or [3]", axes)
        self.axes = "NCHW" if axes in ([1], [-3]) else "NHWC"

    def read_squeeze(self, node: Node) -> None:
        self.expect(node, "NCHW")
        axes = node.setting("axes", [], 1)
        if sorted(axis % 4 for axis in axes) != [2, 3] or self.size != (1, 1):
            node.refuse("axes [2, 3] of one pixel", axes)
        self.axes = "NF"

    def dense_weights(self, node: Node, weights: Any) -> Any:
        """Return a copy of dense weights, whose rows are for inputs in the order height, width, channels."""
        channels = self.channels
        if self.order == "CHW" and channels != 1 and self.size != (1, 1):
            if self.size is None or channels is None:
                node.refuse("images of a known size where they are flattened", self._dims)
            if math.prod(self.size) * channels != len(weights):
                node.refuse(f"{math.prod(self.size) * channels} inputs", len(weights))
            weights = weights.reshape(channels, *self.size, -1).transpose(1, 2, 0, 3).reshape(len(weights), -1)
        return np.array(weights, order="C")
