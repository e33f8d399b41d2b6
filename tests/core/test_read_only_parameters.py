"""A parameter that was made read-only is read, and nothing that would write into it changes anything."""

import copy

import numpy as np
import pytest
from networks import assert_slices, bits, small_problem
from tolerances import assert_same_bits
from twins import uniform

import cnnx
from cnnx import Sequential, Softmax

OPTIONS = {"epochs": 1, "learn_rate": 0.05, "shuffle": False}


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
