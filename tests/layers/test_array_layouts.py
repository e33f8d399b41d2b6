"""Arrays of another dtype or layout are converted on purpose; parameters are kept, so no update is lost."""

import numpy as np
import pytest
from cases import CASES, LEARNING, assert_refused
from layouts import CONVERTED, Subclass, every_other, misaligned, read_only
from pairwise import pairwise
from tolerances import assert_agree, assert_close
from twins import DTYPES, parameters, uniform

import cnnx
from cnnx import reference


def assert_parameters_close(layer, plain, terms, largest=1.0):
    for name, values in parameters(plain).items():
        assert_close(getattr(layer, name), values, terms, largest)


@pairwise(kind=CONVERTED, method=["forward", "backprop"], dtype=DTYPES)
def test_other_dtypes_and_layouts_give_numpy_s_answer_in_the_layer_s_dtype(rng, kind, method, dtype):
    for case in CASES.values():
        assert_converted(rng, case, kind, method, dtype)


def assert_converted(rng, case, kind, method, dtype):
    compiled, plain = case.after_forward(cnnx, dtype), case.after_forward(reference, dtype)
    odd = CONVERTED[kind](uniform(rng, case.input_shape if method == "forward" else case.output_shape, dtype))
    computed_in = np.dtype(dtype)
    if method == "forward" and not case.has_dtype:
        native = odd.dtype.newbyteorder("=")
        computed_in = native if native in (np.float32, np.float64) else np.dtype(np.float64)
    before, native = odd.tobytes(), np.array(odd, computed_in)
    if method == "forward":
        result, expected = compiled.forward(odd), plain.forward(native)
    else:
        result, expected = case.backprop(compiled, odd), case.backprop(plain, native)
    assert type(result) is np.ndarray
    assert type(compiled.last_input) is np.ndarray
    largest = float(np.abs(odd).max())
    assert_agree(result, expected, max(case.terms(*case.sizes[0])), largest)
    assert_parameters_close(compiled, plain, terms=100, largest=largest)
    assert odd.tobytes() == before


def unusable_parameters(good):
    """Yield (kind, replacement, error) for everything a layer cannot update in place."""
    frozen = read_only(good)
    yield from (
        ("None", None, TypeError),
        ("list", good.tolist(), TypeError),
        ("masked", np.ma.array(good), TypeError),
        ("subclass", good.view(Subclass), TypeError),
        ("other precision", good.astype(np.float32 if good.dtype == np.float64 else np.float64), TypeError),
        ("integer", good.astype(np.int64), TypeError),
        ("complex", good.astype(complex), TypeError),
        ("object", good.astype(object), TypeError),
        ("byte-swapped", good.astype(good.dtype.newbyteorder()), (TypeError, ValueError)),
        ("longer", np.concatenate([good, good]), ValueError),
        ("shorter", good[1:].copy(), ValueError),
        ("one more axis", good[np.newaxis].copy(), ValueError),
        ("flat", np.resize(good, good.size + 1), ValueError),
        ("0-d", np.array(1, good.dtype), ValueError),
        ("sliced", every_other(good), ValueError),
        ("reversed", np.flip(np.flip(good).copy()), ValueError),
        ("misaligned", misaligned(good), ValueError),
        ("read-only", frozen, ValueError),
        ("zero strides", np.broadcast_to(good.flat[0], good.shape), ValueError),
    )
    if good.ndim > 1:
        yield "Fortran order", np.asfortranarray(good), ValueError


PARAMETERS = [(name, parameter) for name in LEARNING for parameter in parameters(CASES[name].make(cnnx))]


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
class TestParameters:
    def test_what_cannot_be_updated_in_place_is_refused_at_assignment(self, dtype, name, parameter):
        layer = CASES[name].after_forward(cnnx, dtype)
        kept = getattr(layer, parameter)
        for kind, replacement, error in unusable_parameters(kept.copy()):
            assert_refused(
                layer,
                lambda replacement=replacement: setattr(layer, parameter, replacement),
                error,
                rf"^{parameter}: expected",
            )
            assert getattr(layer, parameter) is kept, kind

    def test_an_assigned_array_is_kept_and_updated_in_place(self, rng, dtype, name, parameter):
        case = CASES[name]
        layer, plain = case.after_forward(cnnx, dtype), case.after_forward(reference, dtype)
        mine = uniform(rng, getattr(layer, parameter).shape, dtype)
        setattr(plain, parameter, mine.copy())
        setattr(layer, parameter, mine)
        input, d_L_d_out = uniform(rng, case.input_shape, dtype), uniform(rng, case.output_shape, dtype)
        before = mine.copy()
        for either in (layer, plain):
            either.forward(input)
            case.backprop(either, d_L_d_out)
        assert getattr(layer, parameter) is mine
        assert (mine != before).all()
        assert_close(mine, getattr(plain, parameter), terms=100)

    def test_a_parameter_frozen_later_is_refused_at_backprop(self, rng, name, parameter):
        case, layer = CASES[name], CASES[name].after_forward(cnnx)
        getattr(layer, parameter).flags.writeable = False
        d_L_d_out = uniform(rng, case.output_shape)
        assert_refused(layer, lambda: case.backprop(layer, d_L_d_out), ValueError, rf"^{parameter}: expected")

    def test_a_parameter_resized_later_is_refused(self, rng, name, parameter):
        case, layer = CASES[name], CASES[name].after_forward(cnnx)
        values = getattr(layer, parameter)
        values.resize((values.shape[0] - 1, *values.shape[1:]), refcheck=False)
        d_L_d_out = uniform(rng, case.output_shape)
        assert_refused(layer, lambda: case.backprop(layer, d_L_d_out), ValueError, ": expected")
        if case.any_rank:  # the weights say what input it takes
            assert_refused(layer, lambda: layer.forward(np.ones(case.input_shape)), ValueError, ": expected")


@pytest.mark.parametrize("name", [name for name in LEARNING if len(parameters(CASES[name].make(cnnx))) > 1])
def test_two_parameters_never_share_one_array_s_memory(dtype, name):
    layer = CASES[name].after_forward(cnnx, dtype)
    (first, weights), (second, biases) = parameters(layer).items()
    overlapping = np.zeros(weights.size + biases.size - 1, dtype)
    setattr(layer, first, overlapping[: weights.size].reshape(weights.shape))
    shared = overlapping[weights.size - 1 :]
    assert_refused(layer, lambda: setattr(layer, second, shared), ValueError, rf"^{second}: expected an array apart")


@pytest.mark.parametrize("name", [name for name in CASES if name != "Dropout"])
def test_a_last_input_of_one_s_own_is_used_or_refused(rng, dtype, name):
    case = CASES[name]
    layer, plain = case.after_forward(cnnx, dtype), case.after_forward(reference, dtype)
    mine, d_L_d_out = uniform(rng, layer.last_input.shape, dtype), uniform(rng, case.output_shape, dtype)
    for bad in ([1.0], mine.astype(complex), np.ma.array(mine), mine[2:], mine[np.newaxis], np.array(1.0)):
        if name == "GlobalAveragePool" and getattr(bad, "base", None) is mine and bad.ndim == 3:
            continue  # it averages over any height
        layer.last_input = bad
        error = (TypeError, ValueError)
        assert_refused(layer, lambda: case.backprop(layer, d_L_d_out), error, "last_input|d_L_d_out")
    layer.last_input = plain.last_input = mine
    assert_agree(case.backprop(layer, d_L_d_out), case.backprop(plain, d_L_d_out), case.terms(*case.sizes[0])[1])
    assert_parameters_close(layer, plain, terms=100)
