"""Arrays of another dtype or layout are converted on purpose; parameters are kept, so no update is lost."""

import numpy as np
import pytest
from entries import ENTRIES, LAYERS, WITHOUT_PARAMETERS, assert_refused, entry_of, make_layer
from tolerances import assert_close, assert_same_bits
from twins import conv_twins, parameters, softmax_twins, uniform

import cnnx
from cnnx import reference


class Subclass(np.ndarray):
    """An array type of the user's own."""


def misaligned(values):
    raw = np.empty(values.nbytes + 1, np.uint8)
    moved = raw[1:].view(values.dtype).reshape(values.shape)
    moved[...] = values
    return moved


def read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def every_other(values):
    spread = np.full([3 * size for size in values.shape], np.nan, values.dtype)
    within = tuple(slice(1, None, 3) for _ in values.shape)
    spread[within] = values
    return spread[within]


CONVERTED = {
    "float16": lambda values: values.astype(np.float16),
    "float32": lambda values: values.astype(np.float32),
    "float64": lambda values: values.astype(np.float64),
    "longdouble": lambda values: values.astype(np.longdouble),
    "int8": lambda values: (4 * values).astype(np.int8),
    "int64": lambda values: (4 * values).astype(np.int64),
    "uint8": lambda values: np.abs(40 * values).astype(np.uint8),
    "uint64": lambda values: np.abs(40 * values).astype(np.uint64),
    "byte-swapped": lambda values: values.astype(values.dtype.newbyteorder()),
    "misaligned": misaligned,
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "sliced": every_other,
    "negative strides": lambda values: np.flip(np.flip(values).copy()),
    "transposed": lambda values: values.T.copy().T,
    "zero strides": lambda values: np.broadcast_to(values.flat[3], values.shape),
    "one zero stride": lambda values: np.broadcast_to(values[..., :1], values.shape),
    "subclass": lambda values: values.view(Subclass),
}


@pytest.mark.parametrize("kind", CONVERTED)
@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_other_dtypes_and_layouts_give_numpy_s_answer_in_the_layer_s_dtype(rng, dtype, entry, kind):
    compiled, plain = make_layer(cnnx, entry.layer, dtype), make_layer(reference, entry.layer, dtype)
    odd = CONVERTED[kind](uniform(rng, entry.shape, dtype))
    computed_in = np.dtype(dtype)
    if entry.method == "forward" and entry.layer in WITHOUT_PARAMETERS:
        native = odd.dtype.newbyteorder("=")
        computed_in = native if native in (np.float32, np.float64) else np.dtype(np.float64)
    expected = entry.call(plain, np.array(odd, computed_in))
    before = odd.tobytes()
    result = entry.call(compiled, odd)
    assert type(result) is np.ndarray
    assert type(compiled.last_input) is np.ndarray
    largest = float(np.abs(odd).max())
    assert_close(result, expected, terms=100, largest=largest)
    for name, values in parameters(plain).items():
        assert_close(getattr(compiled, name), values, terms=100, largest=largest)
    assert odd.tobytes() == before


