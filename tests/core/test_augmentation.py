"""Augmented images are those of the reference, wherever a map reads them."""

import numpy as np
from pairwise import pairwise
from stacks import STACKS, problem, stack
from tolerances import assert_close
from twins import DTYPES

import cnnx
from cnnx import Sequential, reference
from cnnx.augment import Augmentation


class Given(Augmentation):
    """Reads the samples by maps that a test has chosen."""

    def __init__(self, chosen, background=None):
        self.chosen, self.background = chosen, background

    def maps(self, count, *_):
        assert count == len(self.chosen)
        return self.chosen


SHIFTS = [(0, 0), (2, -1), (-3, 4), (0, 13), (11, 0), (-20, 1), (1, 14), (5, -13)]


@pairwise(
    background=[None, "-0.5", "another"],
    kind=["bytes", "floats", "blank"],
    maps=["whole shifts", "affine"],
    names=["biased:7 pool softmax:5", STACKS[2]],
    dtype=DTYPES,
    target=cnnx.targets(),
)
def test_augmented_images_are_the_reference_s(rng, background, kind, maps, names, dtype):
    images, labels = problem(rng, names, 40, kind)
    chosen = np.zeros((40, 2, 3))
    chosen[:, 0, 0] = chosen[:, 1, 1] = 1
    if maps == "whole shifts":
        chosen[:, :, 2] = np.resize(SHIFTS, (40, 2))
    else:
        chosen += rng.normal(size=(40, 2, 3)) * [0.2, 0.2, 2]
    pixels = images / 255 - 0.5 if images.dtype == np.uint8 else images
    is_bytes = images.dtype == np.uint8
    given = {None: None, "-0.5": 0 if is_bytes else -0.5, "another": 51 if is_bytes else 0.25}[background]
    outside = given if given is not None else (0 if is_bytes else images.min())
    outside = outside / 255 - 0.5 if is_bytes else outside
    moved = np.array([reference.affine(image, matrix, outside) for image, matrix in zip(pixels, chosen, strict=True)])
    losses = []
    for shown, options in ((images, {"augment": Given(chosen, given)}), (moved, {})):
        network = Sequential(stack(cnnx, names, dtype))
        # Without a step, since rounding may break a tie in the pooling, from where on two runs part.
        history = network.fit(shown, labels, epochs=1, learn_rate=0.0, batch_size=4, shuffle=False, **options)
        losses.append(history.losses.astype(dtype))
    assert_close(*losses, terms=300)
