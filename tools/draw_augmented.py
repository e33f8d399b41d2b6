"""Draw `docs/augmented.png`: digits of the sample as `cnnx.RandomAffine` shows them to a network, one digit a row.

    python tools/draw_augmented.py

Nothing but the seed, and the deflate implementation, decides on the file's bytes.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import cnnx
from cnnx.reference import affine

PICTURE = Path(__file__).parents[1] / "docs" / "augmented.png"
DIGITS, VERSIONS = (2, 3, 4, 5), 4  # a row each; columns
MAGNIFIED, GAP, GAP_GREY = 4, 4, 208
SEED = 0


def augmented(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return each image as read by a map of its own."""
    augment = cnnx.RandomAffine(rotation=10, scale=0.1, shift=2)
    maps = augment.maps(len(images), images.shape[1:], np.random.default_rng(SEED))
    read = [affine(image.astype(np.float64), map_, 0.0) for image, map_ in zip(images, maps, strict=True)]
    return np.round(read).astype(np.uint8)


def grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture of the images, VERSIONS a row, dark ink on white, with grey lines between them."""
    white = 255 - images.repeat(MAGNIFIED, axis=1).repeat(MAGNIFIED, axis=2)
    framed = np.pad(white, ((0, 0), (0, GAP), (0, GAP)), constant_values=GAP_GREY)
    rows = [np.hstack(framed[start : start + VERSIONS]) for start in range(0, len(framed), VERSIONS)]
    return np.vstack(rows)[:-GAP, :-GAP]


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return a grey picture (height, width) as a PNG file: its size, its rows unfiltered, its end."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits of grey
    rows = np.pad(picture, ((0, 0), (1, 0)))  # each after a zero, which says that it is not filtered
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def main() -> None:
    digits = cnnx.data.load("sample")
    chosen = [int(np.argmax(digits.train_labels == digit)) for digit in DIGITS]
    images = augmented(digits.train_images[np.repeat(chosen, VERSIONS)])
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(png(grid(images)))


if __name__ == "__main__":
    main()
