"""What holds for every layer of `cases.py`: it computes what its twin does, and its gradient is the derivative.

What only one layer does is in the file with its name.
"""

import copy
import itertools
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, LEARNING, every_case
from pairwise import as_id, pairwise
from tolerances import assert_agree, assert_close, assert_is_derivative, assert_same_bits, central_difference
from twins import DTYPES, parameters, uniform, with_equal_parameters

import cnnx
from cnnx import reference
from cnnx.layers import Layer

LEARN_RATE = 0.3
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}


def every_size(fits=lambda *_: True):
    return pytest.mark.parametrize(
        ("case", "size"),
        [
            pytest.param(
                case,
                size,
                id=f"{name}-{as_id(size[0])}-{as_id(size[1])}",
                marks=[pytest.mark.smoke] if size is case.sizes[0] else [],
            )
            for name, case in CASES.items()
            for position, size in enumerate(case.sizes)
            if fits(size, position)
        ],
    )


def test_every_layer_is_described_and_has_a_file():
    kinds = {
        name for name in cnnx.__all__ if isinstance(kind := getattr(cnnx, name), type) and issubclass(kind, Layer)
    } - {"Layer"}
    assert kinds == {case.kind for case in CASES.values()}
    files = {path.stem.removeprefix("test_").replace("_", "") for path in Path(__file__).parent.iterdir()}
    assert {kind.lower() for kind in kinds} <= files


# --------------------------------------------------------------------------------------------- the layer and its twin


