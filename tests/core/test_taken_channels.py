"""A Conv3x3 without `in_channels` takes them from the layer before it when a network places it there."""

import copy
import pickle

import numpy as np
import pytest
from networks import arrays_of, assert_slices, bits, sample
from tolerances import assert_same_bits

import cnnx
from cnnx import Conv3x3, GlobalAveragePool, MaxPool2, ReLU, Sequential, Softmax


def article_filters(num_filters):
    return np.random.randn(num_filters, 3, 3) / 9


def two_convolutions(second=None, dtype=np.float64):
    second = second or Conv3x3(16, dtype=dtype)
    return Sequential(
        [Conv3x3(8, dtype=dtype), MaxPool2(), second, MaxPool2(), Softmax(400, 10, dtype=dtype)],
    )


def test_the_learner_s_next_step_just_works():
    network = two_convolutions()
    assert repr(network.layers[2]) == "Conv3x3(16, in_channels=8)"
    assert_slices(network)
    images, labels = sample().train_images[:300], sample().train_labels[:300]
    before = bits(network)
    history = network.fit(images, labels, epochs=3, learn_rate=0.01)
    assert bits(network) != before
    assert history.losses[-100:].mean() < history.losses[:100].mean()


def test_it_becomes_what_in_channels_would_have_made_of_it():
    taken, given = two_convolutions().layers[2], Conv3x3(16, in_channels=8)
    assert taken.settings() == given.settings()
    assert {name: array.shape for name, array in taken.parameters().items()} == {
        "filters": (16, 3, 3, 8),
        "biases": (16,),
    }
    assert not taken.biases.any()
    deviation = np.sqrt(2 / (9 * 8))
    assert abs(taken.filters.std() / deviation - 1) < 5 / np.sqrt(2 * taken.filters.size)
    assert abs(taken.filters.mean() / deviation) < 5 / np.sqrt(taken.filters.size)


@pytest.mark.parametrize("use_bias", [True, False])
def test_biases_are_as_asked_for(use_bias):
    conv = two_convolutions(Conv3x3(16, use_bias=use_bias)).layers[2]
    assert (conv.biases is not None) == use_bias
    assert conv.in_channels == 8


def test_the_article_s_initial_values_and_draws_stay():
    np.random.seed(3)
    expected = article_filters(8), article_filters(16), np.random.randn(400, 10) / 400
    after = np.random.random()
    np.random.seed(3)
    first, second, soft = Conv3x3(8), Conv3x3(16), Softmax(400, 10)
    for layer, values in zip((first, second), expected, strict=False):
        assert_same_bits(layer.filters, values)
    network = Sequential([first, MaxPool2(), second, MaxPool2(), soft])
    assert np.random.random() == after, "taking channels draws nothing"
    assert_same_bits(network.layers[0].filters, expected[0])
    assert_same_bits(network.layers[4].weights, expected[2])


def test_a_seed_gives_one_network_in_both_dtypes():
    def values(seed, dtype=np.float64):
        return two_convolutions(Conv3x3(16, rng=seed, dtype=dtype), dtype).layers[2].filters

    assert_same_bits(values(5), values(5))
    assert_same_bits(values(5).astype(np.float32), values(5, np.float32))
    assert (values(5) != values(6)).mean() > 0.9


def test_channels_pass_through_layers_that_keep_them():
    network = Sequential([Conv3x3(4), ReLU(), cnnx.Dropout(0.1), Conv3x3(5), MaxPool2(ties="first"), Conv3x3(6)])
    assert [layer.in_channels for layer in network.layers if isinstance(layer, Conv3x3)] == [None, 4, 5]


def test_a_list_that_is_changed_in_place_is_seen_at_the_next_use():
    network = Sequential([Conv3x3(8), MaxPool2()])
    network.layers += [Conv3x3(3), GlobalAveragePool(), Softmax(3, 10)]
    assert network.predict(np.zeros((28, 28), np.uint8)).shape == (10,)
    network.layers.insert(3, Conv3x3(3))
    assert "(9, 9, 3)" in network.summary()
    assert_slices(network)


def by_hand(conv):
    conv.forward(np.zeros((3, 3)))


def written_in_place(conv):
    conv.filters[1, 2, 0] += 1


def assigned(conv):
    conv.filters = np.ones_like(conv.filters)


def assigned_the_same(conv):
    conv.filters = conv.filters.copy()


def with_a_bias(conv):
    conv.biases[2] = 0.5


def trained(conv):
    network = Sequential([conv, Softmax(26 * 26 * 16, 10)])
    network.fit(sample().train_images[:4], sample().train_labels[:4], epochs=1, learn_rate=0.01)


USES = [by_hand, written_in_place, assigned, assigned_the_same, with_a_bias, trained]


@pytest.mark.parametrize("use", USES)
def test_a_layer_that_is_no_longer_as_it_was_made_keeps_its_filters_and_is_told_what_helps(use):
    conv = Conv3x3(16, use_bias=True)
    use(conv)
    kept = {name: values.copy() for name, values in conv.parameters().items()}
    network = two_convolutions(conv)
    message = r"^layers\[2\] \(Conv3x3\): expected .*, got \(13, 13, 8\) \(Conv3x3\(16, in_channels=8\) takes it\)$"
    with pytest.raises(ValueError, match=message):
        network.predict(np.zeros((28, 28), np.uint8))
    for name, values in kept.items():
        assert_same_bits(conv.parameters()[name], values)


def test_a_layer_of_another_network_keeps_its_filters():
    conv = Conv3x3(16)
    first = Sequential([conv, Softmax(26 * 26 * 16, 10)])
    second = two_convolutions(conv)
    with pytest.raises(ValueError, match=r"layers\[2\] \(Conv3x3\): expected input \(height, width\), got"):
        second.predict(np.zeros((28, 28), np.uint8))
    assert first.predict(np.zeros((28, 28), np.uint8)).shape == (10,)


def test_a_layer_that_comes_first_as_well_keeps_its_filters():
    conv = Conv3x3(8)
    network = Sequential([conv, conv, Softmax(24 * 24 * 8, 10)])
    assert conv.filters.shape == (8, 3, 3)
    with pytest.raises(ValueError, match=r"layers\[1\] \(Conv3x3\): expected input \(height, width\), got"):
        network.predict(np.zeros((28, 28), np.uint8))


def test_a_layer_at_two_later_positions_is_tied():
    conv = Conv3x3(8)
    network = Sequential([Conv3x3(8), conv, conv, Softmax(22 * 22 * 8, 10)])
    assert network.predict(np.zeros((28, 28), np.uint8)).shape == (10,)
    assert len({id(array) for array in arrays_of(network)}) == len(arrays_of(network)) - 2


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_of_a_new_layer_takes_channels_and_the_same_values(duplicate):
    layer = Conv3x3(16)
    twin = duplicate(layer)
    assert_same_bits(two_convolutions(twin).layers[2].filters, two_convolutions(layer).layers[2].filters)


def test_a_saved_network_loads_as_it_was(tmp_path):
    network = two_convolutions()
    network.save(tmp_path / "network")
    loaded = cnnx.load(tmp_path / "network")
    assert bits(loaded) == bits(network)
    single = Sequential([Conv3x3(8), Softmax(26 * 26 * 8, 10)])
    single.save(tmp_path / "single")
    conv = cnnx.load(tmp_path / "single").layers[0]
    with pytest.raises(ValueError, match=r"layers\[1\] \(Conv3x3\): expected input \(height, width\)"):
        Sequential([Conv3x3(2), conv, Softmax(24 * 24 * 8, 10)]).predict(np.zeros((28, 28), np.uint8))
