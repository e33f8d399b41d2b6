"""A layer at several positions of a network has its parameters once, and trains on the sum of its gradients.

The reference has a layer of its own at every position, all with equal parameters, and sums their gradients.
"""

import copy
import json
import pickle

import numpy as np
import pytest
from networks import as_floats, bits
from pairwise import pairwise
from reference_loop import OPTIMIZERS, mean_gradient, update_of
from saved_files import refusal, rewrite
from stacks import flat_parameters
from tolerances import assert_close, assert_is_derivative, assert_same_bits, assert_same_loss, central_difference
from twins import DTYPES, parameters, uniform

import cnnx
from cnnx import Sequential, reference

STEPS = 6
LEARN_RATE = 0.05  # times STEPS below 1: the roundings of all steps come to less than those of one whole step
TERMS = 400  # in a sum, and in the sums that it is made of


def layer_of(module, name, dtype):
    """Return a layer by its name; a name after "@" makes layers with the same text one and the same."""
    kind, *sizes = name.partition("@")[0].split(":")
    sizes = [int(size) for size in sizes]
    makers = {
        "conv": lambda: module.Conv3x3(sizes[0], sizes[1], dtype=dtype),
        "same": lambda: module.Conv3x3(sizes[0], sizes[1], padding="same", dtype=dtype),
        "dense": lambda: module.Dense(sizes[0], sizes[1], dtype=dtype),
        "softmax": lambda: module.Softmax(sizes[0], sizes[1], dtype=dtype),
        "pool": lambda: module.MaxPool2(ties="first"),
        "relu": lambda: module.ReLU(),
    }
    return makers[kind]()


# Layers for images (6, 7)
TIED = {
    "dense twice in a row": "dense:42:42@a dense:42:42@a softmax:42:5",
    "dense around a ReLU": "dense:42:9 dense:9:9@a relu dense:9:9@a softmax:9:3",
    "dense three times": "dense:42:8 dense:8:8@a dense:8:8@a relu dense:8:8@a softmax:8:4",
    "convolution of one size": "same:3:1 relu same:3:3@a relu same:3:3@a pool softmax:27:4",
    "convolution of two sizes": "same:4:1 conv:4:4@a conv:4:4@a softmax:24:5",
    "convolution around a pooling": "same:3:1 same:3:3@a pool relu same:3:3@a softmax:27:4",
    "two pairs": "dense:42:6 dense:6:6@a dense:6:6@b relu dense:6:6@a dense:6:6@b softmax:6:3",
}


def tied_and_apart(names, dtype):
    """Return a network with tied layers, the reference's layers, and of each position the first that is the same."""
    names, rng, compiled, plain = TIED[names].split(), np.random.default_rng(3), [], []
    firsts = [names.index(name) if "@" in name else position for position, name in enumerate(names)]
    for position, (name, first) in enumerate(zip(names, firsts, strict=True)):
        compiled.append(compiled[first] if first < position else layer_of(cnnx, name, dtype))
        plain.append(layer_of(reference, name, dtype))
        for parameter, values in parameters(compiled[position]).items():
            if first == position:
                inputs = values[0].size if parameter == "filters" else len(values) if parameter == "weights" else 100
                values[...] = uniform(rng, values.shape, dtype) * dtype(2 / np.sqrt(inputs))
            setattr(plain[position], parameter, values.copy())
    return Sequential(compiled), plain, firsts


def summed(flat, layers, firsts):
    """Return the flat gradient with those of a tied layer's positions added up at the first of them."""
    sums = {}
    for layer, first in zip(layers, firsts, strict=True):
        count = sum(values.size for values in parameters(layer).values())
        part, flat = flat[:count], flat[count:]
        sums[first] = sums[first] + part if first in sums else part
    return np.concatenate([sums[first] for first in sorted(sums)])


def distinct(layers, firsts):
    return [layer for position, layer in enumerate(layers) if firsts[position] == position]


def problem_of(rng, network, count):
    return rng.integers(0, 256, (count, 6, 7), np.uint8), rng.integers(0, len(network.layers[-1].biases), count)


