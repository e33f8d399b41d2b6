"""Every method that takes an array, as a table: what it calls that array, and the shape it expects."""

from typing import NamedTuple

import numpy as np
import pytest
from tolerances import assert_same_bits
from twins import parameters

CONV_INPUT, CONV_OUT = (6, 7), (4, 5, 5)
STACKED_INPUT, STACKED_OUT = (6, 7, 3), (4, 5, 5)
PADDED_INPUT, PADDED_OUT = (4, 6, 2), (4, 6, 3)
POOL_INPUT, POOL_OUT = (5, 6, 3), (2, 3, 3)
AVERAGE_INPUT, AVERAGE_OUT = (5, 3, 9), (9,)
RELU_SHAPE = DROPOUT_SHAPE = (3, 5, 4)
DENSE_INPUT, DENSE_OUT = (2, 7), (6,)
SOFTMAX_INPUT, SOFTMAX_OUT = (4, 3), (5,)
WITHOUT_PARAMETERS = ("MaxPool2", "GlobalAveragePool", "ReLU", "Dropout")  # they compute in their input's dtype


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
        learn_rate = (0.1,) if self.method == "backprop" and self.layer not in WITHOUT_PARAMETERS else ()
        return getattr(layer, self.method)(array, *learn_rate)


ENTRIES = [
    Entry("Conv3x3", "forward", "input", CONV_INPUT),
    Entry("Conv3x3", "backprop", "d_L_d_out", CONV_OUT),
    Entry("stacked Conv3x3", "forward", "input", STACKED_INPUT),
    Entry("stacked Conv3x3", "backprop", "d_L_d_out", STACKED_OUT),
    Entry("padded Conv3x3", "forward", "input", PADDED_INPUT),
    Entry("padded Conv3x3", "backprop", "d_L_d_out", PADDED_OUT),
    Entry("MaxPool2", "forward", "input", POOL_INPUT),
    Entry("MaxPool2", "backprop", "d_L_d_out", POOL_OUT),
    Entry("GlobalAveragePool", "forward", "input", AVERAGE_INPUT),
    Entry("GlobalAveragePool", "backprop", "d_L_d_out", AVERAGE_OUT),
    Entry("ReLU", "forward", "input", RELU_SHAPE),
    Entry("ReLU", "backprop", "d_L_d_out", RELU_SHAPE),
    Entry("Dropout", "forward", "input", DROPOUT_SHAPE),
    Entry("Dropout", "backprop", "d_L_d_out", DROPOUT_SHAPE),
    Entry("Dense", "forward", "input", DENSE_INPUT),
    Entry("Dense", "backprop", "d_L_d_out", DENSE_OUT),
    Entry("Softmax", "forward", "input", SOFTMAX_INPUT),
    Entry("Softmax", "backprop", "d_L_d_out", SOFTMAX_OUT),
]
LAYERS = list(dict.fromkeys(entry.layer for entry in ENTRIES))


def entry_of(layer, method):
    """Return the entry of that layer and method."""
    (found,) = (entry for entry in ENTRIES if (entry.layer, entry.method) == (layer, method))
    return found


def new_layer(module, name, dtype=np.float64, rng=None):
    """Return the layer of that name, before any forward pass."""
    options = {"dtype": dtype, "rng": rng}
    return {
        "Conv3x3": lambda: module.Conv3x3(5, **options),
        "stacked Conv3x3": lambda: module.Conv3x3(5, 3, **options),
        "padded Conv3x3": lambda: module.Conv3x3(3, 2, padding="same", **options),
        "MaxPool2": lambda: module.MaxPool2(),
        "GlobalAveragePool": lambda: module.GlobalAveragePool(),
        "ReLU": lambda: module.ReLU(),
        "Dropout": lambda: module.Dropout(0.5),
        "Dense": lambda: module.Dense(14, 6, **options),
        "Softmax": lambda: module.Softmax(12, 5, **options),
    }[name]()


def make_layer(module, name, dtype=np.float64):
    """Return the seeded layer of that name after one forward pass over random values."""
    rng = np.random.default_rng(11)
    layer = new_layer(module, name, dtype, rng)
    layer.forward(rng.uniform(-1, 1, entry_of(name, "forward").shape).astype(dtype))
    return layer


def assert_refused(layer, call, error, message):
    """Assert that `call` raises `error` with `message` and changes no bit of the layer's parameters."""
    before = {name: values.copy() for name, values in parameters(layer).items()}
    with pytest.raises(error, match=message):
        call()
    for name, values in before.items():
        assert_same_bits(parameters(layer)[name], values)
