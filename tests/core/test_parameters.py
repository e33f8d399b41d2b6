"""A network has all parameters in one flat array from the start; the layers' arrays are its slices and stay there."""

import copy
import pickle
import threading

import numpy as np
import pytest
from layouts import Subclass, every_other, misaligned, read_only
from networks import arrays_of, assert_slices, bits, small_problem, three_layers
from stacks import STACKS, flat_parameters, stack
from tolerances import assert_same_bits
from twins import parameters, uniform

import cnnx
from cnnx import MaxPool2, ReLU, Sequential, Softmax

OPTIONS = {"epochs": 1, "learn_rate": 0.05, "shuffle": False}


@pytest.mark.parametrize("names", STACKS)
def test_the_arrays_of_a_new_network_are_slices_with_the_layers_values(dtype, names):
    layers = stack(cnnx, names, dtype)
    expected = flat_parameters(layers)
    network = Sequential(layers)
    assert_slices(network)
    assert_same_bits(network.parameters, expected)
    assert network.parameters.ctypes.data % 64 == 0


def test_a_network_without_parameters_has_none():
    assert Sequential([]).parameters.shape == (0,)
    assert Sequential([MaxPool2(), ReLU()]).parameters.dtype == np.float64


@pytest.mark.smoke
def test_no_use_moves_an_array(dtype):
    network, images, labels = small_problem(dtype)
    held = [network.parameters, *arrays_of(network)]
    network.fit(images, labels, optimizer=cnnx.Adam(0.01), epochs=1)
    network.gradients(images, labels)
    network.apply(cnnx.SGD(0.1))
    network.predict(images[:, :, ::-1])
    network.layers[1] = MaxPool2(ties="first")
    network.evaluate(images, labels)
    assert all(a is b for a, b in zip(held, [network.parameters, *arrays_of(network)], strict=True))


def long_problem(rng):
    return rng.integers(0, 256, (20_000, 7, 8), np.uint8), rng.integers(0, 4, 20_000)


def fit_beside(network, images, labels, act):
    """Train in a thread, and call `act` again and again while the training changes parameters."""
    failures, before = [], bits(network)

    def run():
        try:
            network.fit(images, labels, **OPTIONS)
        except Exception as error:  # the test's own thread must see it
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive() and bits(network) == before:
        pass
    act()
    while thread.is_alive():
        act()
    thread.join()
    assert not failures


def test_reading_the_parameters_loses_no_training_in_another_thread(rng):
    images, labels = long_problem(rng)
    network, twin = (Sequential(three_layers(cnnx, (7, 8, 5, 4))) for _ in range(2))
    twin.fit(images, labels, **OPTIONS)
    fit_beside(network, images, labels, lambda: network.parameters)
    assert bits(network) == bits(twin)


def test_taking_over_a_layer_loses_no_training_in_another_thread(rng):
    images, labels = long_problem(rng)
    (conv, pool, soft), twin = three_layers(cnnx, (7, 8, 5, 4)), Sequential(three_layers(cnnx, (7, 8, 5, 4)))
    owners = [Sequential([conv]), Sequential([soft])]
    network = Sequential([conv, pool, soft])
    twin.fit(images, labels, **OPTIONS)

    def act():
        owners.clear()
        assert network.parameters.size

    fit_beside(network, images, labels, act)
    assert_slices(network)
    assert bits(network) == bits(twin)


