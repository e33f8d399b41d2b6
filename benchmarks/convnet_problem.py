"""What every contender of `convnet.py` computes: Keras's MNIST convnet, from the same parameters over the same digits.

A worker may run in a Python that has no cnnx, so this file needs numpy alone.
"""

from typing import NamedTuple

from problem import ByteArray, FloatArray, Stored

BATCH, LEARN_RATE, DROPOUT = 128, 1e-3, 0.5
CHECKED_STEPS = 20
POOLED, CHANNELS, NODES = 5, 64, 10  # what enters the dense layer


class Arrays(NamedTuple):
    """The arrays of a `Problem`."""

    images: ByteArray
    labels: ByteArray
    first_filters: FloatArray
    first_biases: FloatArray
    second_filters: FloatArray
    second_biases: FloatArray
    weights: FloatArray
    biases: FloatArray


class Problem(Arrays, Stored):
    """Digits and the parameters to begin from, in cnnx's layouts, in the order of the layers.

    `images` (n, 28, 28) and `labels` (n,) are uint8; `first_filters` (32, 3, 3, 1), `second_filters`
    (64, 3, 3, 32), `weights` (5 · 5 · 64, 10), whose rows run over (row, column, channel), and each layer's biases
    are float32.
    """

    def channels_first(self) -> dict[str, FloatArray]:
        """Return the parameters for frameworks that put the channel before row and column."""
        by_pixel = self.weights.reshape(POOLED, POOLED, CHANNELS, NODES)
        return {
            "first_filters": self.first_filters.transpose(0, 3, 1, 2),
            "first_biases": self.first_biases,
            "second_filters": self.second_filters.transpose(0, 3, 1, 2),
            "second_biases": self.second_biases,
            "weights": by_pixel.transpose(2, 0, 1, 3).reshape(-1, NODES),
            "biases": self.biases,
        }
