"""A network has all parameters in one flat array from the start; the layers' arrays are its slices and stay there."""

import copy
import pickle
import threading

import numpy as np
import pytest
from networks import bits, small_problem, three_layers
from stacks import STACKS, flat_parameters, stack
from test_memory import Subclass, every_other, misaligned, read_only
from tolerances import assert_same_bits
from twins import parameters, uniform

import cnnx
from cnnx import Conv3x3, Dense, MaxPool2, ReLU, Sequential, Softmax

OPTIONS = {"epochs": 1, "learn_rate": 0.05, "shuffle": False}
ONE_S_OWN = r"^layers\[{}\] \({}\): expected a layer of this network alone, got .* \(copy\.deepcopy"


def arrays_of(network):
    return [values for layer in network.layers for values in parameters(layer).values()]


def assert_slices(network):
    """Assert that the layers' arrays are all of `network.parameters`, in order."""
    flat, at = network.parameters, 0
    assert flat.flags.carray
    assert flat.ndim == 1
    for values in arrays_of(network):
        assert values.ctypes.data == flat[at:].ctypes.data
        assert values.flags.c_contiguous
        assert values.dtype == flat.dtype
        at += values.size
    assert at == flat.size


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
    """Train in a thread, and call `act` all the while that it changes parameters."""
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


class TestChangedLayers:
    def test_an_appended_layer_joins_the_flat_array_at_the_next_use(self, rng):
        network = Sequential([Dense(6, 5, rng=rng)])
        network.layers.append(Softmax(5, 3, rng=rng))
        expected = flat_parameters(network.layers)
        assert_slices(network)
        assert_same_bits(network.parameters, expected)

    @pytest.mark.parametrize("use", ["fit", "predict", "evaluate", "gradients", "parameters"])
    def test_a_replaced_layer_is_taken_and_the_old_one_is_free(self, rng, use):
        network, images, labels = small_problem()
        pair = (images, labels) if use != "predict" else (images,)
        old = network.layers[0]
        network.layers[0] = new = Conv3x3(5)
        values = new.filters.copy()
        _ = (
            network.parameters
            if use == "parameters"
            else getattr(network, use)(*pair, **OPTIONS if use == "fit" else {})
        )
        assert (use == "fit") == (new.filters != values).all()
        held, new.filters = new.filters, uniform(rng, values.shape)
        assert new.filters is held
        assert_slices(network)
        old.filters = mine = uniform(rng, old.filters.shape)
        assert old.filters is mine
        assert Sequential([old]).parameters.size == mine.size

    def test_a_layer_is_free_as_soon_as_the_list_is_without_it(self):
        network, _, _ = small_problem()
        old = network.layers.pop(0)
        taken = Sequential([old])
        assert_slices(taken)
        network.layers.insert(0, old)
        with pytest.raises(ValueError, match=ONE_S_OWN.format(0, "Conv3x3")):
            _ = network.parameters
        del taken
        assert_slices(network)

    def test_layers_that_another_network_took_whole_are_not_taken_back(self):
        network, _, _ = small_problem()
        layers = network.layers[:]
        network.layers.clear()
        taken = Sequential(layers)
        network.layers.extend(layers)
        assert_slices(taken)
        with pytest.raises(ValueError, match=ONE_S_OWN.format(0, "Conv3x3")):
            _ = network.parameters

    def test_layers_in_another_order_are_other_parameters(self, rng):
        network = Sequential([Dense(4, 4, rng=rng), Dense(4, 4, rng=rng), Softmax(4, 2, rng=rng)])
        network.layers[:2] = network.layers[1::-1]
        expected = flat_parameters(network.layers)
        assert_slices(network)
        assert_same_bits(network.parameters, expected)

    def test_layers_of_two_dtypes_have_no_flat_array_until_they_agree(self):
        network = Sequential([Conv3x3(2), MaxPool2(), Softmax(12, 3, dtype=np.float32)])
        held = arrays_of(network)
        for use in (lambda: network.parameters, lambda: network.gradient):
            with pytest.raises(ValueError, match=r"^layers\[2\]: expected dtype float64.+, got float32$"):
                use()
        assert all(a is b for a, b in zip(held, arrays_of(network), strict=True))
        network.layers[2] = Softmax(12, 3)
        assert_slices(network)

    def test_what_is_no_layer_is_refused(self):
        network, _, _ = small_problem()
        network.layers[1] = "MaxPool2"
        with pytest.raises(TypeError, match=r"^layers\[1\]: expected a cnnx layer"):
            _ = network.parameters


