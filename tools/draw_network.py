"""Draw `docs/network.png`: a digit's way through the article's network, after three epochs on the sample.

    python tools/draw_network.py

From left to right: the image, the 8 outputs of the convolution, the same after the pooling, and the 10 probabilities.
The seed decides on everything but the rounding of the CPU that trains.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import png
from numpy.typing import NDArray

import cnnx

PICTURE = Path(__file__).parents[1] / "docs" / "network.png"
DIGIT, SEED = 0, 0  # which test digit, and the start of all random numbers

INK, LOW, HIGH, PAPER = (23, 37, 84), (194, 65, 12), (29, 78, 216), (255, 255, 255)
FRAME, FAINT, ARROW = (203, 213, 225), (237, 241, 246), (148, 163, 184)
MARGIN, GAP, BETWEEN, BAR = 16, 8, 44, 190
SIDE, COLUMNS, ROWS = 78, 2, 4  # of a map, 26 * 3 or 13 * 6 pixels; and how maps are arranged

Picture = NDArray[np.float64]  # (height, width, 3), 0 to 255


def blend(share: NDArray[np.float64], colour: tuple[int, int, int], ground: tuple[int, int, int] = PAPER) -> Picture:
    """Return `colour` where the share (height, width) is 1, and `ground` where it is 0."""
    return np.array(ground) + share[:, :, np.newaxis] * (np.array(colour) - np.array(ground))


def signed(values: NDArray[np.float64], largest: float) -> Picture:
    """Return values (height, width) in colour: HIGH above 0, LOW below, PAPER at 0. The root shows small values too."""
    share = np.clip(values / largest, -1, 1)[:, :, np.newaxis]
    colour = np.where(share > 0, np.array(HIGH), np.array(LOW))
    return np.array(PAPER) + np.abs(share) ** 0.5 * (colour - np.array(PAPER))


def magnified(picture: Picture, side: int) -> Picture:
    times = side // picture.shape[0]
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def framed(picture: Picture) -> Picture:
    """Draw a line around a picture, over its outermost pixels."""
    picture = picture.copy()
    picture[[0, -1], :] = picture[:, [0, -1]] = FRAME
    return picture


def tiles(maps: NDArray[np.float64]) -> Picture:
    """Return maps (side, side, 8), two in a row, on one scale of colours."""
    largest = np.abs(maps).max()
    height, width = ROWS * (SIDE + GAP) - GAP, COLUMNS * (SIDE + GAP) - GAP
    picture = blend(np.zeros((height, width)), PAPER)
    for i in range(ROWS * COLUMNS):
        y, x = i // COLUMNS * (SIDE + GAP), i % COLUMNS * (SIDE + GAP)
        picture[y : y + SIDE, x : x + SIDE] = framed(magnified(signed(maps[:, :, i], largest), SIDE))
    return picture


def arrow(height: int) -> Picture:
    """Return an arrow to the right, in the middle of `height`."""
    fine = 4  # samples in each direction, for smooth edges
    y, x = np.mgrid[: height * fine, : BETWEEN * fine] / fine + 0.5 / fine
    y = np.abs(y - height / 2)
    head = (x > BETWEEN / 2 - 4) & (y < BETWEEN / 2 + 8 - x)
    shaft = (x > BETWEEN / 2 - 13) & (x <= BETWEEN / 2 - 4) & (y < 3)
    share = (head | shaft).reshape(height, fine, BETWEEN, fine).mean(axis=(1, 3))
    return blend(share, ARROW)


def bars(probabilities: NDArray[np.float64], examples: NDArray[np.uint8], height: int) -> Picture:
    """Return a bar for each class, after an example (28, 28) of it."""
    side, thickness = examples.shape[1], 14
    picture = blend(np.zeros((height, side + GAP + BAR)), PAPER)
    for i, (probability, example) in enumerate(zip(probabilities, examples, strict=True)):
        middle = round((i + 0.5) * height / len(examples))
        picture[middle - side // 2 : middle + side // 2, :side] = blend(example / 255, INK)
        row = picture[middle - thickness // 2 : middle + thickness // 2, side + GAP :]
        row[:] = FAINT
        row[:, : round(probability * BAR)] = HIGH if probability == probabilities.max() else ARROW
    return picture


def main() -> None:
    digits = cnnx.data.load("sample")
    np.random.seed(SEED)
    network = cnnx.models.article_cnn()
    network.fit(digits.train_images, digits.train_labels, epochs=3, learn_rate=0.005)
    conv, pool, softmax = network.layers

    image = digits.test_images[DIGIT]
    outputs = conv.forward(image / 255 - 0.5)
    pooled = pool.forward(outputs)
    probabilities = softmax.forward(pooled)
    examples = np.stack([digits.train_images[np.argmax(digits.train_labels == label)] for label in range(10)])

    maps = tiles(outputs)
    height = len(maps)
    side = 10 * len(image)
    margin = (height - side) // 2
    first = np.pad(
        framed(magnified(blend(image / 255, INK), side)), ((margin,) * 2, (0, 0), (0, 0)), constant_values=255
    )
    parts = [
        first,
        arrow(height),
        maps,
        arrow(height),
        tiles(pooled),
        arrow(height),
        bars(probabilities, examples, height),
    ]
    picture = np.pad(np.hstack(parts), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255)
    png.write(PICTURE, np.round(picture).astype(np.uint8))


if __name__ == "__main__":
    main()
