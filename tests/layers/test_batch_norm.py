"""BatchNorm in a network: statistics of the whole batch in training, running statistics elsewhere.

What it shares with every layer is in test_every_layer.py, which reads its sizes from cases.py.
"""

import copy
import pickle

import numpy as np
import pytest
from networks import Plain, as_floats, assert_gradient_is_derivative, bits, forward_by_hand
from pairwise import pairwise
from reference_loop import TERMS, assert_fit_follows
from saved_files import refusal, rewrite
from stacks import IMAGE, problem, stack
from tolerances import assert_close, assert_same_bits
from twins import DTYPES, buffers, parameters

import cnnx
from cnnx import BatchNorm, Conv3x3, Dense, MaxPool2, ReLU, Sequential, Softmax, reference

NAMES = [
    "unbiased:6 norm relu pool:first unbiased:9 norm relu pool:first dropout:0.3 softmax:5",
    "unbiased:3 relu norm:0.5 dense:7 norm relu dense:4 norm softmax:3",
    "conv:4 norm norm softmax:3",
    "same:8 norm pool same:17 norm relu average norm softmax:4",
    "same:17 norm pool:first same:25 norm relu conv:28 norm softmax:4",
]
AFTER_DENSE = NAMES[1]
POOLED = [
    "unbiased:6 norm relu pool:first softmax:5",
    "conv:19 norm pool softmax:3",
    "same:5 norm pool:first conv:4 norm relu pool softmax:3",
]


def arrays(network):
    return [array.copy() for layer in network.layers for array in {**parameters(layer), **buffers(layer)}.values()]


def running(network):
    return [array.copy() for layer in network.layers for array in buffers(layer).values()]


# ----------------------------------------------------------------------------------------------------------- training


@pairwise(names=NAMES, count=[2, 3, 9], target=cnnx.targets())
def test_a_gradient_is_the_derivative_through_the_whole_batch(rng, names, count):
    images, labels = problem(rng, names, count, "floats")
    network = Sequential(stack(cnnx, names))
    some = rng.permutation(network.parameters.size)[:40]
    assert_gradient_is_derivative(network, images, labels, some)


@pairwise(batch_size=[2, 5, 16], optimizer=["plain", "momentum", "adam"], dtype=DTYPES, target=cnnx.targets())
def test_fit_is_the_reference_s_loop_after_dense_layers_too(rng, batch_size, optimizer, dtype):
    names = "unbiased:3 norm relu pool dense:7 relu norm softmax:3"
    images, labels = problem(rng, names, 6 * batch_size, "floats")
    assert_fit_follows(names, dtype, images, labels, batch_size, optimizer)


@pairwise(names=NAMES, threads=[2, 3, 5], batch_size=[4, 18, 40], dtype=DTYPES)
def test_the_number_of_threads_changes_no_bit(rng, names, threads, batch_size, dtype):
    images, labels = problem(rng, names, 80)
    results = []
    for used in (1, threads):
        network = Sequential(stack(cnnx, names, dtype))
        options = {"epochs": 2, "batch_size": batch_size, "threads": used, "rng": 1}
        losses = network.fit(images, labels, optimizer=cnnx.Adam(0.01), **options).losses
        network.gradients(images, labels, threads=used, rng=2)
        results.append((losses.tobytes(), bits(network), network.gradient.tobytes()))
    assert results[0] == results[1]


@pairwise(names=NAMES, batch_size=[2, 7, 24], dtype=DTYPES, target=cnnx.targets())
def test_it_trains_fused_as_it_does_plain(rng, names, batch_size, dtype):
    images, labels = problem(rng, names, 2 * batch_size)
    trained = []
    for kind in (Sequential, Plain):
        network = kind(stack(cnnx, names, dtype))
        network.fit(images, labels, epochs=2, learn_rate=0.02, batch_size=batch_size, rng=1)
        trained.append([*arrays(network), network.predict(images)])
    for fused, plain in zip(*trained, strict=True):
        assert_close(fused, plain, TERMS)


@pairwise(names=POOLED, kind=["bytes", "blank", "floats"], dtype=DTYPES, target=cnnx.targets())
def test_pooling_before_the_normalisation_takes_the_same_pixels(rng, names, kind, dtype):
    """The largest value is the smallest one times a negative scale, and all are equal times 0."""
    images, labels = problem(rng, names, 12, kind)
    found = []
    for network_of in (Sequential, Plain):
        network = network_of(stack(cnnx, names, dtype))
        for layer in network.layers:
            if isinstance(layer, BatchNorm):
                layer.scale[:3] = 0, -1.5, -0.5
        network.gradients(images, labels)
        found.append(network.gradient)
    assert_close(found[0], found[1], TERMS)


