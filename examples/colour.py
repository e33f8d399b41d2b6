"""A network that reads colour: it tells red, green and blue circles, squares and triangles on noisy backgrounds apart.

Neither the colour nor the shape alone decides. `python examples/colour.py` draws the pictures, trains for some seconds,
and recognises about 99% of the pictures that it was not trained on.
"""

import numpy as np

from cnnx import Adam, Conv3x3, MaxPool2, ReLU, Sequential, Softmax

SIDE, COLOURS, SHAPES = 32, 3, 3


def pictures(count, rng):
    """Draw pictures (count, 32, 32, 3), uint8, and their labels (count,): 3 * colour + shape."""
    labels = rng.integers(COLOURS * SHAPES, size=count)
    colours, shapes = np.divmod(labels, SHAPES)

    # Patches of 8x8 pixels make a background of all colours, with noise on each pixel.
    patches = rng.integers(40, 140, (count, SIDE // 8, SIDE // 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    images = patches + rng.normal(0, 10, patches.shape)

    # Every pixel's place, measured from the middle of the shape in units of the shape's size.
    size = rng.uniform(7, 11, (count, 1, 1))
    middle = rng.uniform(10, SIDE - 10, (2, count, 1, 1))
    y, x = (np.indices((SIDE, SIDE))[:, np.newaxis] - middle) / size
    circle, square = x**2 + y**2 < 1, np.maximum(abs(x), abs(y)) < 0.85
    triangle = (abs(x) < (y + 1) / 2) & (y < 1)
    inside = np.select([(shapes == 0)[:, None, None], (shapes == 1)[:, None, None]], [circle, square], triangle)

    # One channel of the shape is bright, and the other two are as bright as the background.
    picture, row, column = np.nonzero(inside)
    images[picture, row, column, colours[picture]] += 110
    return images.clip(0, 255).astype(np.uint8), labels


def main():
    """Train on 6,000 pictures, and test on 1,000 others."""
    rng = np.random.default_rng(0)
    train_images, train_labels = pictures(6000, rng)
    test_images, test_labels = pictures(1000, rng)

    settings = {"dtype": np.float32, "rng": rng}
    network = Sequential(
        [
            Conv3x3(16, in_channels=3, **settings),
            ReLU(),
            MaxPool2(),
            Conv3x3(32, in_channels=16, **settings),
            ReLU(),
            MaxPool2(),
            Softmax(6 * 6 * 32, COLOURS * SHAPES, **settings),
        ]
    )
    options = {"batch_size": 32, "optimizer": Adam(0.006), "schedule": "one_cycle", "rng": rng}
    network.fit(train_images, train_labels, epochs=6, **options)
    loss, accuracy = network.evaluate(test_images, test_labels)
    print(f"pictures not trained on: loss {loss:.3f}, accuracy {accuracy:.1%}")


if __name__ == "__main__":
    main()