def test_pooling_backprop_has_the_dtype_of_the_forward_pass(dtype, rng, ties):
    pool = cnnx.MaxPool2(ties=ties)
    pool.forward(uniform(rng, (4, 6, 3), dtype))
    assert pool.backprop(np.ones((2, 3, 3), np.float64)).dtype == dtype
    assert pool.backprop(np.ones((2, 3, 3), np.float32)).dtype == dtype


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5, 2), (5, 1, 2), (0, 4, 3), (4, 0, 3), (4, 6, 0), (0, 0, 0)])
def test_pooling_less_than_a_window_gives_nothing_and_a_gradient_of_zeros(layers, dtype, ties, shape):
    pool = layers.MaxPool2(ties=ties)
    pooled = (shape[0] // 2, shape[1] // 2, shape[2])
    assert_same_bits(pool.forward(np.ones(shape, dtype)), np.zeros(pooled, dtype))
    assert_same_bits(pool.backprop(np.ones(pooled, dtype)), np.zeros(shape, dtype))


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


PARAMETERS = [
    *(("Conv3x3", "filters"), ("stacked Conv3x3", "filters"), ("padded Conv3x3", "biases")),
    *((name, parameter) for name in ("Dense", "Softmax") for parameter in ("weights", "biases")),
]


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
class TestParameters:
    def test_what_cannot_be_updated_in_place_is_refused_at_assignment(self, dtype, name, parameter):
        layer = make_layer(cnnx, name, dtype)
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
        layer, plain = make_layer(cnnx, name, dtype), make_layer(reference, name, dtype)
        forward, backprop = (entry_of(name, method) for method in ("forward", "backprop"))
        mine = uniform(rng, getattr(layer, parameter).shape, dtype)
        setattr(plain, parameter, mine.copy())
        setattr(layer, parameter, mine)
        input, d_L_d_out = uniform(rng, forward.shape, dtype), uniform(rng, backprop.shape, dtype)
        before = mine.copy()
        for either in (layer, plain):
            either.forward(input)
            backprop.call(either, d_L_d_out)
        assert getattr(layer, parameter) is mine
        assert (mine != before).all()
        assert_close(mine, getattr(plain, parameter), terms=100)

    def test_a_parameter_frozen_later_is_refused_at_backprop(self, rng, name, parameter):
        layer = make_layer(cnnx, name)
        backprop = entry_of(name, "backprop")
        getattr(layer, parameter).flags.writeable = False
        d_L_d_out = uniform(rng, backprop.shape)
        assert_refused(layer, lambda: backprop.call(layer, d_L_d_out), ValueError, rf"^{parameter}: expected")

    def test_a_parameter_resized_later_is_refused(self, rng, name, parameter):
        layer = make_layer(cnnx, name)
        values = getattr(layer, parameter)
        values.resize((values.shape[0] - 1, *values.shape[1:]), refcheck=False)
        for entry in ENTRIES:
            if entry.layer == name and (entry.method == "backprop" or name in ("Dense", "Softmax")):
                array = uniform(rng, entry.shape)
                assert_refused(
                    layer, lambda entry=entry, array=array: entry.call(layer, array), ValueError, ": expected"
                )


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "Dropout"])
def test_a_last_input_of_one_s_own_is_used_or_refused(rng, dtype, name):
    layer, plain = make_layer(cnnx, name, dtype), make_layer(reference, name, dtype)
    backprop = entry_of(name, "backprop")
    mine, d_L_d_out = uniform(rng, layer.last_input.shape, dtype), uniform(rng, backprop.shape, dtype)
    for bad in ([1.0], mine.astype(complex), np.ma.array(mine), mine[2:], mine[np.newaxis], np.array(1.0)):
        if name == "GlobalAveragePool" and getattr(bad, "base", None) is mine and bad.ndim == 3:
            continue  # it averages over any height
        layer.last_input = bad
        error = (TypeError, ValueError)
        assert_refused(layer, lambda: backprop.call(layer, d_L_d_out), error, "last_input|d_L_d_out")
    layer.last_input = plain.last_input = mine
    expected = backprop.call(plain, d_L_d_out)
    assert_close(backprop.call(layer, d_L_d_out), expected, terms=100)
    for parameter, values in parameters(plain).items():
        assert_close(getattr(layer, parameter), values, terms=100)


@pytest.mark.parametrize("shape", [(5, 5), (13,), "4x3", None], ids=str)
def test_a_last_input_shape_that_does_not_fit_is_refused_before_the_update(rng, shape):
    soft = make_layer(cnnx, "Softmax")
    soft.last_input_shape = shape
    error = (TypeError, ValueError, RuntimeError)
    assert_refused(soft, lambda: soft.backprop(uniform(rng, 5), 0.1), error, "last_input_shape|backprop")


