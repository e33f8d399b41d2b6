"""The dense layer: every node adds up all the inputs, each with a weight of its own.

In the article it is the first half of the softmax layer: Part 1, section 5.3, "Implementing Softmax", and Part 2,
section 3, "Backprop: Softmax".
"""

import numpy as np
import numpy.typing as npt

from .notation import FloatArray, Rng, standard_normal

__all__ = ["Dense", "dense_backward", "dense_forward"]


def dense_forward(input: FloatArray, weights: FloatArray, biases: FloatArray) -> FloatArray:
    """Return the totals (nodes,): every node adds up all inputs, each with a weight of its own, and its bias.

    `totals[k] = Σ_m input[m] · weights[m, k] + biases[k]`

    `input` has any shape of input_len values, `weights` is (input_len, nodes), and `biases` is (nodes,).
    """
    totals: FloatArray = input.flatten() @ weights + biases
    return totals


def dense_backward(
    d_L_d_totals: FloatArray, input: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `(d_L_d_input, d_L_d_weights, d_L_d_biases)`; the first is flat, (input_len,).

    `d_L_d_input[m] = Σ_k weights[m, k] · d_L_d_totals[k]`
    `d_L_d_weights[m, k] = input[m] · d_L_d_totals[k]`
    `d_L_d_biases[k] = d_L_d_totals[k]`

    `d_L_d_totals` is (nodes,). The other shapes are those of the forward pass.
    """
    return weights @ d_L_d_totals, np.outer(input, d_L_d_totals), d_L_d_totals.copy()


class Dense:
    """A layer of `nodes` weighted sums: any shape of `input_len` values → `nodes` totals.

    Its `weights` (input_len, nodes) are standard normal · √(2 / input_len) at first, and its `biases` (nodes,) are
    zeros.
    """

    last_input: FloatArray
    last_input_shape: tuple[int, ...]

    def __init__(
        self,
        input_len: int,
        nodes: int,
        *,
        dtype: npt.DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        initial = standard_normal(rng, input_len, nodes) * np.sqrt(2 / input_len)
        self.weights: FloatArray = initial.astype(dtype)
        self.biases: FloatArray = np.zeros(nodes, dtype)

    def forward(self, input: FloatArray) -> FloatArray:
        """Return the totals (nodes,) of an input of any shape with `input_len` values."""
        self.last_input_shape = input.shape
        self.last_input = input.flatten()
        return dense_forward(self.last_input, self.weights, self.biases)

    def backprop(self, d_L_d_out: FloatArray, learn_rate: float) -> FloatArray:
        """Take a step of gradient descent, and return `d_L_d_input`, computed with the weights before the step."""
        d_L_d_input, d_L_d_weights, d_L_d_biases = dense_backward(d_L_d_out, self.last_input, self.weights)
        self.weights -= learn_rate * d_L_d_weights
        self.biases -= learn_rate * d_L_d_biases
        return d_L_d_input.reshape(self.last_input_shape)
