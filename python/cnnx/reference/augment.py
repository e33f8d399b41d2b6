"""Images that are moved, turned or resized a little. It is not in the article."""

import numpy as np

from .notation import FloatArray

__all__ = ["affine"]


def affine(image: FloatArray, matrix: FloatArray, background: float) -> FloatArray:
    """Move, turn or resize an image: `matrix` says where in the image each pixel of the result is read.

    `output[y, x] = image at (v, u)`, where `(v, u) = matrix @ (y, x, 1)`

    Between the pixels the image is bilinear: with v = i + a and u = j + b, i and j whole and a and b in [0, 1),

    `upper = image[i, j] + b · (image[i, j + 1] − image[i, j])`, `lower` the same with i + 1 for i
    `image at (v, u) = upper + a · (lower − upper)`

    where every pixel outside the image counts as `background`. In this form equal neighbours give their own value to
    the bit, so that a blank area stays blank. `image` and the result are (h, w) or (h, w, c), whose channels all move
    alike, and `matrix` is (2, 3).
    """
    height, width = image.shape[:2]
    v, u = np.tensordot(matrix[:, :2], np.indices((height, width)), axes=1) + matrix[:, 2, np.newaxis, np.newaxis]
    v, u = np.clip(v, -1, height), np.clip(u, -1, width)  # places further outside are background as well
    i, j = np.floor(v).astype(np.intp), np.floor(u).astype(np.intp)
    channels = image.reshape(height, width, -1)
    framed = np.pad(channels, ((2, 2), (2, 2), (0, 0)), constant_values=background)
    a, b = (v - i)[..., np.newaxis], (u - j)[..., np.newaxis]

    def row(below: int) -> FloatArray:
        left, right = (framed[2 + i + below, 2 + j + beside] for beside in (0, 1))
        return np.asarray(left + b * (right - left))

    upper, lower = row(0), row(1)
    return np.asarray(upper + a * (lower - upper), image.dtype).reshape(image.shape)