def test_windows_of_any_length_give_the_same_bits(dtype, rng):
    images, labels = problem(rng, NAMES[0], 60)
    trained = []
    for window in (1, 4, 1000):
        network = Sequential(stack(cnnx, NAMES[0], dtype))
        options = {"progress_every": window, "on_progress": lambda _: None, "rng": 1}
        network.fit(images, labels, epochs=2, learn_rate=0.05, batch_size=7, **options)
        trained.append(bits(network))
    assert trained[0] == trained[1] == trained[2]


@pytest.mark.parametrize("fused", [False, True])
def test_a_mean_far_from_zero_costs_no_variance(rng, fused):
    """A sum of squares minus a squared sum would lose every digit of it."""
    values = (1000 + rng.uniform(-1, 1, (16, 8, 9))).astype(np.float32)
    conv, norm = Conv3x3(1, 1, padding="same", use_bias=False, dtype=np.float32), BatchNorm(1, 0.0, dtype=np.float32)
    conv.filters[...] = 0
    conv.filters[0, 1, 1, 0] = 1
    rest = [MaxPool2(), Softmax(16, 2, dtype=np.float32)] if fused else [Softmax(72, 2, dtype=np.float32)]
    network = Sequential([conv, norm, *rest])
    network.fit(values, np.zeros(16, int), epochs=1, learn_rate=0.0, batch_size=16)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(norm.running_mean, exact.mean(), rtol=1e-6)
    np.testing.assert_allclose(norm.running_var, exact.var(ddof=1), rtol=1e-5)


def test_one_image_is_a_batch_after_a_convolution(dtype, rng):
    names = "unbiased:3 norm relu softmax:3"
    images, labels = problem(rng, names, 5, "floats")
    assert_fit_follows(names, dtype, images, labels, 1, "plain")


@pytest.mark.parametrize(("count", "batch_size"), [(5, 1), (5, 4), (1, 8)])
def test_one_value_of_a_channel_is_no_batch(rng, count, batch_size):
    images, labels = problem(rng, AFTER_DENSE, count)
    network = Sequential(stack(cnnx, AFTER_DENSE))
    before = bits(network)
    message = r"^layers\[4\] \(BatchNorm\): expected at least 2 images in each batch.*got a batch of 1"
    with pytest.raises(ValueError, match=message):
        network.fit(images, labels, epochs=1, learn_rate=0.1, batch_size=batch_size)
    with pytest.raises(ValueError, match=message):
        network.gradients(images[:1], labels[:1])
    assert bits(network) == before


def test_gradients_leave_the_running_statistics_alone(rng):
    images, labels = problem(rng, NAMES[0], 6)
    network = Sequential(stack(cnnx, NAMES[0]))
    before = bits(network)
    network.gradients(images, labels)
    network.apply(cnnx.SGD(0.0, weight_decay=0.1))
    assert bits(network) == before


def test_a_layer_at_two_positions_is_refused():
    norm = BatchNorm(3)
    same = Conv3x3(3, 3, padding="same")
    network = Sequential([Conv3x3(3), norm, same, norm, Softmax(9 * 12 * 3, 3)])
    message = r"^layers\[3\] \(BatchNorm\): expected a BatchNorm at one position.*got that of layers\[1\]"
    with pytest.raises(ValueError, match=message):
        network.predict(np.zeros((2, *IMAGE)))


class Own(cnnx.Layer):
    """Changes nothing."""

    def forward(self, input):
        return input.copy()

    def backprop(self, d_L_d_out):
        return d_L_d_out.copy()

    def output_shape(self, input_shape):
        return input_shape


def test_a_network_with_layers_in_python_refuses_to_train_it(rng):
    images, labels = problem(rng, NAMES[2], 6)
    network = Sequential([Own(), *stack(cnnx, NAMES[2])])
    with pytest.raises(ValueError, match=r"^layers\[2\] \(BatchNorm\): expected no layer that needs the whole batch"):
        network.fit(images, labels, epochs=1, learn_rate=0.1, batch_size=3)
    for layer in network.layers[2:4]:
        layer.trainable = False
    network.fit(images, labels, epochs=1, learn_rate=0.1, batch_size=3)


