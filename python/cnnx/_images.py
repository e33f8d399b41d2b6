"""What a network expects of its images: their size, the scale of their pixels, and that the pixels are finite.

A network reads uint8 pixels as x / 255 - 0.5 and floats unchanged. It is easy to give it images on another scale than
those of the training, and it then recognises them badly. Scales are compared by the ranges of pixels, and only a clear
difference causes a warning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _core

if TYPE_CHECKING:
    from .augment import Augmentation

UINT8: np.dtype[Any] = np.dtype(np.uint8)

FLATTENED = "for flattened images use images.reshape(-1, height, width)"

MANY = 256  # images: from here on, a check of their scale takes little time compared with their prediction
_LARGEST_SIDE = 256  # pixels: no larger image is tried for the message of an error
_FEW_VALUES = 16  # uint8 images without a pixel above this probably do not use the scale from 0 to 255
_ENOUGH = 8  # images: fewer do not tell the scale of uint8 images, since one image may be dark
_SEVERAL = 16  # images: fewer do not tell that all images are too dark
_FIRST = 256  # uint8 images: they nearly always tell what all of them would


def as_stack(
    images: NDArray[Any],
    known: tuple[int, ...] | None,
    is_fixed: bool,
    takes: Callable[[tuple[int, ...]], bool],
) -> tuple[NDArray[Any], bool]:
    """Return images as (n, height, width) or (n, height, width, channels), and whether they are one image alone.

    - (n, height, width, channels) are n images. An axis of one channel is dropped, unless the layers need it.
    - (a, b, c) are n images (height, width), or one image (height, width, channels). The known size decides before the
      layers do, and if they take both, these are n images.
    - (height, width) is one image, whatever its size.
    - (n, values) are n flattened images, and (values,) is one, if `known` is the only size that the network takes.

    Nothing is copied. An array of any other shape is returned as it is.

    Args:
        images: C-contiguous.
        known: the shape of one image of the training, if the layers still take it; else None.
        is_fixed: whether the network takes no other size than `known`.
        takes: tells whether the layers take images of a shape.
    """

    def without_one(size: tuple[int, ...]) -> tuple[int, ...]:
        """Return a shape without an axis of one channel, unless the layers take it only with that axis."""
        bare = size[:2]
        return size if size[2:] != (1,) or (bare != known and takes(size) and not takes(bare)) else bare

    shape = images.shape
    if len(shape) == 4:
        return images.reshape(shape[0], *without_one(shape[1:])), False
    if len(shape) == 3:
        if shape[1:] == known:
            return images, False
        whole = without_one(shape)
        is_one = whole == known or (not takes(shape[1:]) and takes(whole))
        return (images.reshape(1, *whole), True) if is_one else (images, False)
    if len(shape) in (1, 2) and shape != known and known is not None and is_fixed and shape[-1] == math.prod(known):
        return images.reshape(-1, *known), len(shape) == 1
    return (images[np.newaxis], True) if len(shape) == 2 else (images, False)


def fitting_size(fits: Callable[[tuple[int, ...]], bool], channels: int) -> tuple[int, ...] | None:
    """Return the shape of the smallest square image that a network takes, for a message; None if there is none.

    `channels` is how many channels the network's first convolution takes.
    """
    sizes = ((side, side, *rest) for side in range(1, _LARGEST_SIDE) for rest in ((), (channels,)))
    return next((size for size in sizes if fits(size)), None)


def size_error(expected: tuple[int | str, ...], given: tuple[int, ...], reason: str = "") -> ValueError:
    """Return the error for images of a shape that does not fit, with advice if there is any.

    Args:
        expected: the (height, width) or (height, width, channels) that fits. An axis of any size is its name.
        given: the shape that was given.
        reason: why it does not fit, for the message.
    """
    advice = _advice(expected, given) or reason
    help = f" ({advice})" if advice else ""
    return ValueError(f"images: expected shape (n, {', '.join(map(str, expected))}), got {given}{help}")


def _advice(expected: tuple[int | str, ...], given: tuple[int, ...]) -> str:
    """Return what makes images of a given shape fit, or no words."""
    size, channels = expected[:2], expected[2] if len(expected) == 3 else 1

    def is_size(axes: tuple[int, ...]) -> bool:
        return len(axes) == 2 and all(want in (got, "height", "width") for want, got in zip(size, axes, strict=True))

    if len(given) in (3, 4) and is_size(given[-3:-1]) and given[-1] != channels:
        if channels == 1 and given[-1] in (3, 4):
            return f"a network whose first layer has in_channels={given[-1]} reads colour; images.mean(axis=-1) is grey"
        if channels != 1 and given[-1] == 1:
            return f"images.repeat({channels}, axis=-1) has the same grey in each channel"
        if len(given) == 4 and isinstance(channels, int) and given[-1] > channels > 1:
            return f"images[..., :{channels}] has the first {channels} channels"
    if channels != 1 and is_size(given[-2:]):
        if len(given) >= 3 and given[-3] == channels:
            return "np.moveaxis(images, -3, -1) puts the channels last"
        return f"images[..., np.newaxis].repeat({channels}, axis=-1) has the same grey in each channel"
    values = math.prod(axis if isinstance(axis, int) else 0 for axis in expected)
    if given and (given[-1] == values or (1 in given[1:] and math.prod(given[1:]) == values)):
        return FLATTENED.replace("height, width", ", ".join(map(str, expected)))
    return ""


def pixel_range(images: NDArray[Any], threads: int) -> tuple[float, float]:
    """Return the smallest and the largest pixel of float images; ValueError if a pixel is not finite."""
    least, most = _core.range_of(images, threads)
    if math.isnan(least):
        number, bad = next((number, bad) for number, image in enumerate(images) if (bad := ~np.isfinite(image)).any())
        place = (number, *np.argwhere(bad)[0].tolist())
        raise ValueError(f"images: expected finite pixels, got {images[place]} at images[{', '.join(map(str, place))}]")
    return least, most


class Pixels(NamedTuple):
    """The kind of images that a network was trained on, and the range of their pixels.

    Attributes:
        dtype: "uint8" or "float".
        least: the smallest pixel; 0 for uint8.
        most: the largest pixel; 255 for uint8 images that are not all dark.
        images: how many images the range comes from.
    """

    dtype: str
    least: float
    most: float
    images: int

    def as_read(self) -> tuple[float, float]:
        """Return the range of the values that the first layer gets."""
        is_bytes = self.dtype == "uint8"
        return (self.least / 255 - 0.5, self.most / 255 - 0.5) if is_bytes else (self.least, self.most)

    def __str__(self) -> str:
        least, most = self.as_read()
        read = f" (read as {least:.3g} to {most:.3g})" if self.dtype == "uint8" else ""
        return f"{self.dtype} from {self.least:.3g} to {self.most:.3g}{read}"

    def and_of(self, before: Pixels | None) -> Pixels:
        """Return the range of these images together with those before, if both are of one kind."""
        if before is None or before.dtype != self.dtype:
            return self
        least, most = min(self.least, before.least), max(self.most, before.most)
        return Pixels(self.dtype, least, most, self.images + before.images)


def pixels(images: NDArray[Any], threads: int) -> Pixels:
    """Return the kind and range of some images; ValueError if a pixel is not finite."""
    if images.dtype != np.uint8:
        return Pixels("float", *pixel_range(images, threads), len(images))
    most = int(images[:_FIRST].max())
    most = most if most > _FEW_VALUES else int(images.max())
    return Pixels("uint8", 0, 255 if most > _FEW_VALUES or len(images) < _ENOUGH else most, len(images))


def complaint_about_bytes(found: Pixels) -> str | None:
    """Return a warning if uint8 images to train on have no pixel above 16, and so are hardly meant as 0 to 255."""
    if found.dtype != "uint8" or not 0 < found.most <= _FEW_VALUES:
        return None
    most = int(found.most)
    return (
        f"images: expected bytes from 0 to 255, which are read as x / 255 - 0.5, got none above {most} "
        f"(images * {255 // most} uses the whole range)"
    )


def complaint_about_scale(images: NDArray[Any], trained: Pixels) -> str | None:
    """Return a warning if images are clearly on another scale than those of the training; None if they are not."""
    if not images.size or trained.images < _SEVERAL:
        return None
    some = images[:_SEVERAL]
    low, high = float(some.min()), float(some.max())
    given = Pixels("uint8" if images.dtype == np.uint8 else "float", low, high, len(some))
    (low, high), (least, most) = given.as_read(), trained.as_read()
    span = most - least
    if not (math.isfinite(low) and math.isfinite(high)) or span <= 0:
        return None
    is_outside = high > most + span or low < least - span
    is_above = low >= least + 0.4 * span and high > most + 0.1 * span
    is_below = high <= most - 0.4 * span and low < least - 0.1 * span
    is_narrow = len(some) == _SEVERAL and 0 < high - low < span / (_FEW_VALUES - 1)
    is_of_another_kind = (trained.dtype, given.dtype) == ("float", "uint8") and max(most, -least) > 0.6
    if not (is_outside or is_above or is_below or is_narrow or is_of_another_kind):
        return None
    help = "give uint8, or floats as x / 255 - 0.5" if trained.dtype == "uint8" else "scale them as those were"
    return f"images: expected pixels as in the training, {trained}, got {given} ({help})"


def background(augment: Augmentation | None, pixels: Pixels) -> float:
    """Return what surrounds augmented images, as the first layer reads it."""
    given = None if augment is None else augment.background
    if pixels.dtype == "uint8":
        return (given or 0) / 255 - 0.5
    return pixels.least if given is None else given
