"""Pairs of layers with equal parameters, one compiled and one of plain numpy, and data to compare them on."""

import numpy as np

import cnnx
from cnnx import reference

DTYPES = (np.float32, np.float64)
LANE_EDGES = (1, 2, *(lanes + step for lanes in (4, 8, 16, 32) for step in (-1, 0, 1)))


def uniform(rng, shape, dtype=np.float64):
    """Draw values from [-1, 1)."""
    return rng.uniform(-1, 1, shape).astype(dtype)


def small_integers(rng, shape, dtype=np.float64):
    """Draw from -1, 0 and 1, so that two, three and four of a window's pixels are often equal."""
    return rng.integers(-1, 2, shape).astype(dtype)


def conv_twins(num_filters, dtype, rng):
    """Return a compiled and a reference Conv3x3 with equal random filters."""
    twins = cnnx.Conv3x3(num_filters, dtype=dtype), reference.Conv3x3(num_filters, dtype=dtype)
    filters = uniform(rng, (num_filters, 3, 3), dtype)
    for layer in twins:
        layer.filters = filters.copy()
    return twins


def pool_twins(ties):
    """Return a compiled and a reference MaxPool2."""
    return cnnx.MaxPool2(ties=ties), reference.MaxPool2(ties=ties)


def softmax_twins(input_len, nodes, dtype, rng):
    """Return a compiled and a reference Softmax with equal random weights and biases."""
    twins = cnnx.Softmax(input_len, nodes, dtype=dtype), reference.Softmax(input_len, nodes, dtype=dtype)
    weights, biases = uniform(rng, (input_len, nodes), dtype), uniform(rng, nodes, dtype)
    for layer in twins:
        layer.weights, layer.biases = weights.copy(), biases.copy()
    return twins


def parameters(layer):
    """Return the layer's parameter arrays by name; empty for a layer that learns nothing."""
    names = ("filters", "weights", "biases")
    return {name: getattr(layer, name) for name in names if hasattr(layer, name)}