@every_size()
@pytest.mark.usefixtures("target")
def test_both_passes_and_the_update_are_the_twin_s(rng, case, size):
    of_output, of_gradient = case.terms(*size)
    for dtype, draw in itertools.product(DTYPES, case.draws * (2 // len(case.draws))):
        compiled, plain = case.twins(dtype, rng, size)
        input = np.asarray(draw(rng, size[1], dtype), dtype)
        output, expected = compiled.forward(input), plain.forward(input)
        assert_agree(output, expected, of_output)
        assert_same_bits(compiled.last_input.ravel(), input.ravel())
        d_L_d_out = np.asarray(uniform(rng, expected.shape), dtype)
        d_L_d_input = case.backprop(compiled, d_L_d_out, LEARN_RATE)
        assert_agree(d_L_d_input, case.backprop(plain, d_L_d_out, LEARN_RATE), of_gradient)
        assert parameters(compiled).keys() == parameters(plain).keys()
        for name, values in parameters(plain).items():
            assert_close(getattr(compiled, name), values, of_gradient)


@every_size(lambda size, position: position < 9 and 0 < math.prod(size[1]) <= 60 and sum(size[0]) <= 20)
def test_backprop_is_the_derivative_of_forward(layers, rng, case, size):
    layer = case.make(layers, size=size)
    with_equal_parameters(rng, layer)
    input = np.asarray(case.smooth(rng, size[1]))
    d_L_d_out = np.asarray(uniform(rng, layer.forward(input).shape))

    def loss():
        return float(np.sum(layer.forward(input) * d_L_d_out))

    numeric_input = central_difference(loss, input)
    numeric = {name: central_difference(loss, values) for name, values in parameters(layer).items()}
    before = {name: values.copy() for name, values in parameters(layer).items()}
    layer.forward(input)
    terms = 9 * max(d_L_d_out.size, 1)
    assert_is_derivative(case.backprop(layer, d_L_d_out, 1.0), numeric_input, terms)
    for name, values in parameters(layer).items():
        assert_is_derivative(before[name] - values, numeric[name], terms)


@every_case(LEARNING)
def test_backprop_twice_steps_twice_from_the_same_forward(dtype, rng, case):
    compiled, plain = case.twins(dtype, rng)
    input, d_L_d_out = uniform(rng, case.input_shape, dtype), uniform(rng, case.output_shape, dtype)
    compiled.forward(input)
    plain.forward(input)
    _, terms = case.terms(*case.sizes[0])
    for step in (1, 2, 3):
        d_L_d_input = case.backprop(compiled, d_L_d_out, LEARN_RATE)
        assert_close(d_L_d_input, case.backprop(plain, d_L_d_out, LEARN_RATE), 2 * step * terms)
        for name, values in parameters(plain).items():
            assert_close(getattr(compiled, name), values, 2 * step * terms)


@pairwise(name=LEARNING, layers=[cnnx, reference], dtype=DTYPES)
def test_the_returned_gradient_goes_through_the_old_parameters(rng, name, layers, dtype):
    case = CASES[name]
    layer, d_L_d_out = case.make(layers, dtype, rng), uniform(rng, case.output_shape, dtype)
    layer.forward(uniform(rng, case.input_shape, dtype))
    without_a_step = layer.backprop(d_L_d_out, 0.0)
    assert_same_bits(layer.backprop(d_L_d_out, 100.0), without_a_step)


@pairwise(name=LEARNING, layers=[cnnx, reference], dtype=DTYPES)
def test_a_learn_rate_of_zero_changes_no_number(rng, name, layers, dtype):
    case = CASES[name]
    layer = case.make(layers, dtype, rng)
    for values in parameters(layer).values():
        values.flat[0] = -0.0
    before = {parameter: values.copy() for parameter, values in parameters(layer).items()}
    layer.forward(uniform(rng, case.input_shape, dtype))
    layer.backprop(uniform(rng, case.output_shape, dtype), 0.0)
    for parameter, values in before.items():
        np.testing.assert_array_equal(getattr(layer, parameter), values)


@pairwise(name=CASES, layers=[cnnx, reference], dtype=DTYPES)
def test_a_zero_gradient_gives_zeros_and_moves_nothing(rng, name, layers, dtype):
    case = CASES[name]
    layer = case.make(layers, dtype, rng)
    before = {parameter: values.copy() for parameter, values in parameters(layer).items()}
    layer.forward(uniform(rng, case.input_shape, dtype))
    d_L_d_input = case.backprop(layer, np.zeros(case.output_shape, dtype))
    np.testing.assert_array_equal(d_L_d_input, np.zeros(case.input_shape, dtype))
    for parameter, values in before.items():
        assert_same_bits(getattr(layer, parameter), values)


# ------------------------------------------------------------------------------------------- arguments and results


@pairwise(name=CASES, layers=[cnnx, reference], dtype=DTYPES)
def test_arguments_stay_as_they_are(rng, name, layers, dtype):
    case = CASES[name]
    layer = case.make(layers, dtype, rng)
    input, d_L_d_out = uniform(rng, case.input_shape, dtype), uniform(rng, case.output_shape, dtype)
    before = input.tobytes(), d_L_d_out.tobytes()
    layer.forward(input)
    case.backprop(layer, d_L_d_out)
    assert (input.tobytes(), d_L_d_out.tobytes()) == before


@every_case()
def test_results_are_fresh_writable_contiguous_arrays_of_the_layer_s_dtype(dtype, rng, case):
    layer = case.make(cnnx, dtype, rng)
    input, d_L_d_out = uniform(rng, case.input_shape, dtype), uniform(rng, case.output_shape, dtype)
    for call, argument in ((layer.forward, input), (lambda given: case.backprop(layer, given), d_L_d_out)):
        first, second = call(argument), call(argument)
        assert type(first) is np.ndarray
        assert first.dtype == dtype
        assert first.flags.carray
        assert not np.shares_memory(first, second)
        assert not np.shares_memory(first, argument)


@every_case()
def test_writing_to_a_result_does_not_reach_into_a_layer(dtype, rng, case):
    written, left = case.make(cnnx, dtype, np.random.default_rng(1)), case.make(cnnx, dtype, np.random.default_rng(1))
    input, d_L_d_out = uniform(rng, case.input_shape, dtype), uniform(rng, case.output_shape, dtype)
    results = []
    for layer in (written, left):
        for _ in range(2):
            output = layer.forward(input)
            d_L_d_input = case.backprop(layer, d_L_d_out)
            results.append((output.copy(), d_L_d_input.copy()))
            if layer is written:
                output[...] = d_L_d_input[...] = np.nan
    for of_written, of_left in zip(results[1], results[3], strict=True):
        assert_same_bits(of_written, of_left)


# --------------------------------------------------------------------------------------------------- extreme values

EXTREMES = (np.nan, np.inf, -np.inf)
PLACES = ("input", "gradient", "gradient of zeros", "input, gradient of zeros", "parameters")


@every_case()
@pytest.mark.usefixtures("target")
def test_extremes_spread_as_in_the_twin(rng, dtype, case):
    of_output, of_gradient = (max(1, terms) for terms in case.terms(*case.sizes[0]))  # one NaN is as good as another
    for place, extreme in itertools.product(PLACES, EXTREMES):
        compiled, plain = case.twins(dtype, rng)
        input, d_L_d_out = uniform(rng, case.input_shape, dtype), uniform(rng, case.output_shape, dtype)
        if "gradient of zeros" in place:
            d_L_d_out[...] = 0
        if "input" in place:
            input.flat[input.size // 2] = extreme
        elif "gradient" in place:
            d_L_d_out.flat[d_L_d_out.size // 2] = extreme
        else:
            for layer in (compiled, plain):
                for values in parameters(layer).values():
                    values.flat[values.size // 2] = extreme
        with np.errstate(all="ignore"):
            assert_close(compiled.forward(input), plain.forward(input), of_output)
            assert_close(case.backprop(compiled, d_L_d_out), case.backprop(plain, d_L_d_out), of_gradient)
        for name, values in parameters(plain).items():
            assert_close(getattr(compiled, name), values, of_gradient)


@every_case()
def test_numpy_s_error_state_is_left_alone(case):
    before = np.geterr()
    layer = case.make(cnnx)
    layer.forward(np.full(case.input_shape, np.inf))
    case.backprop(layer, np.full(case.output_shape, np.nan))
    assert np.geterr() == before


# ------------------------------------------------------------------------------------------------ copies and prints


@pairwise(name=CASES, kind=COPIES, dtype=DTYPES)
def test_a_copy_has_its_settings_and_parameters_of_its_own(rng, name, kind, dtype):
    case = CASES[name]
    layer = case.make(cnnx, dtype, rng)
    twin = COPIES[kind](layer)
    assert type(twin) is type(layer)
    assert twin.settings() == layer.settings()
    assert parameters(twin).keys() == parameters(layer).keys()
    for parameter, values in parameters(layer).items():
        assert_same_bits(getattr(twin, parameter), values)
        assert not np.shares_memory(getattr(twin, parameter), values)


@every_case()
def test_it_prints_what_makes_one_like_it(dtype, case):
    layer = case.make(cnnx, dtype)
    again = eval(repr(layer), vars(cnnx).copy())
    assert again.settings() == layer.settings()
    assert re.fullmatch(rf"{case.kind}\(.*\)", repr(layer))
