"""The softmax layer: a dense layer whose totals become probabilities.

In the article: Part 1, section 5, "Softmax", and Part 2, section 3, "Backprop: Softmax". The totals come from a dense
layer, whose formulas are in `dense.py`.
"""

import numpy as np
import numpy.typing as npt

from .dense import dense_backward, dense_forward
from .notation import FloatArray, Rng, standard_normal

__all__ = ["Softmax", "softmax_backward", "softmax_forward"]


def softmax_forward(input: FloatArray, weights: FloatArray, biases: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return `(probabilities, totals)`, both (nodes,): those of a dense layer followed by the softmax function.

    `probabilities[k] = e^totals[k] / Σ_l e^totals[l]`

    `input` has any shape of input_len values, `weights` is (input_len, nodes), and `biases` is (nodes,).
    """
    totals = dense_forward(input, weights, biases)
    return _probabilities(totals), totals


def softmax_backward(
    d_L_d_out: FloatArray, input: FloatArray, weights: FloatArray, totals: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `(d_L_d_input, d_L_d_weights, d_L_d_biases)`; the first is flat, (input_len,).

    A larger total t_k raises its own probability p_k and lowers all others:

    `d p_l / d t_k = p_k · (1 − p_k)` if l = k, and `−p_l · p_k` if not

    Summed over every output l, this gives

    `d_L_d_totals[k] = Σ_l d_L_d_out[l] · (d p_l / d t_k) = p_k · (d_L_d_out[k] − Σ_l p_l · d_L_d_out[l])`

    The rest is the backward pass of a dense layer. The article derives this for one entry of `d_L_d_out` that is not
    zero, and here any number of entries may be.

    Args:
        d_L_d_out: (nodes,).
        input: as in the forward pass.
        weights: as in the forward pass.
        totals: (nodes,), as the forward pass has returned them.
    """
    probabilities = _probabilities(totals)
    d_L_d_totals = probabilities * (d_L_d_out - probabilities @ d_L_d_out)
    return dense_backward(d_L_d_totals, input, weights)


def _probabilities(totals: FloatArray) -> FloatArray:
    """Return the softmax of totals (nodes,). Subtracting the maximum changes no quotient, and no exp overflows."""
    exponentials = np.exp(totals - np.amax(totals))
    return np.asarray(exponentials / np.sum(exponentials))


class Softmax:
    """A dense layer followed by the softmax function: any shape of `input_len` values → `nodes` probabilities.

    Its `weights` (input_len, nodes) are standard normal / `input_len` at first, and its `biases` (nodes,) are zeros.
    """

    last_input: FloatArray
    last_input_shape: tuple[int, ...]
    last_totals: FloatArray

    def __init__(
        self,
        input_len: int,
        nodes: int,
        *,
        dtype: npt.DTypeLike = np.float64,
        rng: Rng = None,
    ) -> None:
        self.weights: FloatArray = (standard_normal(rng, input_len, nodes) / input_len).astype(dtype)
        self.biases: FloatArray = np.zeros(nodes, dtype)

    def forward(self, input: FloatArray) -> FloatArray:
        """Return the probabilities (nodes,) of an input of any shape with `input_len` values."""
        self.last_input_shape = input.shape
        self.last_input = input.flatten()
        probabilities, self.last_totals = softmax_forward(self.last_input, self.weights, self.biases)
        return probabilities

    def backprop(self, d_L_d_out: FloatArray, learn_rate: float) -> FloatArray:
        """Take a step of gradient descent, and return `d_L_d_input`, computed with the weights before the step."""
        d_L_d_input, d_L_d_weights, d_L_d_biases = softmax_backward(
            d_L_d_out, self.last_input, self.weights, self.last_totals
        )
        self.weights -= learn_rate * d_L_d_weights
        self.biases -= learn_rate * d_L_d_biases
        return d_L_d_input.reshape(self.last_input_shape)
