"""Pictures of digits as people have them, turned into what MNIST's makers would have made of them.

MNIST's makers scaled each digit to fit a box of 20x20 pixels, kept its proportions, and moved its centre of mass to the
centre of 28x28 pixels (Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits"). Their digits
were black and white; ordinary pictures are not. So ink is first told from paper, whatever the colours and the light.

The module needs the extra ``pictures``, that is, Pillow.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._extras import missing
from ._ink import Floats, box, centred, find_ink, without_specks
from .data import ByteArray, DataError

try:
    from PIL import Image, ImageOps, UnidentifiedImageError
except ImportError as error:
    raise missing("cnnx.pictures", "pictures", "Pillow 10.1 or newer") from error

__all__ = ["read"]

_BOX = 20  # pixels: MNIST's digits fit a box of this height and width
_LARGEST_SIDE = 1000  # pixels: larger pictures are reduced before anything else
_FULL_INK = 0.75  # MNIST's strokes are at least this dark, in the mean over the ink
_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}


def read(picture: str | os.PathLike[str] | NDArray[Any] | Image.Image) -> ByteArray:
    """Turn a picture of one digit into an image like MNIST's.

    The digit may have any size and place, and may be darker or lighter than the paper, or have another colour. The
    paper has one colour, and light may change evenly over it. Small specks are left out. Thin strokes get darker, since
    they would be pale at this size.

    Args:
        picture: a file that Pillow can read, such as PNG or JPEG, where ~ is the home folder; an image of Pillow; or
            an array (height, width) or (height, width, channels), with 1, 3 or 4 channels for grey, RGB or RGBA.
            Numbers of another dtype than uint8 and bool, as in pictures of 16 bits, have the range from the smallest to
            the largest of them.

    Returns:
        uint8 (28, 28), from 0 for paper to 255 for ink, which `Sequential.predict` takes.

    Raises:
        TypeError: `picture` is none of these.
        DataError: there is no such file, or it is not a picture, is damaged, has several frames, or shows no digit or
            several side by side. Digits that touch count as one.
    """
    name = str(picture) if isinstance(picture, (str, os.PathLike)) else "picture"
    try:
        if isinstance(picture, (str, os.PathLike)):
            image = _open(Path(picture).expanduser())
        elif isinstance(picture, Image.Image):
            image = picture
        elif isinstance(picture, np.ndarray):
            image = _from_array(picture)
        else:
            raise TypeError(f"picture: expected a path, an array or an image of Pillow, got {type(picture).__name__}")
        return _as_mnist(without_specks(find_ink(*_pixels(image))))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: {getattr(error, 'strerror', None) or error}") from None


def _open(path: Path) -> Image.Image:
    """Read a file as it is seen: a camera's note on how it was held is followed."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
        raise DataError("expected a regular file")
    try:
        image = Image.open(BytesIO(path.read_bytes()))
    except UnidentifiedImageError:
        raise DataError("expected a picture that Pillow can read, such as PNG or JPEG") from None
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG with a preview
        raise DataError(f"expected a picture of one frame, got {frames} frames")
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError is Pillow's for some damaged files
        raise DataError(f"expected a whole picture, got a damaged one ({error})") from None


def _from_array(array: NDArray[Any]) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in _CHANNELS or 0 in array.shape:
        raise DataError(f"expected shape (height, width), or with 1, 3 or 4 channels, got {array.shape}")
    if array.dtype.kind not in "buif":
        raise TypeError(f"picture: expected an array of numbers, got dtype {array.dtype}")
    levels = _levels(array).reshape(*array.shape[:2], channels)
    return Image.fromarray(levels[..., 0] if channels == 1 else levels)


def _levels(array: NDArray[Any]) -> ByteArray:
    """Return numbers of any dtype as levels from 0 to 255."""
    if array.dtype == np.uint8:
        return np.asarray(array, np.uint8)
    if array.dtype == np.bool_:
        return np.asarray(np.where(array, 255, 0), np.uint8)
    least, most = float(array.min()), float(array.max())
    if not (np.isfinite(least) and np.isfinite(most)):
        raise DataError("expected finite numbers")
    scale = 255 / (most - least) if most > least else 0.0
    return np.asarray(((array - least) * scale).round(), np.uint8)


def _pixels(image: Image.Image) -> tuple[Floats, Floats | None]:
    """Return the colours (height, width, channels), and the alpha (height, width) if some pixels are transparent."""
    if image.mode.startswith(("I", "F")):  # of 16 or 32 bits
        image = Image.fromarray(_levels(np.asarray(image)))
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    image = image.convert(mode)
    image = image.reduce(-(-max(image.size) // _LARGEST_SIDE))
    array = np.asarray(image, np.float32).reshape(image.height, image.width, -1)
    if mode == "RGBA" and array[..., 3].min() < 255:
        return array[..., :3], array[..., 3]
    return array[..., :3], None


def _as_mnist(ink: Floats) -> ByteArray:
    """Scale a digit to fit the box, and put its centre of mass into the centre of the image."""
    ink = ink[box(ink > 0)]
    height, width = (max(1, round(size * _BOX / max(ink.shape))) for size in ink.shape)
    scaled = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BILINEAR))
    darkness = float(np.square(scaled).sum() / scaled.sum())  # the mean over the ink
    return centred(np.clip(scaled * max(1.0, _FULL_INK / darkness), 0, 1))
