"""For loops of one's own: `gradients` fills a flat array, `apply` steps along it, and `parameters` are flat too."""

import copy

import numpy as np
import pytest
from networks import IMAGES, as_floats, assert_gradient_is_derivative, bits
from pairwise import pairwise
from reference_loop import TERMS, mean_gradient
from stacks import IMAGE, STACKS, flat_parameters, problem, stack
from tolerances import assert_close, assert_same_bits, assert_same_loss
from twins import DTYPES, parameters, uniform

import cnnx
from cnnx import Sequential, reference

DEEP = STACKS[0]
DEEP_WITH_DROPOUT = "same:3 relu pool dropout:0.25 conv:4 pool relu dense:6 relu dropout:0.5 softmax:5"


@pairwise(names=STACKS, dtype=DTYPES, target=cnnx.targets())
def test_gradients_are_the_reference_s_mean(rng, names, dtype):
    images, labels = problem(rng, names, 11)
    network = Sequential(stack(cnnx, names, dtype))
    before = bits(network)
    loss, accuracy = network.gradients(images, labels)
    expected, losses, correct = mean_gradient(stack(reference, names, dtype), as_floats(images, dtype), labels)
    assert_close(network.gradient, expected, TERMS)
    assert_same_loss(loss, losses.mean(), dtype)
    assert accuracy == correct.mean()
    assert bits(network) == before


@pytest.mark.parametrize("names", [STACKS[0], STACKS[2], STACKS[3], "biased:3 pool:first softmax:5", DEEP_WITH_DROPOUT])
def test_gradients_are_the_derivative_of_the_loss_dropout_included(rng, names):
    images, labels = rng.uniform(-1, 1, (3, *IMAGE)), rng.integers(0, 3, 3)
    network = Sequential(stack(cnnx, names))
    some = rng.permutation(network.parameters.size)[:60]
    assert_gradient_is_derivative(network, images, labels, some)


@pairwise(threads=[2, 3, 4, 7, None], count=[1, 5, 8, 37], dtype=DTYPES)
def test_the_number_of_threads_changes_no_bit_of_a_gradient(rng, threads, count, dtype):
    images, labels = problem(rng, DEEP_WITH_DROPOUT, count)
    network = Sequential(stack(cnnx, DEEP_WITH_DROPOUT, dtype))
    seen = []
    for used in (1, threads):
        np.random.seed(6)
        seen.append((network.gradients(images, labels, threads=used), network.gradient.copy()))
    assert seen[0][0] == seen[1][0]
    assert_same_bits(seen[0][1], seen[1][1])


def test_the_gradient_is_one_array_in_the_order_of_the_layers_arrays(dtype, rng):
    network = Sequential(stack(cnnx, DEEP, dtype))
    images, labels = problem(rng, DEEP, 11)
    gradient = network.gradient
    network.gradients(images, labels)
    assert network.gradient is gradient
    assert gradient.dtype == dtype
    assert gradient.shape == (sum(values.size for layer in network.layers for values in parameters(layer).values()),)
    assert gradient.flags.carray


def test_what_is_written_into_the_parameters_stands_in_the_layers(dtype):
    network = Sequential(stack(cnnx, DEEP_WITH_DROPOUT, dtype))
    expected = flat_parameters(network.layers)
    flat = network.parameters
    assert_same_bits(flat, expected)
    flat[...] = np.arange(flat.size)
    assert_same_bits(flat_parameters(network.layers), flat)


