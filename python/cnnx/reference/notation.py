"""What all files of `cnnx.reference` share: the notation, and how initial values are drawn.

Layouts: an image is (height, width) or (height, width, channels), as are the outputs of a convolution and of a
pooling; filters are (num_filters, 3, 3) or (num_filters, 3, 3, channels); dense weights are (input_len, nodes).
`d_L_d_x` is the article's notation. It has the shape of `x` and holds the derivative of the loss L with respect to
every entry of `x`. Everything is computed in the dtype of its arguments.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["FloatArray", "Rng", "standard_normal"]

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
Rng: TypeAlias = np.random.Generator | int | None


def standard_normal(rng: Rng, *shape: int) -> FloatArray:
    """Draw from `rng`, a generator or a seed for one, or as the article does from numpy's global generator."""
    return np.random.randn(*shape) if rng is None else np.random.default_rng(rng).standard_normal(shape)