def test_a_tied_convolution_may_have_a_norm_of_its_own_at_each_position(rng):
    same = Conv3x3(3, 3, padding="same", rng=rng)
    layers = [Conv3x3(3, rng=rng), same, BatchNorm(3), ReLU(), same, BatchNorm(3), Softmax(9 * 12 * 3, 3, rng=rng)]
    images, labels = rng.uniform(-1, 1, (8, *IMAGE)), rng.integers(0, 3, 8)
    network = Sequential(layers)
    network.fit(images, labels, epochs=2, learn_rate=0.1, batch_size=4)
    expected = np.array([forward_by_hand(layers, image) for image in images])
    assert_close(network.predict(images), expected, TERMS)


@pytest.mark.parametrize("name", ["running_mean", "running_var", "scale", "offset"])
def test_an_array_made_read_only_is_refused_and_nothing_is_trained(rng, name):
    images, labels = problem(rng, NAMES[2], 6)
    network = Sequential(stack(cnnx, NAMES[2]))
    getattr(network.layers[2], name).flags.writeable = False
    before = bits(network)
    with pytest.raises(ValueError, match=rf"^layers\[2\] \(BatchNorm\): {name}: expected a writable array"):
        network.fit(images, labels, epochs=1, learn_rate=0.1, batch_size=3)
    assert bits(network) == before
    network.predict(images)


def test_a_frozen_layer_uses_its_running_statistics_in_training_too(dtype, rng):
    images, labels = problem(rng, AFTER_DENSE, 6)
    network = Sequential(stack(cnnx, AFTER_DENSE, dtype))
    norms = [layer for layer in network.layers if isinstance(layer, BatchNorm)]
    for norm in norms:
        norm.trainable = False
    before = running(network), norms[0].scale.copy()
    expected = network.evaluate(images, labels)[0]
    losses = network.fit(images, labels, epochs=1, learn_rate=0.0, batch_size=1, shuffle=False).losses
    assert losses.mean() == pytest.approx(expected, rel=1e-5)
    network.fit(images, labels, epochs=1, learn_rate=0.1, batch_size=1)
    for array, old in zip([*running(network), norms[0].scale], [*before[0], before[1]], strict=True):
        assert_same_bits(array, old)


def test_a_loss_in_python_moves_the_running_statistics_as_one_in_the_core(dtype, rng):
    images, labels = problem(rng, NAMES[2], 24, "floats")

    def cross_entropy(outputs, targets):
        rows = np.arange(len(targets))
        gradients = np.zeros_like(outputs)
        gradients[rows, targets] = -1 / outputs[rows, targets]
        return -np.log(outputs[rows, targets]).astype(np.float64), gradients

    trained = []
    for loss in ("cross_entropy", cross_entropy):
        network = Sequential(stack(cnnx, NAMES[2], dtype))
        network.fit(images, labels, epochs=1, learn_rate=0.01, batch_size=6, shuffle=False, loss=loss)
        trained.append(arrays(network))
    for ours, theirs in zip(*trained, strict=True):
        assert_close(ours, theirs, TERMS)


def test_a_learn_rate_of_zero_moves_the_running_statistics_alone(rng):
    images, labels = problem(rng, NAMES[0], 20)
    network = Sequential(stack(cnnx, NAMES[0]))
    before = running(network), network.parameters.copy()
    network.fit(images, labels, epochs=1, learn_rate=0.0, batch_size=5)
    assert_same_bits(network.parameters, before[1])
    assert all(np.any(now != then) for now, then in zip(running(network), before[0], strict=True))


# --------------------------------------------------------------------------------------------------------- prediction


@pairwise(names=NAMES, count=[1, 3, 20], dtype=DTYPES, target=cnnx.targets())
def test_a_network_predicts_what_its_layers_do_by_hand(rng, names, count, dtype):
    images, _ = problem(rng, names, count)
    network, twins = Sequential(stack(cnnx, names, dtype)), stack(reference, names, dtype)
    expected = np.array([forward_by_hand(twins, image) for image in as_floats(images, dtype)])
    assert_close(network.predict(images), expected, TERMS)
    for name, values in network.activations(images[0]).items():
        if name.endswith("Softmax"):
            assert_close(values, expected[0], TERMS)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_filters_that_only_folding_makes_large_or_small_predict_all_the_same(rng, factor):
    conv, norm = Conv3x3(4, rng=rng), BatchNorm(4, eps=1e-300)
    network = Sequential([conv, norm, MaxPool2(), Softmax(4 * 6 * 4, 3, rng=rng)])
    images = rng.integers(0, 256, (12, *IMAGE), np.uint8)
    before = network.predict(images)
    conv.filters /= factor
    norm.running_var[...] = 1 / factor**2
    assert_close(network.predict(images), before, TERMS)