@pairwise(names=TIED, dtype=DTYPES)
def test_it_counts_once_in_the_parameters_the_gradient_and_the_summary(names, dtype):
    network, plain, firsts = tied_and_apart(names, dtype)
    expected = flat_parameters(distinct(plain, firsts))
    assert_same_bits(network.parameters, expected)
    assert network.gradient.shape == expected.shape
    total = network.summary((6, 7)).splitlines()[-1].split()
    assert total == ["total", f"{expected.size:,}"]


@pairwise(names=TIED, dtype=DTYPES, target=cnnx.targets())
def test_it_predicts_as_layers_with_equal_parameters(rng, names, dtype):
    network, plain, _ = tied_and_apart(names, dtype)
    images, _ = problem_of(rng, network, 5)
    outs = as_floats(images, dtype)
    expected = []
    for out in outs:
        for layer in plain:
            out = layer.forward(out)
        expected.append(out)
    assert_close(network.predict(images), np.array(expected), TERMS)


@pairwise(names=TIED, count=[1, 4, 9], dtype=DTYPES, target=cnnx.targets())
def test_its_gradient_is_the_sum_over_its_positions(rng, names, count, dtype):
    network, plain, firsts = tied_and_apart(names, dtype)
    images, labels = problem_of(rng, network, count)
    flat, losses, _ = mean_gradient(plain, as_floats(images, dtype), labels)
    loss, _ = network.gradients(images, labels)
    assert_close(network.gradient, summed(flat, plain, firsts), TERMS)
    assert_same_loss(loss, losses.mean(), dtype)


@pytest.mark.parametrize("names", TIED)
def test_its_gradient_is_the_derivative_of_the_loss(rng, names):
    network, _, _ = tied_and_apart(names, np.float64)
    images, labels = problem_of(rng, network, 1)
    values = network.parameters
    some = rng.permutation(values.size)[:30]  # few, so that no step crosses a ReLU's or a maximum's edge
    chosen = values[some].copy()

    def loss():
        values[some] = chosen
        return network.evaluate(images, labels)[0]

    numeric = central_difference(loss, chosen)
    values[some] = chosen
    network.gradients(images, labels)
    assert np.abs(numeric).max() > 1e-3
    assert_is_derivative(network.gradient[some], numeric, terms=1000)


