"""One node of an ONNX graph, and how it is refused."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from onnx import numpy_helper
from onnx.helper import get_attribute_value


class Node:
    """A node of the graph, with its settings as Python values."""

    def __init__(self, node: Any, constants: dict[str, Any]) -> None:
        self.operator, self.name = node.op_type, f"node {node.name or node.output[0]!r} ({node.op_type})"
        self.is_standard = node.domain in ("", "ai.onnx")
        self.inputs, self.outputs = list(node.input), [name for name in node.output if name]
        self.key = node.name
        self._constants = constants
        self._settings = {it.name: _plain(get_attribute_value(it)) for it in node.attribute}

    def refuse(self, expected: str, got: Any) -> NoReturn:
        raise ValueError(f"{self.name}: expected {expected}, got {got}")

    def setting(self, name: str, default: Any, position: int | None = None) -> Any:
        """Return an attribute, which in other versions of ONNX is the constant input at `position`."""
        if position is not None and len(self.inputs) > position and self.inputs[position]:
            return self.constant(position).tolist()
        return self._settings.get(name, default)

    def constant(self, position: int) -> Any:
        """Return the constant input at `position`."""
        name = self.inputs[position] if len(self.inputs) > position else ""
        if name not in self._constants:
            self.refuse(f"a constant as input {position}", repr(name))
        return self._constants[name]

    def weights(self, position: int) -> Any:
        """Return the constant input at `position`, whose numbers must be float32 or float64."""
        values = self.constant(position)
        if values.dtype not in (np.float32, np.float64):
            self.refuse("float32 or float64", f"{values.dtype} in {self.inputs[position]!r}")
        return values

    def check(self, known: dict[str, tuple[Any, ...]]) -> None:
        """Refuse settings that have values which cnnx has not."""
        for name, value in self._settings.items():
            if value not in known.get(name, ()):
                expected = " or ".join(map(str, known[name])) if name in known else "none"
                self.refuse(f"{name} {expected}", value)

    def value(self) -> Any:
        """Return the value of a Constant."""
        (name, value), *_ = self._settings.items()
        if name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
            self.refuse("a constant of numbers", name)
        return numpy_helper.to_array(value) if name == "value" else np.asarray(value)


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
