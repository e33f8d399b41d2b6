"""GlobalAveragePool: a mean over height and width, for images of any size.

What it shares with every layer is in test_every_layer.py, which reads its sizes from cases.py.
"""

import numpy as np
import pytest
from tolerances import assert_same_bits

from cnnx import GlobalAveragePool, Sequential, Softmax


def test_a_constant_channel_is_its_own_mean(dtype):
    image = np.full((4, 8, 3), [0.25, -2, 7], dtype)
    assert_same_bits(GlobalAveragePool().forward(image), np.array([0.25, -2, 7], dtype))


def test_a_network_refuses_it_on_an_image_without_channels():
    network = Sequential([GlobalAveragePool(), Softmax(1, 2)])
    with pytest.raises(
        ValueError, match=r"^images: expected shape \(n, height, width, 1\), got \(6, 5\) \(layers\[0\] .*\)$"
    ):
        network.predict(np.ones((6, 5)))
