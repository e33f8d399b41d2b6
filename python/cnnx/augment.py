"""Small random changes to each image when it is read, so that a network never sees the same image twice.

An augmentation draws a map for each sample. The map, a matrix (2, 3), takes (y, x, 1) of the changed image to the place
in the original where its pixel is read, by bilinear interpolation between four neighbours (`cnnx.reference.affine`).
Places outside the original are background.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _checks
from ._attributes import KnownAttributes, Setting
from ._random import Rng, own_generator

__all__ = ["Augmentation", "RandomAffine", "RandomFlip", "RandomShift"]


def _background(name: str, value: Any) -> float | None:
    return None if value is None else _checks.number(name, value, "a finite number or None", math.isfinite)


def _no_background(name: str, value: Any) -> None:
    if value is not None:
        raise ValueError(f"{name}: expected None, because no pixel comes from outside the image, got {value!r}")


class Augmentation(KnownAttributes):
    """The base class of augmentations.

    Attributes:
        background: the value of pixels outside the images, in the images' own units: 0 to 255 for uint8. None for 0 in
            uint8 images, and for the smallest pixel of all images in float images.
    """

    background = Setting(_background)

    def maps(self, count: int, image_shape: tuple[int, ...], rng: Rng) -> NDArray[np.float64]:
        """Return a map for each sample.

        Args:
            count: how many samples.
            image_shape: (height, width) of the images.
            rng: a `numpy.random.Generator`, or an integer of at least 0 that seeds a new one; None draws a seed from
                numpy's global generator.

        Returns:
            float64 (count, 2, 3).
        """
        raise NotImplementedError


class RandomShift(Augmentation):
    """Moves each image by whole pixels, up to `pixels` in each direction. All shifts are equally likely.

    Args:
        pixels: how many pixels at most, at least 0.
        background: the value of pixels outside the image, as in `Augmentation`.
    """

    pixels = Setting(_checks.count)

    def __init__(self, pixels: int, *, background: float | None = None) -> None:
        self.pixels = pixels
        self.background = background

    def maps(
        self,
        count: int,
        image_shape: tuple[int, ...],  # noqa: ARG002  # a shift is the same at any size
        rng: Rng,
    ) -> NDArray[np.float64]:
        rng = own_generator(rng)
        maps = np.zeros((count, 2, 3))
        maps[:, 0, 0] = maps[:, 1, 1] = 1
        maps[:, :, 2] = rng.integers(-self.pixels, self.pixels, (count, 2), endpoint=True)
        return maps


class RandomFlip(Augmentation):
    """Mirrors every image with a probability of 1/2, so that left and right change places.

    It is for things that look alike from both sides, such as clothes, and not for digits and letters. No pixel comes
    from outside the image, so `background` is None and stays so.
    """

    background = Setting(_no_background)

    def __init__(self) -> None:
        self.background = None

    def maps(self, count: int, image_shape: tuple[int, ...], rng: Rng) -> NDArray[np.float64]:
        rng = own_generator(rng)
        maps = np.zeros((count, 2, 3))
        maps[:, 0, 0] = maps[:, 1, 1] = 1
        is_mirrored = rng.integers(2, size=count) == 1
        maps[is_mirrored, 1] = 0, -1, image_shape[1] - 1
        return maps


class RandomAffine(Augmentation):
    """Turns and scales each image around its middle, and shifts it. Each amount is uniform within its bounds.

    Args:
        rotation: by how many degrees at most, either way; finite and at least 0.
        scale: the factor is from 1 - scale to 1 + scale; from 0 to less than 1.
        shift: by how many pixels at most in each direction, fractions included; finite and at least 0.
        background: the value of pixels outside the image, as in `Augmentation`.
    """

    rotation = Setting(_checks.not_negative)
    scale = Setting(_checks.share)
    shift = Setting(_checks.not_negative)

    def __init__(
        self, *, rotation: float = 0.0, scale: float = 0.0, shift: float = 0.0, background: float | None = None
    ) -> None:
        self.rotation = rotation
        self.scale = scale
        self.shift = shift
        self.background = background

    def maps(self, count: int, image_shape: tuple[int, ...], rng: Rng) -> NDArray[np.float64]:
        rng = own_generator(rng)
        angle = np.radians(rng.uniform(-self.rotation, self.rotation, count))
        zoom = 1 / rng.uniform(1 - self.scale, 1 + self.scale, count)
        moved = rng.uniform(-self.shift, self.shift, (count, 2))
        cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
        turn = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], 1)
        middle = (np.array(image_shape) - 1) / 2
        return np.concatenate([turn, (middle - turn @ middle + moved)[:, :, np.newaxis]], 2)
