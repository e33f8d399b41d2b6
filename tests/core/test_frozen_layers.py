"""A layer with `trainable = False` passes its gradient on, and training leaves its parameters and their past alone."""

import copy
import pickle
import re

import numpy as np
import pytest
from cases import CASES, LEARNING, every_case
from networks import Plain, as_floats, bits, small_problem
from pairwise import pairwise
from reference_loop import OPTIMIZERS, TERMS, train, update_of
from stacks import STACKS, problem, stack
from tolerances import assert_close, assert_same_bits
from twins import DTYPES, parameters, uniform

import cnnx
from cnnx import Conv3x3, Dense, MaxPool2, ReLU, Sequential, Softmax, reference

COUNT = 6
LEARN_RATE = 0.05  # times COUNT below 1: the roundings of all steps come to less than those of one whole step
WHICH = {"the first": slice(0, 1), "the last": slice(-1, None), "all but the last": slice(0, -1)}


def learning(layers):
    return [layer for layer in layers if parameters(layer)]


def freeze(layers, which):
    """Freeze some of the layers that learn; return whether each number of all parameters is frozen."""
    learn = learning(layers)
    frozen = range(len(learn))[WHICH[which]]
    sizes = [sum(values.size for values in parameters(layer).values()) for layer in learn]
    for position in frozen:
        learn[position].trainable = False
    return np.concatenate([np.full(size, i in frozen) for i, size in enumerate(sizes)])


STACKS_OF_SEVERAL = [names for names in STACKS if len(learning(stack(cnnx, names))) > 1]


@pairwise(
    names=STACKS_OF_SEVERAL,
    which=WHICH,
    optimizer=OPTIMIZERS,
    batch_size=[1, 4],
    kind=[Sequential, Plain],
    dtype=DTYPES,
    target=cnnx.targets(),
)
def test_training_is_the_reference_s_with_frozen_numbers_left_out(
    rng, names, which, optimizer, batch_size, kind, dtype
):
    images, labels = problem(rng, names, COUNT)
    network, plain = kind(stack(cnnx, names, dtype)), stack(reference, names, dtype)
    frozen = freeze(network.layers, which)
    freeze(plain, which)
    before = network.parameters.copy()
    method, settings = OPTIMIZERS[optimizer]
    step_on = update_of(method, settings, np.full(COUNT, LEARN_RATE))

    def update(values, gradient, step):
        kept = values[frozen]
        step_on(values, gradient, step)
        values[frozen] = kept

    losses, _ = train(plain, as_floats(images, dtype), labels, batch_size, update)
    used = method(LEARN_RATE, **settings)
    history = network.fit(images, labels, epochs=1, batch_size=batch_size, optimizer=used, shuffle=False)
    assert_close(history.losses.astype(dtype), losses.astype(dtype), TERMS)
    assert_same_bits(network.parameters[frozen], before[frozen])
    expected = np.concatenate([values.ravel() for layer in plain for values in parameters(layer).values()])
    assert_close(network.parameters, expected, TERMS)
    assert np.abs(network.parameters - before)[~frozen].max() > 3e-4
    for state in used.states()[1:]:
        assert not state[frozen].any()
        assert state[~frozen].any()


# A frozen BatchNorm uses other statistics, so the others' gradients change.
@pairwise(names=[names for names in STACKS_OF_SEVERAL if "norm" not in names], which=WHICH, count=[1, 7], dtype=DTYPES)
def test_a_frozen_layer_has_the_gradient_zero_and_the_others_keep_theirs(rng, names, which, count, dtype):
    images, labels = problem(rng, names, count)
    network, free = (Sequential(stack(cnnx, names, dtype)) for _ in range(2))
    frozen = freeze(network.layers, which)
    network.gradient[...] = 7
    for each in (network, free):
        each.gradients(images, labels)
    assert not network.gradient[frozen].any()
    assert_close(network.gradient[~frozen], free.gradient[~frozen], TERMS)


def test_apply_leaves_a_frozen_layer_alone_whatever_the_gradient_is(dtype):
    network, images, labels = small_problem(dtype)
    network.layers[0].trainable = False
    network.gradients(images, labels)
    network.gradient[...] = 3
    before, filters = network.parameters.copy(), network.layers[0].filters.size
    adam = cnnx.Adam(0.1, weight_decay=0.5)
    network.apply(adam)
    assert_same_bits(network.parameters[:filters], before[:filters])
    assert (network.parameters[filters:] != before[filters:]).all()
    assert not adam.first_moment[:filters].any()


