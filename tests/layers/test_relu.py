"""ReLU: what it does to NaN, infinities and zeros.

What it shares with every layer is in test_every_layer.py, which reads its sizes from cases.py.
"""

import numpy as np
from tolerances import assert_same_bits


def test_relu_keeps_a_nan_and_passes_it_no_gradient(layers, dtype):
    relu = layers.ReLU()
    tiny = np.finfo(dtype).smallest_subnormal
    input = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, 1.5, -1.5], dtype)
    assert_same_bits(relu.forward(input), np.array([np.nan, np.inf, 0, 0, 0, tiny, 0, 1.5, 0], dtype))
    d_L_d_out = np.array([1, 2, 3, 4, 5, np.nan, np.nan, -np.inf, np.inf], dtype)
    assert_same_bits(relu.backprop(d_L_d_out), np.array([0, 2, 0, 0, 0, np.nan, 0, -np.inf, 0], dtype))
