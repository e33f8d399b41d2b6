"""Every method that takes an array, as a table: what it calls that array, and the shape it expects."""

from typing import NamedTuple

import numpy as np
import pytest
from tolerances import assert_same_bits
from twins import parameters

CONV_INPUT, CONV_OUT = (6, 7), (4, 5, 5)
POOL_INPUT, POOL_OUT = (5, 6, 3), (2, 3, 3)
SOFTMAX_INPUT, SOFTMAX_OUT = (4, 3), (5,)


class Entry(NamedTuple):
    """A layer's method that takes an array of `shape` as its argument `parameter`."""

    layer: str
    method: str
    parameter: str
    shape: tuple[int, ...]

    def __str__(self):
        return f"{self.layer}.{self.method}"

    def call(self, layer, array):
        """Call the method on a layer that `make_layer` made."""
        learn_rate = (0.1,) if self.method == "backprop" and self.layer != "MaxPool2" else ()
        return getattr(layer, self.method)(array, *learn_rate)


ENTRIES = [
    Entry("Conv3x3", "forward", "input", CONV_INPUT),
    Entry("Conv3x3", "backprop", "d_L_d_out", CONV_OUT),
    Entry("MaxPool2", "forward", "input", POOL_INPUT),
    Entry("MaxPool2", "backprop", "d_L_d_out", POOL_OUT),
    Entry("Softmax", "forward", "input", SOFTMAX_INPUT),
    Entry("Softmax", "backprop", "d_L_d_out", SOFTMAX_OUT),
]


def make_layer(module, name, dtype=np.float64):
    """Return the seeded layer of that name after one forward pass over random values."""
    rng = np.random.default_rng(11)
    layer, shape = {
        "Conv3x3": lambda: (module.Conv3x3(5, dtype=dtype, rng=rng), CONV_INPUT),
        "MaxPool2": lambda: (module.MaxPool2(), POOL_INPUT),
        "Softmax": lambda: (module.Softmax(12, 5, dtype=dtype, rng=rng), SOFTMAX_INPUT),
    }[name]()
    layer.forward(rng.uniform(-1, 1, shape).astype(dtype))
    return layer


def assert_refused(layer, call, error, message):
    """Assert that `call` raises `error` with `message` and changes no bit of the layer's parameters."""
    before = {name: values.copy() for name, values in parameters(layer).items()}
    with pytest.raises(error, match=message):
        call()
    for name, values in before.items():
        assert_same_bits(parameters(layer)[name], values)
