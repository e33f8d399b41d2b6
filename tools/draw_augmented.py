"""Draw `docs/augmented.png`: digits of the sample as `cnnx.RandomAffine` shows them to a network, one digit a row.

    python tools/draw_augmented.py

The file's bytes depend only on the seed and on the deflate implementation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import png
from numpy.typing import NDArray

import cnnx
from cnnx.reference import affine

PICTURE = Path(__file__).parents[1] / "docs" / "augmented.png"
DIGITS, VERSIONS = (2, 3, 4, 5), 4  # a row each; columns
MAGNIFIED, GAP, GAP_GREY = 4, 4, 208
SEED = 0


def augmented(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images (count, height, width), each resampled by a random map of its own."""
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


def main() -> None:
    digits = cnnx.data.load("sample")
    chosen = [int(np.argmax(digits.train_labels == digit)) for digit in DIGITS]
    images = augmented(digits.train_images[np.repeat(chosen, VERSIONS)])
    png.write(PICTURE, grid(images))


if __name__ == "__main__":
    main()