def test_running_statistics_that_change_are_noticed(rng):
    images, _ = problem(rng, NAMES[0], 8)
    network = Sequential(stack(cnnx, NAMES[0]))
    before = network.predict(images)
    network.layers[1].running_mean += 1
    moved = network.predict(images)
    assert np.abs(moved - before).max() > 1e-4
    network.layers[1].running_mean = network.layers[1].running_mean - 1
    assert_close(network.predict(images), before, TERMS)
    network.layers[1].eps = 10.0
    assert np.abs(network.predict(images) - before).max() > 1e-4


# ------------------------------------------------------------------------------------------------ buffers are kept


def test_a_saved_copied_or_pickled_network_has_its_running_statistics(tmp_path, dtype, rng):
    images, labels = problem(rng, NAMES[0], 20)
    network = Sequential(stack(cnnx, NAMES[0], dtype))
    network.fit(images, labels, epochs=1, learn_rate=0.05, batch_size=5)
    network.save(tmp_path / "network.npz")
    copies = [
        cnnx.load(tmp_path / "network.npz"),
        copy.copy(network),
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
    ]
    expected = network.predict(images)
    for twin in copies:
        assert bits(twin) == bits(network)
        assert_same_bits(twin.predict(images), expected)
        for name in ("running_mean", "running_var"):
            assert not np.shares_memory(getattr(twin.layers[1], name), getattr(network.layers[1], name))


def test_a_file_that_claims_too_many_channels_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "file"
    Sequential([Conv3x3(2), BatchNorm(2), Softmax(4, 3)]).save(path)
    rewrite(path, lambda description: description["layers"][1].update(channels=10**15))
    with refusal(path):
        cnnx.load(path)


def test_a_file_without_running_statistics_is_refused(tmp_path):
    path = tmp_path / "file"
    Sequential([Conv3x3(2), BatchNorm(2), Softmax(4, 3)]).save(path)
    rewrite(path, **{"1.running_var": None})
    with refusal(path):
        cnnx.load(path)


def test_divergence_gives_the_running_statistics_back(rng):
    images, labels = problem(rng, NAMES[0], 40, "floats")
    network = Sequential(stack(cnnx, NAMES[0]))
    before = bits(network)
    with pytest.raises(FloatingPointError, match="the parameters are those after step 0"):
        network.fit(images, labels, epochs=2, learn_rate=1e200, batch_size=5)
    assert bits(network) == before


def test_early_stopping_gives_back_the_running_statistics_of_the_best_epoch(rng):
    images, labels = problem(rng, NAMES[0], 40, "floats")
    network, seen = Sequential(stack(cnnx, NAMES[0])), []
    best = cnnx.EarlyStopping(1, monitor="accuracy")
    network.fit(
        images,
        labels,
        epochs=5,
        learn_rate=0.0,
        batch_size=8,
        rng=1,
        validation=(images, np.full(40, 4)),
        early_stopping=best,
        progress_every=5,
        on_progress=lambda _: seen.append(running(network)),
    )
    history = network.history.validation[:, 1]
    for array, expected in zip(running(network), seen[int(history.argmax())], strict=True):
        assert_same_bits(array, expected)
    assert len(seen) > 1
    assert any(np.any(a != b) for a, b in zip(seen[0], seen[-1], strict=True))


def test_buffers_are_no_parameters():
    network = Sequential([Conv3x3(4, use_bias=False), BatchNorm(4), Softmax(9 * 12 * 4, 3)])
    assert network.parameters.size == 36 + 4 + 4 + 432 * 3 + 3
    assert list(network.layers[1].parameters()) == ["scale", "offset"]
    assert list(network.layers[1].buffers()) == ["running_mean", "running_var"]


# ----------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "channels: expected"),
        ((2.0,), TypeError, "channels: expected"),
        ((4, 1.0), ValueError, "momentum: expected"),
        ((4, -0.1), ValueError, "momentum: expected"),
        ((4, "0.9"), TypeError, "momentum: expected"),
        ((4, 0.9, 0.0), ValueError, "eps: expected"),
        ((4, 0.9, float("inf")), ValueError, "eps: expected"),
    ],
)
def test_bad_settings_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        BatchNorm(*arguments)


@pytest.mark.parametrize("layers", [[BatchNorm(1)], [Dense(11 * 14, 6), BatchNorm(5)], [Conv3x3(3), BatchNorm(4)]])
def test_layers_that_do_not_fit_are_refused_with_both_shapes(layers):
    network = Sequential([*layers, Softmax(5, 3)])
    with pytest.raises(ValueError, match=r"expected input \(height, width, \d\) or \(\d,\), got \("):
        network.predict(np.zeros((2, *IMAGE)))
