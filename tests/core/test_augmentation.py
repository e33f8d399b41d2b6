"""Augmented images are those of the reference, wherever a map reads them."""

import numpy as np
from pairwise import pairwise
from stacks import IMAGE, STACKS, problem, stack
from tolerances import assert_close, assert_same_bits
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
    names=["biased:7 pool softmax:5", STACKS[2], "conv:7 pool softmax:5"],
    channels=[1, 3, 5],
    dtype=DTYPES,
    target=cnnx.targets(),
)
def test_augmented_images_are_the_reference_s(rng, background, kind, maps, names, channels, dtype):
    if channels > 1 and names.startswith("biased"):
        names = STACKS[2]  # the article's layer reads one channel
    image_shape = IMAGE if channels == 1 else (*IMAGE, channels)
    images, labels = problem(rng, names, 40, kind, image_shape)
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
        network = Sequential(stack(cnnx, names, dtype, image_shape))
        # Without a step, since rounding may break a tie in the pooling, from where on two runs part.
        history = network.fit(shown, labels, epochs=1, learn_rate=0.0, batch_size=4, shuffle=False, **options)
        losses.append(history.losses.astype(dtype))
    assert_close(*losses, terms=300)


def test_a_random_shift_takes_every_whole_step_within_its_bounds(rng):
    maps = cnnx.RandomShift(2).maps(400, (9, 7), rng)
    assert_same_bits(maps[:, :, :2], np.tile(np.eye(2), (400, 1, 1)))
    for axis in (0, 1):
        assert set(maps[:, axis, 2]) == {-2, -1, 0, 1, 2}


def test_a_random_affine_map_turns_and_scales_around_the_middle_which_stays_within_its_shift(rng):
    maps = cnnx.RandomAffine(rotation=20, scale=0.25, shift=1.5).maps(400, (9, 14), rng)
    middle = np.array([4, 6.5, 1])
    moved = maps @ middle - middle[:2]
    angles = np.degrees(np.arctan2(maps[:, 0, 1], maps[:, 0, 0]))
    zooms = 1 / np.hypot(maps[:, 0, 0], maps[:, 0, 1])
    for values, bound in ((moved, 1.5), (angles, 20), (zooms - 1, 0.25)):
        assert np.abs(values).max() <= bound + 1e-12
        assert values.min() < -0.9 * bound
        assert values.max() > 0.9 * bound
    np.testing.assert_allclose(maps[:, 0, 0], maps[:, 1, 1])  # no shear
    np.testing.assert_allclose(maps[:, 0, 1], -maps[:, 1, 0])


def test_a_random_flip_mirrors_half_of_the_images_and_leaves_the_others(rng):
    images = rng.random((400, 5, 8, 3))
    maps = cnnx.RandomFlip().maps(400, (5, 8), rng)
    shown = np.array([reference.affine(image, map_, -1.0) for image, map_ in zip(images, maps, strict=True)])
    is_mirrored = np.array([np.array_equal(one, image[:, ::-1]) for one, image in zip(shown, images, strict=True)])
    assert 150 < is_mirrored.sum() < 250
    assert_same_bits(shown[~is_mirrored], images[~is_mirrored])


def test_the_generator_decides_where_images_move(rng):
    images, labels = problem(rng, STACKS[2], 20)
    losses = []
    for seed in (1, 1, 2):
        network, generator = Sequential(stack(cnnx, STACKS[2])), np.random.default_rng(seed)
        options = {"augment": cnnx.RandomShift(2), "shuffle": False, "rng": generator}
        losses.append(network.fit(images, labels, epochs=1, learn_rate=0.0, **options).losses)
    assert_same_bits(losses[1], losses[0])
    assert (losses[2] != losses[0]).any()
