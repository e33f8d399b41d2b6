"""The loss: how surprised the network is by the right answer.

In the article: Part 1, section 5.2, "Cross-Entropy Loss"; its gradient is in Part 2, section 3, "Backprop: Softmax".
"""

import numpy as np

from .notation import FloatArray

__all__ = ["cross_entropy"]


def cross_entropy(out: FloatArray, label: int) -> tuple[float, FloatArray]:
    """Return the loss of one sample in nats, and its gradient `d_L_d_out` (nodes,).

    `loss = −ln p` with `p = out[label]`
    `d_L_d_out[label] = −1 / p`, and every other entry is zero

    A p below the dtype's smallest normal number counts as that number. So both results are finite even if a probability
    underflows to zero.

    Args:
        out: (nodes,), the probabilities.
        label: the right class, from 0 to nodes − 1.
    """
    p = np.maximum(out[label], np.finfo(out.dtype).smallest_normal)
    d_L_d_out = np.zeros_like(out)
    d_L_d_out[label] = -1 / p
    return float(-np.log(p)), d_L_d_out
