"""Networks in ONNX files, which other programs can read and write. The module needs the extra ``onnx``.

- `export` writes a network.
- `load` reads one, from cnnx or from another library, if the layers of cnnx can express it.

The operators are those of https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from .._extras import missing

try:
    import onnx as _  # noqa: F401
except ImportError as error:
    raise missing("cnnx.onnx", "onnx", "onnx") from error

from ._read import load
from ._write import export

__all__ = ["export", "load"]
