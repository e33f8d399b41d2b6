"""`activations` gives what the layers' own passes give, and leaves no trace."""

import numpy as np
import pytest
from networks import as_floats, small_problem
from stacks import IMAGE, STACKS, problem, stack
from tolerances import assert_close, assert_same_bits

import cnnx
from cnnx import Sequential

MORE = [
    *STACKS,
    "dropout:0.5 conv:3 relu dropout:0.9 dense:7 dropout:0.5 softmax:5",
    "relu same:2 relu pool relu softmax:3",
]


@pytest.mark.parametrize("names", MORE)
@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_every_output_is_the_layer_s_own(rng, names, kind, dtype):
    images, _ = problem(rng, names, count=2, kind=kind)
    network = Sequential(stack(cnnx, names, dtype))
    outputs = network.activations(images[0])
    assert list(outputs) == [f"{position} {layer.kind}" for position, layer in enumerate(network.layers)]
    value = as_floats(images[0], dtype)
    for layer, output in zip(network.layers, outputs.values(), strict=True):
        value = layer.forward(value)
        assert_same_bits(output, value)
    assert_close(output, network.predict(images[0]), terms=1000)
    assert (output != network.predict(images[1])).any()


@pytest.mark.parametrize("names", MORE)
def test_layers_remember_what_they_saw_before(rng, names, dtype):
    images, _ = problem(rng, names, count=2)
    network = Sequential(stack(cnnx, names, dtype))
    value = as_floats(images[0], dtype)
    for layer in network.layers:
        value = layer.forward(value)
    seen = [dict(vars(layer._seen)) for layer in network.layers]
    copies = [{name: np.copy(value) for name, value in before.items()} for before in seen]
    network.activations(images[1])
    for layer, before, values in zip(network.layers, seen, copies, strict=True):
        assert all(vars(layer._seen)[name] is value for name, value in before.items())
        for name, value in before.items():
            np.testing.assert_array_equal(value, values[name])


def test_a_fresh_network_has_seen_nothing_afterwards():
    network = cnnx.models.article_cnn(rng=0)
    before = network.image_shape
    network.activations(cnnx.data.load().train_images[0])
    assert [layer.last_input for layer in network.layers] == [None, None, None]
    assert (network.image_shape, network.pixels, network.history) == (before, None, None)


def test_outputs_are_arrays_of_their_own(rng, dtype):
    names = "dropout:0.5 relu same:2 relu dropout:0.5 pool softmax:3"
    image = rng.uniform(-1, 1, IMAGE).astype(dtype)
    network = Sequential(stack(cnnx, names, dtype))
    arrays = [image, network.parameters, *network.activations(image).values()]
    for i, array in enumerate(arrays):
        assert not any(np.may_share_memory(array, other) for other in arrays[:i])


def test_a_layer_that_is_used_twice_appears_twice(rng):
    relu = cnnx.ReLU()
    conv = cnnx.Conv3x3(1, 1, padding="same", rng=1)
    network = Sequential([conv, relu, conv, relu, cnnx.Softmax(6, 2, rng=2)])
    image = rng.uniform(-1, 1, (2, 3))
    outputs = network.activations(image)
    assert list(outputs) == ["0 Conv3x3", "1 ReLU", "2 Conv3x3", "3 ReLU", "4 Softmax"]
    assert_same_bits(outputs["2 Conv3x3"], conv.forward(outputs["1 ReLU"]))
    assert (outputs["2 Conv3x3"] != outputs["0 Conv3x3"]).any()


def test_changes_of_the_layers_take_effect():
    network, images, labels = small_problem()
    for change in (
        lambda: network.fit(images, labels, epochs=1, learn_rate=0.1),
        lambda: network.layers[2].biases.__iadd__(np.arange(4)),
        lambda: setattr(network.layers[0], "filters", 2 * network.layers[0].filters),
        lambda: setattr(network, "layers", [cnnx.Conv3x3(5, rng=7), *network.layers[1:]]),
    ):
        before = network.activations(images[0])["2 Softmax"]
        change()
        after = network.activations(images[0])["2 Softmax"]
        assert (after != before).any()
        assert_close(after, network.predict(images[0]), terms=100)


class Scaled(cnnx.Softmax):
    def __init__(self, scale):
        super().__init__(3, 2, rng=0)
        self.scale = scale


def test_a_subclass_has_its_layer_s_kind():
    network = Sequential([Scaled(2)])
    assert list(network.activations(np.ones((1, 3)))) == ["0 Softmax"]


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((3, 7, 8), np.uint8), ValueError, r"^image: expected one image, got shape \(3, 7, 8\) \(images\[0\]"),
        (np.zeros(56, np.uint8), ValueError, r"^images: expected shape .*, got \(56,\)"),
        ([[0.0]], TypeError, r"^images: expected a numpy array, got list"),
        (np.zeros((7, 8), int), TypeError, r"^images: expected uint8, .* got dtype int64"),
        (np.full((7, 8), np.nan), ValueError, r"^images: expected finite pixels, got nan"),
        (
            np.zeros((9, 9), np.uint8),
            ValueError,
            r"^layers\[2\] \(Softmax\): expected input of 30 values, got \(3, 3, 5\)$",
        ),
        (np.zeros((0, 8), np.uint8), ValueError, r"^images: expected shape .*, got \(0, 8\)"),
    ],
)
def test_what_is_not_one_fitting_image_is_refused(image, error, message):
    network, _, _ = small_problem()
    with pytest.raises(error, match=message):
        network.activations(image)


def test_an_image_on_another_scale_causes_the_warning_of_predict():
    network, images, labels = small_problem(count=40)
    network.fit(images, labels, epochs=1, learn_rate=0.1)
    with pytest.warns(UserWarning, match=r"^images: expected pixels as in the training") as caught:
        network.activations(images[0].astype(float))
    assert caught[0].filename == __file__
