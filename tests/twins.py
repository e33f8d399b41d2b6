"""Pairs of layers with equal parameters, one compiled and one of plain numpy, and data to compare them on."""

import contextlib

import numpy as np

import cnnx
from cnnx import _core, reference

DTYPES = (np.float32, np.float64)
LANE_EDGES = (1, 2, *(lanes + step for lanes in (4, 8, 16, 32) for step in (-1, 0, 1)))


@contextlib.contextmanager
def computing_on(target):
    """Compute on a CPU target; a network that was made before, for another target, is of no use here."""
    before = cnnx.active_target()
    _core._use_target(target)
    try:
        yield
    finally:
        _core._use_target(before)


def uniform(rng, shape, dtype=np.float64):
    """Draw values from [-1, 1)."""
    return rng.uniform(-1, 1, shape).astype(dtype)


def small_integers(rng, shape, dtype=np.float64):
    """Draw from -1, 0 and 1, so that two, three and four of a window's pixels are often equal."""
    return rng.integers(-1, 2, shape).astype(dtype)


def conv_twins(num_filters, dtype, rng, **options):
    """Return a compiled and a reference Conv3x3 with equal random filters, and biases if they have any."""
    return with_equal_parameters(rng, *(m.Conv3x3(num_filters, dtype=dtype, **options) for m in (cnnx, reference)))


def pool_twins(ties):
    """Return a compiled and a reference MaxPool2."""
    return cnnx.MaxPool2(ties=ties), reference.MaxPool2(ties=ties)


def softmax_twins(input_len, nodes, dtype, rng):
    """Return a compiled and a reference Softmax with equal random weights and biases."""
    return with_equal_parameters(rng, *(m.Softmax(input_len, nodes, dtype=dtype) for m in (cnnx, reference)))


def dense_twins(input_len, nodes, dtype, rng):
    """Return a compiled and a reference Dense with equal random weights and biases."""
    return with_equal_parameters(rng, *(m.Dense(input_len, nodes, dtype=dtype) for m in (cnnx, reference)))


def with_equal_parameters(rng, *twins):
    """Give all twins the same random values for every parameter and buffer, in arrays of their own; return them."""
    for name, like in parameters(twins[0]).items():
        values = uniform(rng, like.shape, like.dtype)
        for layer in twins:
            setattr(layer, name, values.copy())
    for name, like in buffers(twins[0]).items():
        values = uniform(rng, like.shape, like.dtype) + like.dtype.type(1.5 if name == "running_var" else 0)
        for layer in twins:
            setattr(layer, name, values.copy())
    return twins


def parameters(layer):
    """Return the layer's parameter arrays by name; empty for a layer that learns nothing."""
    named = {name: getattr(layer, name, None) for name in ("filters", "weights", "biases", "scale", "offset")}
    return {name: values for name, values in named.items() if values is not None}


def buffers(layer):
    """Return the layer's other arrays that training changes, by name."""
    return {name: getattr(layer, name) for name in ("running_mean", "running_var") if hasattr(layer, name)}
