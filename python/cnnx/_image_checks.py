"""What a network remembers of the images that it was trained on, and how it checks those that it is given.

`_images.py` has the rules and the messages.
"""

from __future__ import annotations

import warnings
from typing import Any, NoReturn

import numpy as np

from . import _checks, _images, _stack
from ._images import UINT8, Pixels
from ._losses import Loss, sample_weights
from ._planned import Planned
from ._threads import thread_count


class ImageChecks(Planned):
    """A network's memory of images.

    `Sequential` describes the attributes.
    """

    pixels: Pixels | None = None
    _familiar: Any = None  # the dtype of images that were compared with the training's since then

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "pixels":
            if value is not None and not isinstance(value, Pixels):
                raise TypeError(f"pixels: expected what a trained network has, or None, got {value!r}")
            self._familiar = None
        super().__setattr__(name, value)

    def _images(self, images: Any, least: int = 1) -> tuple[Any, bool]:
        """Return images as the core takes them, and whether they are one image alone.

        They are (n, height, width) or (n, height, width, channels), n at least `least`. The layers are checked as well.
        """
        _stack.check_kinds(self.layers)
        dtype = images.dtype if isinstance(images, np.ndarray) else None
        if dtype == UINT8:
            array = _checks.as_numbers("images", images, UINT8)
        elif dtype is not None and dtype.kind in "iu":
            raise TypeError(f"images: expected uint8, 0 to 255, or floats, got dtype {dtype}")
        else:
            array = _checks.as_numbers("images", images, _stack.dtype_of(self.layers))
        shape, planned = array.shape, self._planned[1]
        if planned and planned[1] > 1:  # the usual cases without another call, since every prediction comes here
            if shape == planned:
                return array[np.newaxis], True
            if shape[1:] == planned and shape[0] >= least:
                return array, False
        return self._as_stack(array, least)

    def _as_stack(self, array: Any, least: int) -> tuple[Any, bool]:
        """Return images of any form that a network takes as the core takes them, and whether they are one alone."""
        size = self.image_shape
        known = size if size is not None and _stack.fits(self.layers, size) else None
        is_fixed = not _stack.takes_any_size(self.layers)
        stack, is_one = _images.as_stack(array, known, is_fixed, lambda size: _stack.fits(self.layers, size))
        shape = stack.shape
        if len(shape) not in (3, 4) or shape[0] < least or 0 in shape[1:]:
            self._refuse_axes(array.shape, least)
        if least and shape[1:] != self._planned[1]:
            self._check_shapes(shape[1:], array.shape)
        return stack, is_one

    def _labelled(self, images: Any, labels: Any, loss: Loss) -> tuple[Any, Any]:
        """Return images and the targets that a loss makes of their labels. One image is a batch of one."""
        stack, is_one = self._images(images)
        loss.check_end(self.layers)
        if is_one and isinstance(labels, np.ndarray) and labels.shape[:1] != (1,):
            raise ValueError(
                f"images: expected shape {self._axes()} beside labels of shape {labels.shape}, got {images.shape}, "
                f"which is one image (its label has shape (1,); {_images.FLATTENED})"
            )
        nodes = _stack.node_count(self.layers, stack.shape[1:])
        return stack, loss.targets(labels, len(stack), nodes, _stack.dtype_of(self.layers))

    def _weights(self, images: Any, labels: Any, sample_weight: Any, class_weight: Any = None) -> Any:
        """Return what the losses of checked images and their labels are multiplied by; None if that is 1."""
        if sample_weight is None and class_weight is None:
            return None
        nodes = _stack.node_count(self.layers, images.shape[1:])
        return sample_weights(sample_weight, class_weight, labels, len(images), nodes)

    def _remember(self, images: Any, pixels: Pixels) -> None:
        """Remember what the images were that a step has been taken on."""
        if self.image_shape != images.shape[1:]:  # because an assignment is checked, which takes time
            self.image_shape = images.shape[1:]
        familiar = self._familiar if self.pixels is not None and pixels[:3] == self.pixels[:3] else None
        self.pixels, self._familiar = pixels, familiar

    def _check_scale(self, images: Any, stacklevel: int) -> None:
        """Warn of images on another scale than those of the training."""
        trained = self.pixels
        complaint = None if trained is None else _images.complaint_about_scale(images, trained)
        if complaint is not None:
            warnings.warn(complaint, stacklevel=stacklevel)
        else:
            self._familiar = images.dtype

    def _warn_of(self, images: Any, pixels: Pixels) -> None:
        """Warn the caller of `fit` if the pixels are probably on another scale than the caller thinks."""
        complaint = _images.complaint_about_bytes(pixels)
        if complaint is not None:
            warnings.warn(complaint, stacklevel=3)
        elif self.pixels is not None:
            self._check_scale(images, stacklevel=4)

    def _refuse_axes(self, shape: tuple[int, ...], least: int) -> NoReturn:
        has_size = 0 not in shape and not _stack.takes_any_size(self.layers)
        size = self._fixed_size() or self._fitting_size() if has_size else None
        if size is not None:
            raise _images.size_error(size, shape)
        help = f" ({_images.FLATTENED})" if len(shape) == 1 else ""
        raise ValueError(f"images: expected shape {self._axes()}, n at least {least}, got {shape}{help}")

    def _axes(self) -> str:
        """Return the axes of the images that the first convolution takes, for a message."""
        return f"({', '.join(map(str, ('n', *_stack.image_axes(self.layers))))})"

    def _validation(
        self, validation: Any, image_shape: tuple[int, ...], loss: Loss, threads: int | None
    ) -> tuple[Any, Any]:
        """Return validation images and targets as a loss takes them, for training images of a shape."""
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise TypeError(f"validation: expected images and labels, got {type(validation).__name__}")
        try:
            images, targets = self._labelled(validation[0], validation[1], loss)
            if images.dtype != UINT8:
                _images.pixel_range(images, thread_count(threads, len(images)))
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation: {error}") from None
        if images.shape[1:] != image_shape and not _stack.takes_any_size(self.layers):
            raise ValueError(f"validation: {_images.size_error(image_shape, images.shape)}")
        return images, targets