@pairwise(names=TIED, optimizer=OPTIMIZERS, batch_size=[1, 4], dtype=DTYPES, target=cnnx.targets())
def test_fit_follows_the_sum(rng, names, optimizer, batch_size, dtype):
    network, plain, firsts = tied_and_apart(names, dtype)
    images, labels = problem_of(rng, network, STEPS * batch_size - batch_size // 2)
    kind, settings = OPTIMIZERS[optimizer]
    update = update_of(kind, settings, np.full(STEPS, LEARN_RATE))
    before, losses = bits(network), []
    for step, start in enumerate(range(0, len(images), batch_size), start=1):
        batch = slice(start, start + batch_size)
        flat, batch_losses, _ = mean_gradient(plain, as_floats(images[batch], dtype), labels[batch])
        losses.append(batch_losses)
        values = flat_parameters(distinct(plain, firsts))
        update(values, summed(flat, plain, firsts), step)
        for layer in distinct(plain, firsts):
            for array in parameters(layer).values():
                array.flat, values = values[: array.size], values[array.size :]
        for layer, first in zip(plain, firsts, strict=True):
            for name, array in parameters(layer).items():
                array[...] = getattr(plain[first], name)
    history = network.fit(
        images, labels, epochs=1, batch_size=batch_size, optimizer=kind(LEARN_RATE, **settings), shuffle=False
    )
    assert bits(network) != before
    assert_close(history.losses.astype(dtype), np.concatenate(losses).astype(dtype), TERMS)
    assert_close(network.parameters, flat_parameters(distinct(plain, firsts)), TERMS)


@pairwise(names=TIED, dtype=DTYPES)
def test_gradients_and_apply_are_fit_to_the_bit(rng, names, dtype):
    whole, by_hand = (tied_and_apart(names, dtype)[0] for _ in range(2))
    images, labels = problem_of(rng, whole, 10)
    whole.fit(images, labels, epochs=1, batch_size=4, optimizer=cnnx.Adam(0.01), shuffle=False)
    optimizer = cnnx.Adam(0.01)
    for start in range(0, 10, 4):
        by_hand.gradients(images[start : start + 4], labels[start : start + 4])
        by_hand.apply(optimizer)
    assert bits(by_hand) == bits(whole)


@pairwise(names=TIED, threads=[2, 5], dtype=DTYPES)
def test_the_number_of_threads_changes_no_bit(rng, names, threads, dtype):
    networks = [tied_and_apart(names, dtype)[0] for _ in range(2)]
    images, labels = problem_of(rng, networks[0], 40)
    for network, used in zip(networks, (1, threads), strict=True):
        network.fit(images, labels, epochs=1, batch_size=16, learn_rate=0.05, threads=used, shuffle=False)
    assert bits(networks[0]) == bits(networks[1])


def tied():
    return tied_and_apart("dense around a ReLU", np.float64)[0]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_is_tied_as_well(rng, duplicate):
    network = tied()
    twin = duplicate(network)
    assert twin.layers[1] is twin.layers[3]
    assert twin.layers[1] is not network.layers[1]
    assert twin.parameters.size == network.parameters.size
    twin.layers[1].weights = mine = uniform(rng, (9, 9))
    assert_same_bits(twin.layers[3].weights, mine)


def test_an_assigned_array_is_seen_at_every_position(rng):
    network = tied()
    images, _ = problem_of(rng, network, 3)
    network.predict(images)
    network.layers[1].weights = mine = uniform(rng, (9, 9))
    assert network.layers[3].weights is network.layers[1].weights
    apart = [copy.deepcopy(layer) for layer in network.layers]
    assert_same_bits(apart[3].weights, mine)
    assert_same_bits(network.predict(images), Sequential(apart).predict(images))


def test_a_layer_put_at_a_second_position_later_is_tied_from_then_on():
    network = tied()
    network.layers[3] = copy.deepcopy(network.layers[3])
    assert network.parameters.size == 43 * 9 + 2 * 10 * 9 + 10 * 3
    network.layers[3] = network.layers[1]
    assert network.parameters.size == network.gradient.size == 43 * 9 + 10 * 9 + 10 * 3


def test_a_tied_layer_made_read_only_is_refused_at_its_first_position(rng):
    network = tied()
    network.layers[3].weights.flags.writeable = False
    with pytest.raises(ValueError, match=r"^layers\[1\] \(Dense\): weights: expected a writable array"):
        network.fit(*problem_of(rng, network, 3), epochs=1, learn_rate=0.1)


def test_a_saved_network_is_tied_as_well(rng, tmp_path):
    network = tied()
    images, labels = problem_of(rng, network, 6)
    network.save(tmp_path / "tied")
    loaded = cnnx.load(tmp_path / "tied")
    assert [loaded.layers.index(layer) for layer in loaded.layers] == [0, 1, 2, 1, 4]
    assert bits(loaded) == bits(network)
    for each in (network, loaded):
        each.fit(images, labels, epochs=2, batch_size=2, learn_rate=0.05, shuffle=False)
    assert bits(loaded) == bits(network)


def test_a_file_of_a_version_without_ties_stays_readable(rng, tmp_path):
    network = tied()
    images, _ = problem_of(rng, network, 3)
    apart = Sequential([copy.deepcopy(layer) for layer in network.layers])
    apart.save(tmp_path / "apart")
    with np.load(tmp_path / "apart") as file:
        assert json.loads(str(file["network"]))["version"] == 1
    assert_same_bits(cnnx.load(tmp_path / "apart").predict(images), network.predict(images))


@pytest.mark.parametrize("same_as", [3, 4, 99, -1, "1", None, 1.0, [1]], ids=repr)
def test_a_file_that_ties_a_layer_to_no_layer_before_it_is_refused(tmp_path, same_as):
    path = tmp_path / "tied"
    tied().save(path)

    def tie(description):
        description["layers"][3]["same_as"] = same_as

    rewrite(path, tie)
    with refusal(path):
        cnnx.load(path)
