"""The loss: how surprised the network is by the right answer.

In the article: Part 1, section 5.2, "Cross-Entropy Loss"; its gradient is in Part 2, section 3, "Backprop: Softmax".
"""

import numpy as np

from .notation import FloatArray

__all__ = ["cross_entropy"]


def cross_entropy(out: FloatArray, label: int) -> tuple[float, FloatArray]:
    """Return `(loss, d_L_d_out)` of one sample: how surprised the network is by the right answer.

    `loss = −ln p` with `p = out[label]`, so `d_L_d_out[label] = −1 / p` and every other entry is zero. p is
    at least the smallest normal number of the dtype, so both stay finite when a probability underflows to
    zero. `out` and `d_L_d_out` are (nodes,), `label` is in 0..nodes−1.
    """
    p = np.maximum(out[label], np.finfo(out.dtype).smallest_normal)
    d_L_d_out = np.zeros_like(out)
    d_L_d_out[label] = -1 / p
    return float(-np.log(p)), d_L_d_out