class TestAliasing:
    """Arguments that share memory with each other or with a layer give what numpy gives."""

    def test_the_gradient_is_the_biases(self, rng, dtype):
        compiled, plain = softmax_twins(12, 5, dtype, rng)
        input = uniform(rng, 12, dtype)
        for layer in (compiled, plain):
            layer.forward(input)
        assert_close(compiled.backprop(compiled.biases, 0.5), plain.backprop(plain.biases, 0.5), terms=44)
        assert_close(compiled.biases, plain.biases, terms=44)
        assert_close(compiled.weights, plain.weights, terms=44)

    def test_the_gradient_is_a_row_of_the_weights(self, rng, dtype):
        compiled, plain = softmax_twins(12, 5, dtype, rng)
        input = uniform(rng, 12, dtype)
        for layer in (compiled, plain):
            layer.forward(input)
        assert_close(compiled.backprop(compiled.weights[0], 0.5), plain.backprop(plain.weights[0], 0.5), terms=44)
        assert_close(compiled.weights, plain.weights, terms=44)

    def test_the_input_is_a_view_of_the_weights(self, rng, dtype):
        compiled, plain = softmax_twins(12, 5, dtype, rng)
        d_L_d_out = uniform(rng, 5, dtype)
        for layer in (compiled, plain):
            layer.forward(layer.weights.reshape(-1)[7:19])
        assert_close(compiled.backprop(d_L_d_out, 0.5), plain.backprop(d_L_d_out, 0.5), terms=44)
        assert_close(compiled.weights, plain.weights, terms=44)

    def test_the_image_is_one_of_the_filters(self, rng, dtype):
        compiled, plain = conv_twins(4, dtype, rng)
        d_L_d_out = uniform(rng, (1, 1, 4), dtype)
        for layer in (compiled, plain):
            layer.forward(layer.filters[2])
        assert_close(compiled.backprop(d_L_d_out, 0.5), plain.backprop(d_L_d_out, 0.5), terms=37)
        assert_close(compiled.filters, plain.filters, terms=37)

    def test_the_gradient_is_a_view_of_the_filters(self, rng, dtype):
        compiled, plain = conv_twins(4, dtype, rng)
        image = uniform(rng, (5, 5), dtype)
        for layer in (compiled, plain):
            layer.forward(image)
        d_L_d_input = compiled.backprop(compiled.filters.reshape(3, 3, 4), 0.5)
        assert_close(d_L_d_input, plain.backprop(plain.filters.reshape(3, 3, 4), 0.5), terms=45)
        assert_close(compiled.filters, plain.filters, terms=45)

    def test_the_gradient_is_the_input(self, dtype, ties):
        received = []
        for module in (cnnx, reference):
            pool = module.MaxPool2(ties=ties)
            shared = np.ones((2, 2, 3), dtype)
            pool.forward(shared)
            received.append(pool.backprop(shared[:1, :1]))
        assert_same_bits(*received)

    def test_an_image_changed_between_the_passes_is_seen_by_the_convolution_that_took_it(self, rng, dtype):
        compiled, plain = conv_twins(4, dtype, rng)
        image, d_L_d_out = uniform(rng, (6, 5), dtype), uniform(rng, (4, 3, 4), dtype)
        compiled.forward(image)
        plain.forward(image)
        image[...] = image[::-1].copy()
        compiled.backprop(d_L_d_out, 0.5)
        plain.backprop(d_L_d_out, 0.5)
        assert_close(compiled.filters, plain.filters, terms=4 * 9 + 12)

    def test_an_output_changed_between_the_passes_is_seen_by_the_pooling_that_took_it(self, rng, dtype, ties):
        features, received = uniform(rng, (6, 4, 3), dtype), []
        for module in (cnnx, reference):
            pool, given = module.MaxPool2(ties=ties), features.copy()
            pool.forward(given)
            given[...] = given[::-1].copy()
            received.append(pool.backprop(np.ones((3, 2, 3), dtype)))
        assert_same_bits(*received)

    def test_an_input_changed_between_the_passes_is_not_seen_by_the_dense_layer(self, rng, dtype):
        twins, input = softmax_twins(12, 5, dtype, rng), uniform(rng, (3, 4), dtype)
        d_L_d_out, received = uniform(rng, 5, dtype), []
        for layer in twins:
            given = input.copy()
            layer.forward(given)
            given[...] = 0
            received.append(layer.backprop(d_L_d_out, 0.5))
        assert_close(*received, terms=44)
        assert_close(twins[0].weights, twins[1].weights, terms=44)
