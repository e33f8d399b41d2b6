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
    """Return `(probabilities, totals)` of a dense layer with a softmax, both (nodes,).

    `probabilities[k] = e^totals[k] / Σ_l e^totals[l]`
    """
    totals = dense_forward(input, weights, biases)
    return _probabilities(totals), totals


def softmax_backward(
    d_L_d_out: FloatArray, input: FloatArray, weights: FloatArray, totals: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `(d_L_d_input, d_L_d_weights, d_L_d_biases)`; the first is flat, (input_len,).

    With p the probabilities, a total t_k raises its own probability and lowers all others:
    `d p_l / d t_k = p_k · (1 − p_k)` where l = k and `−p_l · p_k` elsewhere. Summed over every output l,

    `d_L_d_totals[k] = Σ_l d_L_d_out[l] · (d p_l / d t_k) = p_k · (d_L_d_out[k] − Σ_l p_l · d_L_d_out[l])`

    and from there on it is a dense layer. The article follows one non-zero entry of `d_L_d_out`; this is the same
    derivation for any number of them. `d_L_d_out` and `totals` are (nodes,).
    """
    probabilities = _probabilities(totals)
    d_L_d_totals = probabilities * (d_L_d_out - probabilities @ d_L_d_out)
    return dense_backward(d_L_d_totals, input, weights)


def _probabilities(totals: FloatArray) -> FloatArray:
    """Softmax of (nodes,) totals; subtracting their maximum changes no quotient and lets none overflow."""
    exponentials = np.exp(totals - np.amax(totals))
    return np.asarray(exponentials / np.sum(exponentials))


class Softmax:
    """A dense layer with a softmax: any shape of `input_len` values → `nodes` probabilities.

    `weights` (input_len, nodes) start as standard normal values divided by `input_len`, `biases` (nodes,) as
    zeros.
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
        """Step the weights and biases downhill; return `d_L_d_input`, through the weights before the step."""
        d_L_d_input, d_L_d_weights, d_L_d_biases = softmax_backward(
            d_L_d_out, self.last_input, self.weights, self.last_totals
        )
        self.weights -= learn_rate * d_L_d_weights
        self.biases -= learn_rate * d_L_d_biases
        return d_L_d_input.reshape(self.last_input_shape)
