"""What the reference has besides the layers: dropout, the optimizers' updates, moved images, pure functions."""

import numpy as np
import pytest
from tolerances import assert_close, assert_same_bits
from twins import uniform

from cnnx import reference

KEY = 0x0123456789ABCDEF


def mixed_by_hand(x):
    """Hash one Python integer as the formula says."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
    x = ((x ^ (x >> 15)) * 0x846CA68B) % 2**32
    return x ^ (x >> 16)


@pytest.mark.parametrize("key", [0, 1, 2**32 - 1, 2**32, KEY, 2**64 - 1])
def test_each_value_s_fate_is_the_hash_of_its_place_and_the_key(dtype, key):
    fates = [mixed_by_hand(mixed_by_hand((i + key) % 2**32) ^ (key >> 32)) >= 0.25 * 2**32 for i in range(300)]
    survived = reference.dropout(np.ones((15, 4, 5), dtype), 0.25, key)
    assert_same_bits(survived.ravel(), np.where(fates, np.ones(300, dtype) / dtype(0.75), 0))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_sets_its_share_to_zero_and_keeps_the_sum(dtype, rate):
    kept = reference.dropout(np.ones(100_000, dtype), rate, KEY)
    assert np.mean(kept == 0) == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / 100_000))
    assert_same_bits(np.unique(kept), np.array([0, 1 / (1 - dtype(rate))], dtype))
    assert kept.mean(dtype=np.float64) == pytest.approx(1, abs=4 * np.sqrt(rate / (1 - rate) / 100_000))


def test_a_rate_of_zero_drops_nothing(dtype, rng):
    input = uniform(rng, (7, 5), dtype)
    assert_same_bits(reference.dropout(input, 0, KEY), input)


def test_neighbouring_keys_and_places_share_no_fate():
    masks = [reference.dropout(np.ones(4000), 0.5, KEY + step) > 0 for step in (0, 1, 2, 1 << 32)]
    for position, mask in enumerate(masks):
        assert np.mean(mask[1:] == mask[:-1]) == pytest.approx(0.5, abs=0.04)
        for other in masks[:position]:
            if not np.array_equal(mask[:-2], other[2:]):
                assert np.mean(mask == other) == pytest.approx(0.5, abs=0.04)


def test_plain_sgd_is_the_article_s_step(dtype, rng):
    parameters, gradient = uniform(rng, 17, dtype), uniform(rng, 17, dtype)
    expected = parameters - 0.25 * gradient
    reference.sgd_update(parameters, np.zeros_like(parameters), gradient, 0.25)
    assert_same_bits(parameters, expected)


def test_momentum_adds_up_a_constant_gradient():
    parameters, velocity = np.zeros(3), np.zeros(3)
    for step in range(1, 6):
        before = parameters.copy()
        reference.sgd_update(parameters, velocity, np.array([1.0, -2.0, 0.0]), 0.1, momentum=0.5)
        np.testing.assert_allclose(before - parameters, 0.1 * (2 - 0.5 ** (step - 1)) * np.array([1, -2, 0]))


def test_nesterov_looks_one_step_ahead():
    parameters, velocity = np.zeros(1), np.array([3.0])
    reference.sgd_update(parameters, velocity, np.array([1.0]), 0.1, momentum=0.5, nesterov=True)
    np.testing.assert_allclose(velocity, [2.5])
    np.testing.assert_allclose(parameters, [-0.1 * (0.5 * 2.5 + 1)])


def test_adam_s_first_step_is_the_learn_rate_in_the_gradient_s_direction(dtype):
    parameters, gradient = np.zeros(4, dtype), np.array([1e-3, -5, 200, -1e-2], dtype)
    reference.adam_update(parameters, np.zeros(4, dtype), np.zeros(4, dtype), gradient, 0.01, 1)
    np.testing.assert_allclose(parameters, -0.01 * np.sign(gradient), rtol=2e-5)


def test_adam_s_weight_decay_is_decoupled_from_the_gradient():
    parameters = np.array([2.0, -4.0])
    reference.adam_update(parameters, np.zeros(2), np.zeros(2), np.zeros(2), 0.1, 1, weight_decay=0.5)
    np.testing.assert_allclose(parameters, [1.9, -3.8])


def test_the_identity_moves_no_bit(dtype, rng):
    image = uniform(rng, (5, 7), dtype)
    assert_same_bits(reference.affine(image, np.eye(2, 3), -0.5), image)


@pytest.mark.parametrize("down", [-6, -2, 0, 1, 5])
@pytest.mark.parametrize("right", [-9, -1, 0, 3, 7])
def test_a_whole_shift_moves_pixels_and_fills_with_the_background(dtype, rng, down, right):
    image = uniform(rng, (5, 7), dtype)
    framed = np.pad(image, 10, constant_values=0.25)
    expected = framed[10 + down : 15 + down, 10 + right : 17 + right].copy()
    assert_same_bits(reference.affine(image, np.array([[1, 0, down], [0, 1, right]]), 0.25), expected)


def test_a_quarter_turn_is_numpy_s(dtype, rng):
    image = uniform(rng, (6, 6), dtype)
    matrix = np.array([[0, 1, 0], [-1, 0, 5]])  # from (y, x) to (x, 5 − y)
    assert_same_bits(reference.affine(image, matrix, 0.0), np.rot90(image).copy())


def test_between_pixels_an_affine_map_is_bilinear(dtype):
    rows, columns = np.indices((6, 8))
    plane = (2 * rows - 3 * columns).astype(dtype)
    matrix = np.array([[0.75, 0.125, 0.5], [-0.25, 0.5, 3.25]])
    v, u = np.tensordot(matrix[:, :2], np.stack([rows, columns]), axes=1) + matrix[:, 2, np.newaxis, np.newaxis]
    inside = (v >= 0) & (v < 5) & (u >= 0) & (u < 7)
    moved = reference.affine(plane, matrix, np.nan)
    assert_close(moved[inside], (2 * v - 3 * u).astype(dtype)[inside], terms=10, largest=20)
    assert inside.any()
    assert not inside.all()


def test_a_neighbour_outside_counts_as_background(dtype):
    image = np.array([[8, 4]], dtype)
    half_right = np.array([[1, 0, 0], [0, 1, 0.5]])
    assert_same_bits(reference.affine(image, half_right, 2.0), np.array([[6, 3]], dtype))
    quarter_up = np.array([[1, 0, -0.75], [0, 1, 0]])
    assert_same_bits(reference.affine(image, quarter_up, 0.0), np.array([[2, 1]], dtype))


def test_a_blank_area_stays_blank_to_the_bit(dtype, rng):
    matrix = np.eye(2, 3) + rng.normal(size=(2, 3)) / 7
    blank = np.full((9, 11), 0.1, dtype)
    assert_same_bits(reference.affine(blank, matrix, dtype(0.1)), blank)


@pytest.mark.parametrize("far", [1e3, -1e9, 1e300])
def test_far_outside_is_background(dtype, rng, far):
    matrix = np.array([[1, 0, far], [0, 1, 0]])
    expected = np.full((4, 3), -0.5, dtype)
    assert_same_bits(reference.affine(uniform(rng, (4, 3), dtype), matrix, -0.5), expected)


def reference_functions(rng, dtype):
    """Yield (name, call, the arrays it is given) of every pure function."""
    image, filters = uniform(rng, (7, 6), dtype), uniform(rng, (3, 3, 3), dtype)
    features, pooled = uniform(rng, (5, 4, 3), dtype), uniform(rng, (2, 2, 3), dtype)
    weights, biases, d_L_d_out = uniform(rng, (60, 7), dtype), uniform(rng, 7, dtype), uniform(rng, 7, dtype)
    yield "conv3x3_forward", reference.conv3x3_forward, [image, filters]
    yield "conv3x3_backward", reference.conv3x3_backward, [features, image, filters]
    yield "relu_forward", reference.relu_forward, [features]
    yield "relu_backward", reference.relu_backward, [features, features]
    yield "dropout", lambda values: reference.dropout(values, 0.5, 7), [features]
    yield "affine", lambda image: reference.affine(image, np.eye(2, 3) / 2, 0.0), [image]
    yield "dense_forward", reference.dense_forward, [features, weights, biases]
    yield "dense_backward", reference.dense_backward, [d_L_d_out, features, weights]
    yield "max_pool2_forward", reference.max_pool2_forward, [features]
    yield "max_pool2_backward", reference.max_pool2_backward, [pooled, features]
    yield "softmax_forward", reference.softmax_forward, [features, weights, biases]
    yield "softmax_backward", reference.softmax_backward, [d_L_d_out, features, weights, biases]


def test_no_function_modifies_its_arguments(rng, dtype):
    for name, call, arguments in reference_functions(rng, dtype):
        copies = [argument.copy() for argument in arguments]
        call(*arguments)
        for argument, copy in zip(arguments, copies, strict=True):
            assert argument.tobytes() == copy.tobytes(), name
