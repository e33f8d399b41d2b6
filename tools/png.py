"""PNG files without a library, for the pictures of docs/."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_COLOUR_TYPES = {1: 0, 3: 2}  # by the number of channels: grey, and red, green and blue


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture: (height, width) of grey, or (height, width, 3) of red, green and blue."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = picture.shape[:2]
    rows = picture.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[rows.shape[1] // width], 0, 0, 0)  # 8 bits each
    rows = np.pad(rows, ((0, 0), (1, 0)))  # each after a zero, which says that it is not filtered
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)) + chunk(b"IEND", b"")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
