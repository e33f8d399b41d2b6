"""What every test may ask for: a dtype, a CPU target, a seeded generator, an implementation of the layers."""

import numpy as np
import pytest
from twins import DTYPES, computing_on

import cnnx
from cnnx import reference


@pytest.fixture(autouse=True)
def numpy_generator():
    """Seed numpy's global generator, from which layers and orders are drawn: no test may pass by chance."""
    np.random.seed(11)


@pytest.fixture(params=DTYPES, ids=lambda dtype: dtype.__name__)
def dtype(request):
    return request.param


@pytest.fixture(params=cnnx.targets())
def target(request):
    """Compute on one CPU target after another. A test makes its layers and networks after it has asked for this."""
    with computing_on(request.param):
        yield request.param


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(params=[cnnx, reference], ids=["compiled", "reference"])
def layers(request):
    """Give the module to take Conv3x3, MaxPool2, Softmax and cross_entropy from."""
    return request.param


@pytest.fixture(params=["all", "first"])
def ties(request):
    return request.param
