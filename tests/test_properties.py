"""What holds for any shape and any values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, assert_same_bits
from twins import DTYPES, conv_twins, parameters, pool_twins, softmax_twins, uniform

import cnnx
from cnnx import reference

seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
dtypes = st.sampled_from(DTYPES)
tie_rules = st.sampled_from(["all", "first"])


@given(st.integers(3, 40), st.integers(3, 40), st.integers(1, 35), dtypes, seeds)
def test_conv_equals_the_reference(height, width, num_filters, dtype, rng):
    compiled, plain = conv_twins(num_filters, dtype, rng)
    image = uniform(rng, (height, width), dtype)
    d_L_d_out = uniform(rng, (height - 2, width - 2, num_filters), dtype)
    terms = 9 * num_filters + (height - 2) * (width - 2)
    assert_close(compiled.forward(image), plain.forward(image), terms=9)
    assert_close(compiled.backprop(d_L_d_out, 0.1), plain.backprop(d_L_d_out, 0.1), terms)
    assert_close(compiled.filters, plain.filters, terms)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 35), dtypes, tie_rules, st.integers(1, 5), seeds)
def test_pool_equals_the_reference_to_the_bit(height, width, channels, dtype, ties, values, rng):
    compiled, plain = pool_twins(ties)
    input = rng.integers(0, values, (height, width, channels)).astype(dtype)
    d_L_d_out = uniform(rng, (height // 2, width // 2, channels), dtype)
    assert_same_bits(compiled.forward(input), plain.forward(input))
    assert_same_bits(compiled.backprop(d_L_d_out), plain.backprop(d_L_d_out))


@given(st.lists(st.integers(1, 7), max_size=4), st.integers(1, 35), dtypes, seeds)
def test_softmax_equals_the_reference(shape, nodes, dtype, rng):
    input_len = int(np.prod(shape))
    compiled, plain = softmax_twins(input_len, nodes, dtype, rng)
    input, d_L_d_out = uniform(rng, tuple(shape), dtype), uniform(rng, nodes, dtype)
    input = np.asarray(input, dtype)
    terms = 2 * input_len + 4 * nodes
    assert_close(compiled.forward(input), plain.forward(input), terms)
    assert_close(compiled.backprop(d_L_d_out, 0.1), plain.backprop(d_L_d_out, 0.1), terms)
    for name, values in parameters(plain).items():
        assert_close(getattr(compiled, name), values, terms)


@given(st.integers(1, 40), dtypes, st.floats(0, 1e4), seeds)
def test_probabilities_are_positive_and_sum_to_one(nodes, dtype, spread, rng):
    soft, _ = softmax_twins(1, nodes, dtype, rng)
    soft.biases[...] = spread * uniform(rng, nodes)
    probabilities = soft.forward(np.zeros(1, dtype))
    assert (probabilities >= 0).all()
    assert_close(probabilities.sum(keepdims=True), np.ones(1, dtype), terms=4 * nodes)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), dtypes, seeds)
def test_ties_share_the_gradient_or_the_first_takes_it(height, width, channels, dtype, rng):
    tied = np.full((2 * height, 2 * width, channels), rng.normal(), dtype)
    d_L_d_out = uniform(rng, (height, width, channels), dtype)
    for ties, pixels in (("all", [(0, 0), (0, 1), (1, 0), (1, 1)]), ("first", [(0, 0)])):
        pool = cnnx.MaxPool2(ties=ties)
        pool.forward(tied)
        expected = np.zeros_like(tied)
        for row, column in pixels:
            expected[row::2, column::2] = d_L_d_out
        assert_same_bits(pool.backprop(d_L_d_out), expected)


@given(dtypes, seeds)
def test_a_float64_gradient_of_a_float32_layer_is_converted_once(dtype, rng):
    soft, plain = softmax_twins(11, 6, np.float32, rng)
    input, d_L_d_out = uniform(rng, 11, dtype), uniform(rng, 6, dtype)
    assert_close(soft.forward(input), plain.forward(input.astype(np.float32)), 46)
    expected = plain.backprop(d_L_d_out.astype(np.float32), 0.1)
    assert_close(soft.backprop(d_L_d_out, 0.1), expected, 46)


def layer_passes(module, rng, dtype):
    """Yield (name, call, the arrays it is given) for every function a user can call with arrays."""
    conv, soft, pool = (
        module.Conv3x3(5, dtype=dtype),
        module.Softmax(5 * 4 * 3, 7, dtype=dtype),
        module.MaxPool2(),
    )
    image, features = uniform(rng, (7, 6), dtype), uniform(rng, (5, 4, 3), dtype)
    stacked, dense = module.Conv3x3(2, 3, padding="same", dtype=dtype), module.Dense(5 * 4 * 3, 7, dtype=dtype)
    yield "stacked Conv3x3.forward", stacked.forward, [features]
    yield "stacked Conv3x3.backprop", lambda d: stacked.backprop(d, 0.5), [uniform(rng, (5, 4, 2), dtype)]
    yield "Dense.forward", dense.forward, [features]
    yield "Dense.backprop", lambda d: dense.backprop(d, 0.5), [uniform(rng, 7, dtype)]
    for layer in (module.ReLU(), module.Dropout(0.5)):
        yield f"{type(layer).__name__}.forward", layer.forward, [features]
        yield f"{type(layer).__name__}.backprop", layer.backprop, [uniform(rng, (5, 4, 3), dtype)]
    yield "Conv3x3.forward", conv.forward, [image]
    yield "Conv3x3.backprop", lambda d: conv.backprop(d, 0.5), [uniform(rng, (5, 4, 5), dtype)]
    yield "MaxPool2.forward", pool.forward, [features]
    yield "MaxPool2.backprop", pool.backprop, [uniform(rng, (2, 2, 3), dtype)]
    yield "Softmax.forward", soft.forward, [features]
    yield "Softmax.backprop", lambda d: soft.backprop(d, 0.5), [uniform(rng, 7, dtype)]
    yield "cross_entropy", lambda out: module.cross_entropy(out, 3), [rng.uniform(0.1, 1, 7).astype(dtype)]


def reference_functions(rng, dtype):
    """Yield the same for the pure functions of the reference."""
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


def arrays_in(result):
    items = result if isinstance(result, tuple) else (result,)
    return [item for item in items if isinstance(item, np.ndarray)]


@pytest.mark.parametrize("source", ["compiled", "reference", "functions"])
def test_no_function_modifies_its_arguments(rng, dtype, source):
    passes = {
        "compiled": lambda: layer_passes(cnnx, rng, dtype),
        "reference": lambda: layer_passes(reference, rng, dtype),
        "functions": lambda: reference_functions(rng, dtype),
    }[source]()
    for name, call, arguments in passes:
        copies = [argument.copy() for argument in arguments]
        call(*arguments)
        for argument, copy in zip(arguments, copies, strict=True):
            assert argument.tobytes() == copy.tobytes(), name


def test_results_are_fresh_writable_contiguous_arrays_of_the_layer_s_dtype(rng, dtype):
    for name, call, arguments in layer_passes(cnnx, rng, dtype):
        first, second = arrays_in(call(*arguments)), arrays_in(call(*arguments))
        assert first, name
        for result, again in zip(first, second, strict=True):
            assert type(result) is np.ndarray, name
            assert result.dtype == dtype, name
            assert result.flags.c_contiguous, name
            assert result.flags.writeable, name
            assert not np.shares_memory(result, again), name
            assert not any(np.shares_memory(result, argument) for argument in arguments), name


def test_writing_to_a_result_does_not_reach_into_a_layer(rng, dtype):
    soft, plain = softmax_twins(12, 5, dtype, rng)
    input, d_L_d_out = uniform(rng, (3, 4), dtype), uniform(rng, 5, dtype)
    for layer in (soft, plain):
        layer.forward(input)[...] = 0
        layer.backprop(d_L_d_out, 0.1)[...] = 0
    assert_close(soft.weights, plain.weights, terms=44)
    assert_close(soft.last_totals, plain.last_totals, terms=13)
