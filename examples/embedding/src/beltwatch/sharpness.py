"""How sharp a picture is: one layer of cnnx between two steps in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import cnnx

LAPLACIAN = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float64)


class Sharpness:
    """Measures how sharp pictures are, by the variance of their second derivative.

    It is divided by the variance of the picture, so that the lamp does not matter much (after Pech-Pacheco et al.,
    2000, "Diatom autofocusing in brightfield microscopy: a comparative study").
    """

    def __init__(self) -> None:
        self._laplacian = cnnx.Conv3x3(1, rng=0)  # with a generator of its own, so that numpy's global one stays
        self._laplacian.filters = LAPLACIAN[np.newaxis].copy()  # the layer keeps this array

    def __call__(self, picture: NDArray[Any]) -> float:
        """Return the sharpness of a picture (height, width), from 0 for one that is all grey."""
        pixels = np.asarray(picture, np.float64)  # a layer alone takes numbers as they are, bytes too
        edges = self._laplacian.forward(pixels)[:, :, 0]  # (height - 2, width - 2)
        return float(edges.var() / max(pixels.var(), 1.0))
