"""The suite's only tolerances, from the dtype and the number of roundings on the way to a value.

Tests draw their data from [-1, 1), so no product exceeds 1; `largest` is given where data must be larger.
"""

import numpy as np


def assert_close(actual, expected, terms, largest=1.0):
    """Assert that two sums of `terms` products, each at most `largest`, differ by rounding alone.

    Either sum rounds `terms` times by at most eps/2 of its partial sums. NaN equals NaN, inf equals inf.
    """
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    relative = 2 * np.finfo(expected.dtype).eps * terms
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=relative * largest)


def assert_same_bits(actual, expected):
    """Assert equal dtype, shape and bytes, so that 0.0 and -0.0 or two NaNs of other payloads differ."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def assert_agree(actual, expected, terms, largest=1.0):
    """Assert the same bits if `terms` is 0, and else numbers that differ by rounding alone."""
    if terms > 0:
        assert_close(actual, expected, terms, largest)
    else:
        assert_same_bits(actual, expected)


def assert_same_loss(loss, expected, dtype):
    """Assert that two mean losses of a network that computes in `dtype` differ by rounding alone."""
    relative = 1e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(loss, expected, rtol=relative, atol=0)


def central_difference(loss, values):
    """Return the derivative of the scalar `loss()` with respect to float64 `values`, which it reads.

    The step eps^(1/3) balances truncation against rounding; both errors are then of the order eps^(2/3).
    """
    step = np.finfo(values.dtype).eps ** (1 / 3)
    derivative = np.empty_like(values)
    for index in np.ndindex(values.shape):
        centre = values[index]
        values[index] = centre + step
        above = loss()
        values[index] = centre - step
        below = loss()
        values[index] = centre
        derivative[index] = (above - below) / (2 * step)
    return derivative


def assert_is_derivative(analytic, numeric, terms):
    """Assert that a gradient of sums of `terms` products is the central difference `numeric`."""
    assert analytic.shape == numeric.shape
    absolute = terms * np.finfo(np.float64).eps ** (2 / 3)
    np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=absolute)