OPTIMIZERS = {
    "plain": lambda: cnnx.SGD(0.1),
    "momentum": lambda: cnnx.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda: cnnx.Adam(1e-3, weight_decay=0.1),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_and_apply_are_fit_to_the_bit(dtype, rng, name, threads):
    images, labels = problem(rng, DEEP, count=21)
    whole, by_hand = (Sequential(stack(cnnx, DEEP, dtype)) for _ in range(2))
    history = whole.fit(images, labels, epochs=1, batch_size=5, optimizer=OPTIMIZERS[name](), shuffle=False)
    optimizer, losses = OPTIMIZERS[name](), []
    for start in range(0, 21, 5):
        loss, _ = by_hand.gradients(images[start : start + 5], labels[start : start + 5], threads=threads)
        losses.append(loss)
        by_hand.apply(optimizer)
    assert optimizer.steps == 5
    assert bits(by_hand) == bits(whole)
    np.testing.assert_allclose(losses, [history.losses[start : start + 5].mean() for start in range(0, 21, 5)])


def test_a_changed_gradient_is_what_apply_follows(dtype, rng):
    network = Sequential(stack(cnnx, DEEP, dtype))
    images, labels = problem(rng, DEEP, 11)
    network.gradients(images, labels)
    network.gradient[...] = mine = uniform(rng, network.gradient.shape, dtype)
    before = network.parameters.copy()
    network.apply(cnnx.SGD(0.25))
    assert_close(network.parameters, before - dtype(0.25) * mine, terms=1)
    assert_same_bits(network.gradient, mine)


def assign_an_array(network):
    network.layers[0].filters = 2 * network.layers[0].filters


def replace_a_layer(network):
    network.layers[0] = copy.deepcopy(network.layers[0])


@pytest.mark.parametrize("change", [assign_an_array, replace_a_layer], ids=lambda change: change.__name__)
def test_apply_reaches_what_was_assigned_or_replaced_since(rng, change):
    network = Sequential(stack(cnnx, DEEP))
    images, labels = problem(rng, DEEP, 11)
    network.gradients(images, labels)
    change(network)
    before = flat_parameters(network.layers)
    network.apply(cnnx.SGD(0.25))
    assert_close(flat_parameters(network.layers), before - 0.25 * network.gradient, terms=1)


def test_halves_of_a_batch_average_to_the_whole_s_gradient(rng):
    """As several machines would, each on its share."""
    images, labels = problem(rng, DEEP, count=16)
    whole, first, second = (Sequential(stack(cnnx, DEEP)) for _ in range(3))
    whole.gradients(images, labels)
    first.gradients(images[:8], labels[:8])
    second.gradients(images[8:], labels[8:])
    assert_close((first.gradient + second.gradient) / 2, whole.gradient, TERMS)


@pytest.mark.usefixtures("target")
def test_shards_are_added_as_a_balanced_tree_so_that_halves_agree_to_the_bit(dtype, rng):
    names = "same:6 relu pool:first conv:9 average softmax:5"  # enough arithmetic for many shards
    images, labels = problem(rng, names, count=16)
    gradients = []
    for some in (slice(16), slice(8), slice(8, 16), slice(4), slice(4, 8)):
        network = Sequential(stack(cnnx, names, dtype))
        network.gradients(images[some], labels[some])
        gradients.append(network.gradient)
    whole, first, second, first_of_first, second_of_first = gradients
    assert_same_bits((first + second) / dtype(2), whole)
    assert_same_bits((first_of_first + second_of_first) / dtype(2), first)


def test_apply_before_gradients_is_refused():
    with pytest.raises(RuntimeError, match=r"^apply: expected gradients"):
        Sequential(stack(cnnx, DEEP)).apply(cnnx.SGD(0.1))


@pytest.mark.parametrize("optimizer", [None, 0.1, "adam", cnnx.SGD], ids=repr)
def test_apply_takes_an_optimizer(rng, optimizer):
    network = Sequential(stack(cnnx, DEEP))
    network.gradients(*problem(rng, DEEP, 11))
    before = bits(network)
    with pytest.raises(TypeError, match=r"^optimizer: expected"):
        network.apply(optimizer)
    assert bits(network) == before


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_an_optimizer_of_another_network_is_refused(rng, name):
    optimizer = OPTIMIZERS[name]()
    for names in (DEEP, STACKS[1]):
        network = Sequential(stack(cnnx, names))
        network.gradients(*problem(rng, names, 11))
        if names is DEEP:
            network.apply(optimizer)
            continue
        before = bits(network)
        with pytest.raises(ValueError, match=r"^optimizer: expected a new one"):
            network.apply(optimizer)
        assert bits(network) == before


@pytest.mark.parametrize("optimizer", [None, cnnx.Adam])
def test_gradients_between_two_windows_change_no_bit_of_training(dtype, rng, optimizer):
    """For example to watch their size."""
    images, labels = IMAGES["few pixels"](rng, (24, *IMAGE)), rng.integers(0, 3, 24)
    networks = [Sequential(stack(cnnx, "article:5 pool softmax:3", dtype)) for _ in range(2)]
    for network, watches in zip(networks, (False, True), strict=True):
        network.fit(
            images,
            labels,
            epochs=2,
            **({"learn_rate": 0.05} if optimizer is None else {"optimizer": optimizer(0.01)}),
            shuffle=False,
            progress_every=5,
            on_progress=lambda _, to=network if watches else None: to and to.gradients(images, labels) and None,
        )
    assert bits(networks[0]) == bits(networks[1])