class TestSharedLayers:
    """Two networks have a layer in common."""

    def pair(self, rng, dtype=np.float64):
        shared = Dense(56, 6, dtype=dtype, rng=rng)
        first, second = ([shared, Softmax(6, nodes, dtype=dtype, rng=rng)] for nodes in (4, 5))
        return Sequential(first), Sequential(second)

    def test_the_layer_trains_in_both(self, rng, dtype):
        _, images, labels = small_problem()
        networks = self.pair(rng, dtype)
        by_hand = copy.deepcopy(networks[0]), copy.deepcopy(networks[1])
        held = networks[0].layers[0].weights
        for own, apart in zip(networks, by_hand, strict=True):
            own.fit(images, labels, **OPTIONS)
            apart.layers[0].weights = by_hand[0].layers[0].weights
            apart.layers[0].biases = by_hand[0].layers[0].biases
            apart.fit(images, labels, **OPTIONS)
        assert networks[0].layers[0].weights is networks[1].layers[0].weights is held
        assert_same_bits(held, by_hand[1].layers[0].weights)
        assert bits(networks[1]) == bits(by_hand[1])
        assert_slices(networks[0])

    def test_the_second_network_does_all_but_list_its_parameters(self, rng, tmp_path):
        _, images, labels = small_problem()
        first, second = self.pair(rng)
        second.fit(images, labels, **OPTIONS)
        second.gradients(images, labels)
        second.apply(cnnx.Adam(0.01))
        assert second.gradient.size == 57 * 6 + 7 * 5
        second.save(tmp_path / "second")
        assert_same_bits(cnnx.load(tmp_path / "second").predict(images), second.predict(images))
        assert second.evaluate(images, labels)
        with pytest.raises(ValueError, match=ONE_S_OWN.format(0, "Dense")):
            _ = second.parameters
        assert_slices(first)

    @pytest.mark.parametrize("shared", ["filters", "biases", "half the filters"])
    def test_other_layers_of_the_second_network_have_no_array_in_common(self, rng, shared):
        """Nothing moves an array there, so nothing parts what two layers of other settings were given."""
        one = Conv3x3(4, 1, rng=rng)
        owner = Sequential([one])
        valid, same = Conv3x3(4, 4, rng=rng), Conv3x3(4, 4, padding="same", rng=rng)
        if shared == "biases":
            same.biases = valid.biases
        else:
            filters = rng.standard_normal((6, 3, 3, 4))
            valid.filters, same.filters = filters[:4], filters[2:] if shared == "half the filters" else filters[:4]
        network = Sequential([one, valid, same, Softmax(4 * 5 * 4, 3, rng=rng)])
        with pytest.raises(ValueError, match=r"^layers\[2\]: expected arrays that share no memory with another layer$"):
            network.predict(np.zeros((2, 8, 9), np.uint8))
        assert owner.layers == [one]

    def test_a_copy_of_the_layer_is_one_s_own(self, rng):
        first, second = self.pair(rng)
        second.layers[0] = copy.deepcopy(second.layers[0])
        assert_slices(second)
        assert not np.shares_memory(first.parameters, second.parameters)

    def test_a_layer_is_free_when_its_network_is_gone(self, rng):
        first, second = self.pair(rng)
        del first
        second.layers[1].weights = mine = uniform(rng, (6, 5))
        assert_slices(second)
        assert second.layers[1].weights is not mine

    def test_a_network_s_layers_stay_where_they_are_in_the_next_network(self):
        network, images, labels = small_problem()
        held, memory = arrays_of(network), network.parameters.ctypes.data
        network = Sequential(network.layers)
        network.fit(images, labels, **OPTIONS)
        assert network.parameters.ctypes.data == memory
        assert all(a is b for a, b in zip(held, arrays_of(network), strict=True))
        assert_slices(network)

    def test_an_array_assigned_between_two_networks_joins_the_second(self, rng):
        layers = small_problem()[0].layers  # the network is gone
        layers[0].filters = mine = uniform(rng, layers[0].filters.shape)
        network = Sequential(layers)
        assert_slices(network)
        assert_same_bits(network.parameters[: mine.size], mine.ravel())


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


