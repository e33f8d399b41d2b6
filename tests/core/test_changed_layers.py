"""Layers that are replaced, moved or shared between networks, and who then has their parameters."""

import copy

import numpy as np
import pytest
from networks import arrays_of, assert_slices, bits, small_problem
from stacks import flat_parameters
from tolerances import assert_same_bits
from twins import uniform

import cnnx
from cnnx import Conv3x3, Dense, MaxPool2, Sequential, Softmax

OPTIONS = {"epochs": 1, "learn_rate": 0.05, "shuffle": False}
ONE_S_OWN = r"^layers\[{}\] \({}\): expected a layer of this network alone, got .* \(copy\.deepcopy"


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
        """The second network moves no arrays, so layers would go on sharing memory."""
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
