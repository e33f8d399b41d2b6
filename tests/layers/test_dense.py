"""Dense: the totals that Softmax turns into probabilities, of an input in any shape.

What it shares with every layer is in test_every_layer.py, which reads its sizes from cases.py.
"""

import pytest
from tolerances import assert_same_bits
from twins import uniform


def test_softmax_is_dense_and_then_the_softmax_function(layers, dtype, rng):
    dense, soft = layers.Dense(12, 7, dtype=dtype, rng=rng), layers.Softmax(12, 7, dtype=dtype)
    soft.weights, soft.biases = dense.weights.copy(), dense.biases.copy()
    input = uniform(rng, (4, 3), dtype)
    soft.forward(input)
    assert_same_bits(dense.forward(input), soft.last_totals)


@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4)])
def test_an_input_is_remembered_flat_and_its_gradient_has_its_shape(layers, dtype, rng, shape):
    dense, input = layers.Dense(24, 7, dtype=dtype, rng=rng), uniform(rng, shape, dtype)
    flat = dense.forward(input.ravel())
    assert_same_bits(dense.forward(input), flat)
    assert_same_bits(dense.last_input, input.flatten())
    assert dense.last_input_shape == shape
    assert dense.backprop(uniform(rng, 7, dtype), 0.1).shape == shape