class TestAssignment:
    def test_an_array_assigned_in_a_network_is_copied_into_its_slice(self, rng, dtype):
        network, images, _ = small_problem(dtype)
        flat = network.parameters
        for layer in network.layers:
            for name, held in parameters(layer).items():
                mine = uniform(rng, held.shape, dtype)
                setattr(layer, name, mine)
                assert getattr(layer, name) is held
                assert_same_bits(held, mine)
                mine[...] = 0
                assert (held != 0).any()
        assert network.parameters is flat
        assert_slices(network)
        assert_same_bits(network.predict(images), Sequential(copy.deepcopy(network.layers)).predict(images))

    @pytest.mark.parametrize("layout", [np.asfortranarray, every_other, misaligned, read_only, np.copy])
    def test_what_is_only_read_may_have_any_layout(self, rng, dtype, layout):
        network, _, _ = small_problem(dtype)
        for layer in network.layers:
            for name, held in parameters(layer).items():
                values = uniform(rng, held.shape, dtype)
                setattr(layer, name, layout(values))
                assert_same_bits(held, values)

    def test_a_memory_mapped_array_is_copied_too(self, tmp_path, rng):
        network, _, _ = small_problem()
        values = uniform(rng, network.layers[2].weights.shape)
        np.save(tmp_path / "weights.npy", values)
        network.layers[2].weights = np.asarray(np.load(tmp_path / "weights.npy", mmap_mode="r"))
        assert_same_bits(network.layers[2].weights, values)

    def test_an_array_may_share_memory_with_its_slice(self, dtype):
        network, _, _ = small_problem(dtype)
        weights = network.layers[2].weights
        expected = weights[::-1].copy()
        network.layers[2].weights = weights[::-1]
        assert_same_bits(weights, expected)

    def test_an_operator_in_place_is_one(self, dtype):
        network, _, _ = small_problem(dtype)
        expected = 3 * network.parameters
        network.layers[0].filters *= 3
        network.layers[2].weights *= 3
        network.layers[2].biases *= 3
        assert_same_bits(network.parameters, expected)

    def test_what_does_not_fit_is_refused_and_changes_nothing(self, dtype):
        network, _, _ = small_problem(dtype)
        network.layers[0].filters[...] = 1
        before, good = bits(network), network.layers[2].weights.copy()
        other = np.float32 if dtype is np.float64 else np.float64
        wrong_type = (None, 1.0, good.tolist(), np.ma.array(good), good.view(Subclass), good.astype(other))
        for bad in (*wrong_type, good.astype(complex), good.astype(int)):
            with pytest.raises(TypeError, match=r"^weights: expected .*, got"):
                network.layers[2].weights = bad
        for bad in (good[1:], good.T, good.ravel(), good[np.newaxis], np.array(1, dtype)):
            with pytest.raises(ValueError, match=r"^weights: expected shape .*, got"):
                network.layers[2].weights = bad
        with pytest.raises(ValueError, match=r"^biases: expected none"):
            network.layers[0].biases = np.zeros(5, dtype)
        assert bits(network) == before

    def test_a_slice_cannot_be_resized(self):
        network, _, _ = small_problem()
        before = bits(network)
        for array in arrays_of(network):
            with pytest.raises(ValueError, match="does not own its data"):
                array.resize((1,), refcheck=False)
        assert bits(network) == before

    def test_a_free_layer_keeps_an_assigned_array_until_a_network_takes_it(self, rng):
        soft = Softmax(56, 4)
        soft.weights = mine = uniform(rng, (56, 4))
        assert soft.weights is mine
        network = Sequential([soft])
        assert soft.weights is not mine
        assert_same_bits(network.parameters[:224], mine.ravel())


COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "old pickle": lambda value: pickle.loads(pickle.dumps(value, protocol=0)),
}


@pytest.mark.parametrize("kind", COPIES)
class TestCopies:
    def test_a_copied_network_has_layers_and_parameters_of_its_own(self, rng, dtype, kind):
        network, images, labels = small_problem(dtype)
        network.fit(images, labels, **OPTIONS)
        twin = COPIES[kind](network)
        assert bits(twin) == bits(network)
        assert_slices(twin)
        assert not np.shares_memory(twin.parameters, network.parameters)
        before = bits(network)
        twin.fit(images, labels, **OPTIONS)
        twin.layers[0].filters = uniform(rng, twin.layers[0].filters.shape, dtype)
        assert bits(network) == before
        assert_slices(network)

    def test_a_copied_layer_is_free(self, rng, dtype, kind):
        network, _, _ = small_problem(dtype)
        before = bits(network)
        for layer in network.layers:
            twin = COPIES[kind](layer)
            assert type(twin) is type(layer)
            for name, values in parameters(layer).items():
                assert_same_bits(getattr(twin, name), values)
                assert not np.shares_memory(getattr(twin, name), values)
                mine = uniform(rng, values.shape, dtype)
                setattr(twin, name, mine)
                assert getattr(twin, name) is mine
            assert_slices(Sequential([twin]))
        assert bits(network) == before