@pytest.mark.parametrize("kind", ["momentum", "adam"])
def test_its_past_stays_until_it_is_trained_again(kind):
    network, images, labels = small_problem()
    method, settings = OPTIMIZERS[kind]
    optimizer, options = method(0.05, **settings), {"epochs": 1, "batch_size": 4, "shuffle": False}
    network.fit(images, labels, optimizer=optimizer, **options)
    conv, filters = network.layers[0], network.layers[0].filters.size
    conv.trainable = False
    kept = [conv.filters.copy(), *(state[:filters].copy() for state in optimizer.states()[1:])]
    network.fit(images, labels, optimizer=optimizer, **options)
    now = [conv.filters, *(state[:filters] for state in optimizer.states()[1:])]
    for before, after in zip(kept, now, strict=True):
        assert_same_bits(after, before)
        assert after.any()
    conv.trainable = True
    network.fit(images, labels, optimizer=optimizer, **options)
    assert (conv.filters != kept[0]).any()


def test_on_progress_may_freeze_and_thaw():
    network, images, labels = small_problem()
    conv, seen = network.layers[0], []

    def watch(progress):
        seen.append(conv.filters.copy())
        conv.trainable = progress.epoch != 2

    network.fit(images, labels, epochs=4, learn_rate=0.05, on_progress=watch)
    first, second, third, last = seen
    assert (second != first).any()
    assert_same_bits(third, second)
    assert (last != third).any()


def test_windows_change_no_bit():
    networks = [small_problem()[0] for _ in range(2)]
    _, images, labels = small_problem()
    for network, window in zip(networks, (100, 5), strict=True):
        network.layers[0].trainable = False
        network.fit(images, labels, epochs=2, learn_rate=0.05, shuffle=False, progress_every=window)
    assert bits(networks[0]) == bits(networks[1])


@pairwise(names=STACKS_OF_SEVERAL, which=WHICH, threads=[2, 3])
def test_the_number_of_threads_changes_no_bit(rng, names, which, threads):
    images, labels = problem(rng, names, 40)
    networks = [Sequential(stack(cnnx, names)) for _ in range(2)]
    for network, used in zip(networks, (1, threads), strict=True):
        freeze(network.layers, which)
        network.fit(images, labels, epochs=1, batch_size=16, learn_rate=0.05, threads=used, shuffle=False)
    assert bits(networks[0]) == bits(networks[1])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_network_that_is_all_frozen_stays(batch_size):
    network, images, labels = small_problem()
    for layer in network.layers:
        layer.trainable = False
    before = bits(network)
    history = network.fit(images, labels, epochs=2, batch_size=batch_size, learn_rate=0.1, shuffle=False)
    assert bits(network) == before
    assert_same_bits(history.losses[: len(images)], history.losses[len(images) :])


def test_a_tied_layer_is_frozen_at_all_its_positions():
    tied = Dense(9, 9, rng=0)
    network = Sequential([Dense(56, 9, rng=0), tied, ReLU(), tied, Softmax(9, 4, rng=0)])
    _, images, labels = small_problem()
    tied.trainable = False
    before = tied.weights.copy()
    history = network.fit(images, labels, epochs=2, learn_rate=0.1)
    assert_same_bits(tied.weights, before)
    assert history.losses[-5:].mean() != history.losses[:5].mean()