class TestReadOnly:
    PARAMETERS = ((0, "filters"), (2, "weights"), (2, "biases"))

    @pytest.mark.parametrize(("position", "name"), PARAMETERS)
    @pytest.mark.parametrize("used_before", [False, True])
    def test_prediction_only_reads(self, dtype, position, name, used_before):
        network, images, labels = small_problem(dtype)
        twin = copy.deepcopy(network)
        if used_before:
            network.predict(images)
        getattr(network.layers[position], name).flags.writeable = False
        assert_same_bits(network.predict(images), twin.predict(images))
        assert network.evaluate(images, labels) == twin.evaluate(images, labels)
        assert network.gradients(images, labels) == twin.gradients(images, labels)

    @pytest.mark.parametrize(("position", "name"), PARAMETERS)
    @pytest.mark.parametrize("used_before", [False, True])
    def test_training_refuses_before_anything_changes(self, dtype, position, name, used_before):
        network, images, labels = small_problem(dtype)
        if used_before:
            network.fit(images, labels, **OPTIONS)
        layer = network.layers[position]
        getattr(layer, name).flags.writeable = False
        before, drawn, optimizer = bits(network), np.random.get_state()[2], cnnx.Adam(0.01)
        message = rf"^layers\[{position}\] \({layer.kind}\): {name}: expected a writable array, .* read-only$"
        with pytest.raises(ValueError, match=message):
            network.fit(images, labels, optimizer=optimizer, epochs=1)
        assert bits(network) == before
        assert (optimizer.steps, len(optimizer.states())) == (0, 1)
        assert np.random.get_state()[2] == drawn
        getattr(layer, name).flags.writeable = True
        network.fit(images, labels, optimizer=optimizer, epochs=1)

    @pytest.mark.parametrize(("position", "name"), PARAMETERS)
    def test_apply_refuses_before_anything_changes(self, dtype, position, name):
        network, images, labels = small_problem(dtype)
        network.gradients(images, labels)
        layer = network.layers[position]
        getattr(layer, name).flags.writeable = False
        before, optimizer = bits(network), cnnx.Adam(0.01)
        with pytest.raises(ValueError, match=rf"^layers\[{position}\] \({layer.kind}\): {name}: expected a writable"):
            network.apply(optimizer)
        assert bits(network) == before
        assert (optimizer.steps, len(optimizer.states())) == (0, 1)

    def test_an_array_made_read_only_stays_so_in_a_network(self):
        soft = Softmax(56, 4)
        soft.weights.flags.writeable = False
        network = Sequential([soft])
        assert not soft.weights.flags.writeable
        assert soft.biases.flags.writeable
        assert_slices(network)

    def test_nothing_is_copied_into_a_read_only_slice(self):
        network, _, _ = small_problem()
        network.layers[2].weights.flags.writeable = False
        before = bits(network)
        with pytest.raises(ValueError, match=r"^weights: expected the layer's array to be writable, got .* read-only$"):
            network.layers[2].weights = np.zeros_like(network.layers[2].weights)
        assert bits(network) == before

    @pytest.mark.parametrize(("position", "name", "shape"), [(0, "filters", (7, 8)), (2, "weights", 30)])
    def test_a_layer_s_own_forward_pass_only_reads(self, rng, dtype, position, name, shape):
        layer = small_problem(dtype)[0].layers[position]
        input = uniform(rng, shape, dtype)
        expected = layer.forward(input)
        getattr(layer, name).flags.writeable = False
        assert_same_bits(layer.forward(input), expected)

    @pytest.mark.parametrize(("position", "name"), PARAMETERS)
    def test_a_layer_s_own_backprop_refuses_as_well(self, rng, position, name):
        network, _, _ = small_problem()
        layer = network.layers[position]
        d_L_d_out = uniform(rng, layer.forward(uniform(rng, 30 if position else (7, 8))).shape)
        getattr(layer, name).flags.writeable = False
        before = bits(network)
        with pytest.raises(ValueError, match=rf"^{name}: expected"):
            layer.backprop(d_L_d_out, 0.1)
        assert bits(network) == before