@every_case(LEARNING)
def test_by_hand_it_returns_the_gradient_and_changes_nothing(case, dtype, rng):
    layer, _ = case.twins(dtype, rng)
    free = copy.deepcopy(layer)
    layer.trainable = False
    before = {name: values.copy() for name, values in parameters(layer).items()}
    input, d_L_d_out = uniform(rng, case.input_shape, dtype), uniform(rng, case.output_shape, dtype)
    assert_same_bits(layer.forward(input), free.forward(input))
    numbers, shape = case.sizes[0]
    d_L_d_input = layer.backprop(d_L_d_out, 0.5)
    assert_close(d_L_d_input, free.backprop(d_L_d_out, 0.5), case.terms(numbers, shape)[1] + 1)
    for name, values in before.items():
        assert_same_bits(parameters(layer)[name], values)
    with pytest.raises(ValueError, match=r"^learn_rate: expected"):
        layer.backprop(d_L_d_out, -1.0)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_its_arrays_may_be_read_only(batch_size):
    network, images, labels = small_problem()
    conv, soft = network.layers[0], network.layers[2]
    conv.trainable = False
    conv.filters.flags.writeable = False
    network.fit(images, labels, epochs=1, batch_size=batch_size, learn_rate=0.05)
    soft.weights[0, 0] = np.nan
    with pytest.raises(FloatingPointError, match="try a smaller learn rate"):
        network.fit(images, labels, epochs=5, batch_size=batch_size, learn_rate=0.05)
    soft.weights[0, 0] = 0
    stopping = cnnx.EarlyStopping(1)
    network.fit(images, labels, epochs=5, learn_rate=0.5, validation=(images, labels), early_stopping=stopping)
    conv.forward(np.ones((7, 8)))
    conv.backprop(np.ones((5, 6, 5)), 0.1)
    network.gradients(images, labels)
    network.apply(cnnx.Adam(0.1))
    assert np.isfinite(soft.weights).all()
    conv.trainable = True
    with pytest.raises(ValueError, match=r"^layers\[0\] \(Conv3x3\): filters: expected a writable array"):
        network.fit(images, labels, epochs=1, learn_rate=0.05)


DUPLICATES = {
    "deepcopy": lambda network, _: copy.deepcopy(network),
    "copy": lambda network, _: copy.copy(network),
    "pickle": lambda network, _: pickle.loads(pickle.dumps(network)),
    "file": lambda network, path: (network.save(path), cnnx.load(path))[1],
}


@pytest.mark.parametrize("kind", DUPLICATES)
def test_copies_and_files_keep_it(tmp_path, kind):
    network, images, labels = small_problem()
    network.layers[0].trainable = False
    twin = DUPLICATES[kind](network, tmp_path / "network")
    assert [layer.trainable for layer in twin.layers] == [False, True, True]
    before = twin.layers[0].filters.copy()
    twin.fit(images, labels, epochs=1, learn_rate=0.05)
    assert_same_bits(twin.layers[0].filters, before)


@pytest.mark.parametrize("bad", [0, 1, None, "no"], ids=repr)
@pytest.mark.parametrize("kind", CASES)
def test_it_is_true_or_false(kind, bad):
    layer = CASES[kind].make(cnnx)
    assert layer.trainable is True
    with pytest.raises(TypeError, match=rf"^trainable: expected True or False, got {re.escape(repr(bad))}$"):
        layer.trainable = bad
    assert layer.trainable is True


def test_a_description_tells_what_is_frozen():
    network = Sequential([Conv3x3(2), MaxPool2(), Softmax(13 * 13 * 2, 3)])
    network.layers[0].trainable = network.layers[1].trainable = False
    assert network.summary().splitlines()[1:] == [
        "Conv3x3           (26, 26, 2)                18  frozen",
        "MaxPool2          (13, 13, 2)                 0",
        "Softmax           (3,)                    1,017",
        "total                                     1,035",
        "trainable                                 1,017",
        "frozen                                       18",
    ]
    assert repr(network).splitlines() == [
        "Sequential([  # for images of (28, 28): 1,035 parameters, 18 of them frozen",
        "    Conv3x3(2),       # (26, 26, 2), 18, frozen",
        "    MaxPool2(),       # (13, 13, 2)",
        "    Softmax(338, 3),  # (3,), 1,017",
        "])",
    ]
    assert "<td>18 (frozen)</td>" in network._repr_html_()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_average_leaves_a_frozen_layer_alone(batch_size):
    network, images, labels = small_problem()
    conv = network.layers[0]
    conv.filters.flat[0] = -0.0
    conv.trainable = False
    conv.filters.flags.writeable = False
    before = network.parameters.copy()
    options = {"epochs": 2, "batch_size": batch_size, "learn_rate": 0.05, "average": 0.9}
    network.fit(images, labels, validation=(images, labels), **options)
    assert_same_bits(network.parameters[: conv.filters.size], before[: conv.filters.size])
    assert (network.parameters != before).mean() > 0.5
