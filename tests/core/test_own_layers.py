"""Own layers, written in Python, work in a network as the core's layers do."""

import copy
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from networks import as_floats, assert_slices, bits, forward_by_hand, sample, small_problem
from own_layers import AveragePool2, CallingDense, CallingSoftmax, LeakyReLU, OwnConv, OwnDense, OwnPool, OwnReLU, Scale
from pairwise import pairwise
from reference_loop import OPTIMIZERS
from tolerances import assert_close, assert_is_derivative, assert_same_bits, assert_same_loss, central_difference
from twins import DTYPES, uniform

import cnnx
from cnnx import Conv3x3, Dense, Dropout, MaxPool2, ReLU, Sequential, Softmax
from cnnx.layers import Layer

COUNT = 7
TERMS = 300  # in a sum, and in the sums that it is made of

# What makes one of two equal stacks for images (9, 8): of the core's layers, and with own ones in the place of some
STACKS = {
    "an own first layer": lambda own, options: [
        (OwnConv if own else Conv3x3)(3, 1, rng=1, **options),
        MaxPool2(),
        Softmax(27, 4, rng=2, **options),
    ],
    "own layers between": lambda own, options: [
        Conv3x3(3, 1, padding="same", rng=1, **options),
        OwnReLU() if own else ReLU(),
        OwnPool() if own else MaxPool2(),
        OwnConv(5, 3, rng=2, use_bias=False, **options) if own else Conv3x3(5, 3, rng=2, use_bias=False, **options),
        Softmax(20, 4, rng=3, **options),
    ],
    "an own dense layer, and dropout": lambda own, options: [
        Conv3x3(4, rng=1, **options),
        MaxPool2(ties="first"),
        Dropout(0.3),
        (OwnDense if own else Dense)(36, 6, rng=2, **options),
        ReLU(),
        Dropout(0.2),
        Softmax(6, 4, rng=3, **options),
    ],
    "compiled layers that come back to Python": lambda own, options: [
        Conv3x3(4, rng=1, **options),
        MaxPool2(ties="first"),
        (CallingDense if own else Dense)(36, 6, rng=2, **options),
        ReLU(),
        (CallingSoftmax if own else Softmax)(6, 4, rng=3, **options),
    ],
}


def pair(name, dtype=np.float64):
    """Return a network with own layers, and one of the core's, with equal parameters."""
    return [Sequential(STACKS[name](own, {"dtype": dtype})) for own in (True, False)]


def problem(rng, count=COUNT):
    return rng.integers(0, 256, (count, 9, 8), np.uint8), rng.integers(0, 4, count)


@pairwise(
    name=STACKS, optimizer=OPTIMIZERS, batch_size=[1, 3], loss=["cross_entropy", "smoothed", "weighted"], dtype=DTYPES
)
def test_training_is_that_of_the_core(rng, name, optimizer, batch_size, loss, dtype):
    own, core = pair(name, dtype)
    images, labels = problem(rng)
    kind, settings = OPTIMIZERS[optimizer]
    options = {"smoothed": {"label_smoothing": 0.2}, "weighted": {"sample_weight": rng.uniform(0, 2, COUNT)}}
    before, optimizers = own.parameters.copy(), [kind(0.05, **settings) for _ in range(2)]
    histories = [
        network.fit(images, labels, epochs=1, batch_size=batch_size, optimizer=each, rng=3, **options.get(loss, {}))
        for network, each in zip((own, core), optimizers, strict=True)
    ]
    assert np.abs(own.parameters - before).max() > 1e-3
    assert_close(own.parameters, core.parameters, TERMS)
    assert_close(*(history.losses.astype(dtype) for history in histories), TERMS)
    np.testing.assert_array_equal(histories[0].correct, histories[1].correct)
    assert optimizers[0].steps == optimizers[1].steps
    for mine, theirs in zip(*(each.states()[1:] for each in optimizers), strict=True):
        assert_close(mine, theirs, TERMS)


@pairwise(name=STACKS, dtype=DTYPES, kind=["bytes", "floats"])
def test_predictions_and_gradients_are_those_of_the_core(rng, name, dtype, kind):
    own, core = pair(name, dtype)
    images, labels = problem(rng)
    images = images if kind == "bytes" else as_floats(images, dtype)
    assert_close(own.predict(images), core.predict(images), TERMS)
    assert_close(own.predict(images[0]), core.predict(images[0]), TERMS)
    assert_same_loss(own.evaluate(images, labels)[0], core.evaluate(images, labels)[0], dtype)
    assert own.evaluate(images, labels)[1] == core.evaluate(images, labels)[1]
    results = [network.gradients(images, labels, rng=5) for network in (own, core)]
    assert_same_loss(results[0][0], results[1][0], dtype)
    assert results[0][1] == results[1][1]
    assert_close(own.gradient, core.gradient, TERMS)
    outputs = [network.forward(images, rng=5) for network in (own, core)]
    assert_close(*outputs, TERMS)
    d_outputs = uniform(rng, outputs[0].shape, dtype)
    assert_close(*(network.backward(d_outputs, d_images=True) for network in (own, core)), TERMS)
    assert_close(own.gradient, core.gradient, TERMS)
    for mine, theirs in zip(own.activations(images[0]).values(), core.activations(images[0]).values(), strict=True):
        assert_close(mine, theirs, TERMS)


@pytest.mark.parametrize("augment", [cnnx.RandomShift(1), cnnx.RandomAffine(rotation=20)], ids=repr)
def test_images_are_changed_as_in_the_core(rng, augment):
    own, core = pair("own layers between")
    images, labels = problem(rng)
    for network in (own, core):
        network.fit(images, labels, epochs=2, batch_size=2, learn_rate=0.05, augment=augment, rng=1)
    assert_close(own.parameters, core.parameters, TERMS)


def squares(outputs, targets):
    differences = outputs - targets
    return np.square(differences).sum(axis=1), 2 * differences


@pytest.mark.parametrize("loss", ["mean_squared_error", squares], ids=["built in", "own"])
def test_other_losses_are_as_in_the_core(rng, loss):
    networks = [Sequential([Conv3x3(3, 1, rng=1), kind(), MaxPool2(), Dense(27, 2, rng=2)]) for kind in (OwnReLU, ReLU)]
    images, _ = problem(rng)
    targets = uniform(rng, (COUNT, 2))
    histories = [
        network.fit(images, targets, epochs=2, batch_size=3, learn_rate=0.01, loss=loss, rng=1) for network in networks
    ]
    assert_close(networks[0].parameters, networks[1].parameters, TERMS)
    assert_close(histories[0].losses, histories[1].losses, TERMS, largest=100)


class NamedDropout(Dropout):
    """Computes as its base does."""


@pytest.mark.parametrize("kind", [Dropout, NamedDropout])
def test_dropout_drops_the_same_values(rng, kind):
    images, labels = problem(rng)
    networks = [Sequential([each(), kind(0.5), Softmax(72, 4, rng=1)]) for each in (OwnReLU, ReLU)]
    for network in networks:
        network.gradients(images, labels, rng=3)
    assert_close(networks[0].gradient, networks[1].gradient, TERMS)


NEW = {
    "Scale": lambda: [Conv3x3(3, rng=1), Scale(0.7), MaxPool2(), Softmax(27, 4, rng=2)],
    "LeakyReLU": lambda: [Conv3x3(3, rng=1), LeakyReLU(0.3), MaxPool2(), Softmax(27, 4, rng=2)],
    "AveragePool2": lambda: [Conv3x3(3, rng=1), AveragePool2(), Conv3x3(2, 3, rng=3), Softmax(2, 4, rng=2)],
    "all of them": lambda: [Scale(0.7), Conv3x3(3, rng=1), LeakyReLU(), AveragePool2(), Scale(2.0), Softmax(27, 4)],
}


@pytest.mark.parametrize("name", NEW)
def test_their_gradient_is_the_derivative_of_the_loss(rng, name):
    images = uniform(rng, (1, 9, 8))
    network, label = Sequential(NEW[name]()), np.array([2])
    values = network.parameters
    numeric = central_difference(lambda: network.evaluate(images, label)[0], values)
    network.gradients(images, label)
    assert np.abs(numeric).max() > 1e-3
    assert_is_derivative(network.gradient, numeric, terms=1000)


def test_a_network_learns_with_them():
    np.random.seed(0)
    network = Sequential([Conv3x3(8), LeakyReLU(), AveragePool2(), Scale(), Softmax(13 * 13 * 8, 10)])
    images, labels = sample().train_images[:300], sample().train_labels[:300]
    history = network.fit(images, labels, epochs=3, learn_rate=0.02)
    assert history.losses[-100:].mean() < 0.6 * history.losses[:100].mean()
    assert network.layers[3].factor[0] != 1


def test_by_hand_they_are_what_they_say(rng):
    scale, input, d_L_d_out = Scale(2.0), uniform(rng, (3, 4)), uniform(rng, (3, 4))
    assert_same_bits(scale.forward(input), 2 * input)
    assert_same_bits(scale.backprop(d_L_d_out, 0.5), 2 * d_L_d_out)
    assert_close(scale.factor, np.array([2 - 0.5 * np.sum(d_L_d_out * input)]), 20)
    scale.trainable = False
    before = scale.factor.copy()
    scale.backprop(d_L_d_out, 0.5)
    assert_same_bits(scale.factor, before)


def test_their_parameters_are_slices_of_the_network_s_and_may_be_assigned(rng):
    network = Sequential(NEW["all of them"]())
    first, last = network.layers[0], network.layers[4]
    assert network.parameters[0] == 0.7
    assert network.parameters[1 + 27] == 2
    first.factor = np.full(1, 5.0)
    last.factor *= 2
    assert network.parameters[0] == 5
    assert network.parameters[28] == 4
    images = uniform(rng, (2, 9, 8))
    assert_close(network.predict(images[0]), forward_by_hand(copy.deepcopy(network).layers, images[0]), TERMS)
    with pytest.raises(ValueError, match=r"^factor: expected shape \(1,\), got \(2,\)$"):
        first.factor = np.ones(2)
    with pytest.raises(TypeError, match=r"^factor: expected dtype float64, got float32"):
        first.factor = np.ones(1, np.float32)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, pickle.dumps], ids=lambda f: f.__name__)
def test_copies_and_pickles_have_layers_of_their_own(rng, duplicate):
    network, (images, labels) = Sequential(NEW["all of them"]()), problem(rng)
    network.fit(images, labels, epochs=1, learn_rate=0.05)
    twin = duplicate(network)
    twin = pickle.loads(twin) if isinstance(twin, bytes) else twin
    before = bits(network), network.layers[0].factor.copy()
    assert_same_bits(twin.predict(images), network.predict(images))
    twin.fit(images, labels, epochs=1, learn_rate=0.05)
    assert twin.layers[0].factor[0] != before[1][0]
    assert (bits(network), network.layers[0].factor) == before


def test_a_frozen_one_stays(rng):
    network, (images, labels) = Sequential(NEW["all of them"]()), problem(rng)
    network.layers[0].trainable = network.layers[1].trainable = False
    before, adam = network.parameters.copy(), cnnx.Adam(0.05, weight_decay=0.1)
    network.fit(images, labels, epochs=2, batch_size=2, optimizer=adam)
    assert_same_bits(network.parameters[:28], before[:28])
    assert (network.parameters[28:] != before[28:]).mean() > 0.9
    assert not adam.first_moment[:28].any()
    network.gradients(images, labels)
    assert not network.gradient[:28].any()
    assert network.gradient[28] != 0


def test_one_at_two_positions_is_tied(rng):
    scale, leaky = Scale(0.7), LeakyReLU(0.3)
    network = Sequential([scale, Conv3x3(3, rng=1), leaky, scale, MaxPool2(), leaky, Softmax(27, 4, rng=2)])
    images, label = uniform(rng, (1, 9, 8)), np.array([1])
    assert network.parameters.size == 1 + 27 + 27 * 4 + 4
    values = network.parameters
    numeric = central_difference(lambda: network.evaluate(images, label)[0], values)
    network.gradients(images, label)
    assert_is_derivative(network.gradient, numeric, terms=1000)


def test_the_number_of_threads_changes_no_bit(rng):
    images, labels = problem(rng)
    found = []
    for threads in (1, 3):
        network = Sequential([*NEW["all of them"]()[:-1], Softmax(27, 4, rng=5)])
        network.fit(images, labels, epochs=1, batch_size=3, learn_rate=0.05, threads=threads, rng=1)
        found.append((bits(network), network.predict(images, threads=threads).tobytes()))
    assert found[0] == found[1]


def test_several_threads_predict_at_once(rng):
    network, (images, _) = Sequential(NEW["all of them"]()), problem(rng)
    expected, found = network.predict(images), {}

    def predict(thread):
        found[thread] = [network.predict(images) for _ in range(5)]

    threads = [threading.Thread(target=predict, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outputs in (outputs for thread in found.values() for outputs in thread):
        assert_same_bits(outputs, expected)
    assert network.layers[0].last_input is None


class Noise(Layer):
    """Is told whether it trains."""

    seen = ()

    def forward(self, input):
        self.seen = (*self.seen, self.training)
        return input + 1 if self.training else input

    def backprop(self, d_L_d_out):
        return d_L_d_out


def test_a_layer_knows_whether_it_trains(rng):
    network = Sequential([Noise(), Conv3x3(3, rng=1), MaxPool2(), Softmax(27, 4, rng=2)])
    images, labels = problem(rng)
    network.predict(images)
    network.evaluate(images, labels)
    assert network.layers[0].seen == ()
    network.fit(images, labels, epochs=1, learn_rate=0.05)
    assert network.layers[0].seen == (True,) * COUNT
    assert not network.layers[0].training
    network.layers[0].forward(images[0])
    assert network.layers[0].seen[-1] is False
    with pytest.raises(AttributeError, match=r"^training: expected only to be read"):
        network.layers[0].training = True


def test_checkpoints_continue_with_the_same_bits(rng, tmp_path):
    images, labels = problem(rng, 12)
    options = {"batch_size": 2, "rng": 1, "checkpoint": tmp_path / "checkpoint"}
    whole, again = (Sequential(NEW["Scale"]()) for _ in range(2))
    whole.fit(images, labels, epochs=2, optimizer=cnnx.Adam(0.01), **options)
    parts = Sequential(NEW["Scale"]())
    parts.fit(images, labels, epochs=1, optimizer=cnnx.Adam(0.01), **options)
    again.fit(images, labels, epochs=2, optimizer=cnnx.Adam(0.01), resume=tmp_path / "checkpoint", **options)
    assert bits(again) == bits(whole)


def test_an_average_is_followed(rng):
    own, core = pair("own layers between")
    images, labels = problem(rng)
    for network in (own, core):
        network.fit(images, labels, epochs=2, batch_size=2, learn_rate=0.05, average=0.9, rng=1)
    assert_close(own.parameters, core.parameters, TERMS)


def test_they_are_described():
    network = Sequential([Conv3x3(2, rng=0), LeakyReLU(0.2), AveragePool2(), Scale(), Softmax(338, 3, rng=0)])
    assert network.summary().splitlines()[1:] == [
        "Conv3x3           (26, 26, 2)                18",
        "LeakyReLU         (26, 26, 2)                 0",
        "AveragePool2      (13, 13, 2)                 0",
        "Scale             (13, 13, 2)                 1",
        "Softmax           (3,)                    1,017",
        "total                                     1,036",
    ]
    assert repr(LeakyReLU(0.2)) == "LeakyReLU(slope=0.2)"
    assert repr(AveragePool2()) == "AveragePool2()"
    assert "    LeakyReLU(slope=0.2),  # (26, 26, 2)" in repr(network)
    assert list(network.activations(np.zeros((28, 28)))) == [
        *("0 Conv3x3", "1 LeakyReLU", "2 AveragePool2", "3 Scale", "4 Softmax")
    ]
    assert_slices(Sequential([Conv3x3(2), LeakyReLU(), Softmax(26 * 26 * 2, 3)]))


def test_a_convolution_after_one_takes_its_channels():
    network = Sequential([Conv3x3(4), LeakyReLU(), AveragePool2(), Conv3x3(5), Softmax(11 * 11 * 5, 10)])
    assert network.layers[3].in_channels == 4
    assert network.predict(np.zeros((28, 28))).shape == (10,)


def test_beside_a_layer_that_needs_the_whole_batch_they_only_predict(rng):
    layers = [Conv3x3(3, 1, rng=1), cnnx.BatchNorm(3), OwnReLU(), MaxPool2(), Softmax(27, 4, rng=2)]
    core = Sequential([ReLU() if isinstance(layer, OwnReLU) else copy.deepcopy(layer) for layer in layers])
    network, (images, labels) = Sequential(layers), problem(rng)
    assert_close(network.predict(images), core.predict(images), TERMS)
    before, message = bits(network), r"^layers\[1\] \(BatchNorm\): expected no layer that needs the whole batch"
    with pytest.raises(ValueError, match=message):
        network.fit(images, labels, epochs=1, batch_size=3, learn_rate=0.05)
    assert bits(network) == before


@pytest.mark.parametrize("write", ["save", "storage"])
def test_a_file_is_refused_before_it_is_written(tmp_path, write):
    network, path = Sequential(NEW["Scale"]()), tmp_path / "network"
    message = (
        r"^layers\[1\] \(Scale\): expected a layer that cnnx.load knows, got one with its own forward and backprop \("
    )
    with pytest.raises(TypeError, match=message):
        network.save(path) if write == "save" else cnnx.storage.save(network, path)
    assert not Path(path).exists()
    assert Sequential(pickle.loads(pickle.dumps(network)).layers).layers[1].factor == 0.7


class Fixed(Layer):
    """Returns what it is told to."""

    def __init__(self, forward=None, backprop=None):
        self.returned = {"forward": forward, "backprop": backprop}
        self.passes = 0

    def output_shape(self, input_shape):
        return input_shape

    def result(self, name, value):
        self.passes += 1
        returned = self.returned[name]
        return returned(value) if callable(returned) else value

    def forward(self, input):
        return self.result("forward", input)

    def backprop(self, d_L_d_out):
        return self.result("backprop", d_L_d_out)


def third(error):
    def raise_it(value, count=[0]):  # noqa: B006  # counts the calls
        count[0] += 1
        if count[0] == 3:
            raise error
        return value

    return raise_it


WRONG = {
    "no array": (lambda _: None, TypeError, "expected a numpy array, got NoneType"),
    "a list": (lambda value: value.tolist(), TypeError, "expected a numpy array, got list"),
    "another shape": (lambda value: value[1:], ValueError, r"expected shape \(7, 6, 3\), got \(6, 6, 3\)"),
    "text": (lambda value: value.astype(str), TypeError, "expected an array of real numbers, got dtype <U32"),
    "a mask": (np.ma.masked_array, TypeError, "expected an array without a mask"),
}


@pytest.mark.parametrize("name", ["forward", "backprop"])
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_output_or_gradient_is_refused_and_the_network_stays(rng, name, kind):
    returned, error, message = WRONG[kind]
    fixed = Fixed(**{name: returned})
    network, (images, labels) = Sequential([Conv3x3(3), fixed, MaxPool2(), Softmax(27, 4)]), problem(rng)
    before, adam = bits(network), cnnx.Adam(0.01)
    message = rf"^layers\[1\] \(Fixed\): {name}: the returned array: {message}"
    with pytest.raises(error, match=message):
        network.fit(images, labels, epochs=1, optimizer=adam)
    with pytest.raises(error, match=message):
        network.gradients(images, labels)
    if name == "forward":
        with pytest.raises(error, match=message):
            network.predict(images)
    assert bits(network) == before
    assert adam.steps == 0
    assert fixed._gradients is None
    assert not fixed.training


@pytest.mark.parametrize("name", ["forward", "backprop"])
@pytest.mark.parametrize("error", [OSError("no such file"), KeyboardInterrupt()], ids=repr)
def test_an_exception_reaches_the_caller(rng, name, error):
    network = Sequential([Conv3x3(3, rng=1), Fixed(**{name: third(error)}), MaxPool2(), Softmax(27, 4, rng=2)])
    images, labels = problem(rng)
    before, twin, adam = bits(network), copy.deepcopy(network), cnnx.Adam(0.01)
    with pytest.raises(type(error)):
        network.fit(images, labels, epochs=1, optimizer=adam, shuffle=False)
    if isinstance(error, KeyboardInterrupt):  # the steps before it stay
        twin.layers[1] = Fixed()
        twin.fit(images[:2], labels[:2], epochs=1, optimizer=cnnx.Adam(0.01), shuffle=False)
        assert adam.steps == len(network.history.losses) == 2
        assert bits(network) == bits(twin)
    else:
        assert adam.steps == len(network.history.losses) == 0
        assert bits(network) == before
    network.fit(images, labels, epochs=1, optimizer=adam)


def test_a_loss_that_is_not_finite_puts_the_window_back(rng):
    images, labels = problem(rng)
    later = Fixed(forward=lambda value: value * (np.nan if later.passes == 3 else 1))
    network = Sequential([Conv3x3(3), later, MaxPool2(), Softmax(27, 4)])
    before, adam = bits(network), cnnx.Adam(0.01)
    with pytest.raises(FloatingPointError, match=r"^loss: expected a finite number, got nan at step 2 of epoch 1"):
        network.fit(images, labels, epochs=1, optimizer=adam)
    assert bits(network) == before
    assert adam.steps == 0


class SelfMade(Scale):
    """Takes its steps itself, as the article's layers do."""

    def backprop(self, d_L_d_out, learn_rate):
        d_L_d_input = self.factor * d_L_d_out
        self.factor -= learn_rate * np.sum(d_L_d_out * self.last_input)
        return d_L_d_input


class Hidden(SelfMade):
    """Keeps its array to itself as well."""

    def parameters(self):
        return {}


def test_a_layer_that_keeps_its_arrays_to_itself_is_told_how_to_give_them(rng):
    network, (images, labels) = Sequential([Hidden(), *NEW["Scale"]()[:1], Softmax(126, 4)]), problem(rng)
    before = bits(network)
    message = (
        r"^layers\[0\] \(Hidden\): backprop: expected no learn_rate, because `parameters` returns none "
        r"\(return the arrays by name, and end backprop with self.descend\(learn_rate, name=gradient\)\)$"
    )
    with pytest.raises(TypeError, match=message):
        network.fit(images, labels, epochs=1, learn_rate=0.1)
    assert bits(network) == before
    network.predict(images)


def test_a_layer_that_keeps_its_gradient_to_itself_is_told_how_to_give_it(rng):
    network, (images, labels) = Sequential([SelfMade(), *NEW["Scale"]()[:1], Softmax(126, 4)]), problem(rng)
    before = bits(network)
    message = (
        r"^layers\[0\] \(SelfMade\): backprop: expected a call of self.descend\(learn_rate, factor=\.\.\.\), got none"
    )
    with pytest.raises(TypeError, match=message):
        network.fit(images, labels, epochs=1, learn_rate=0.1)
    assert bits(network) == before


class Wrong(Scale):
    gradients = ()

    def backprop(self, d_L_d_out, learn_rate):
        self.descend(learn_rate, **self.gradients)
        return d_L_d_out


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        ({}, TypeError, "expected the gradients of factor, got none"),
        ({"scale": np.ones(1)}, TypeError, "expected the gradients of factor, got scale"),
        ({"factor": 1.0}, TypeError, "factor: expected a numpy array, got float"),
        ({"factor": np.ones(2)}, ValueError, r"factor: expected shape \(1,\), got \(2,\)"),
    ],
    ids=str,
)
def test_wrong_gradients_are_refused(gradients, error, message):
    layer = Wrong()
    layer.gradients = gradients
    with pytest.raises(error, match=f"^descend: {message}"):
        layer.backprop(np.ones(3), 0.1)
    assert layer.factor == 1
    with pytest.raises(ValueError, match=r"^learn_rate: expected"):
        layer.backprop(np.ones(3), -1.0)


class Misnamed(Scale):
    def parameters(self):
        return {"scale": self.factor}


class Whole(Scale):
    def __init__(self):
        self.factor = np.ones(1, int)


class Listed(Scale):
    def __init__(self):
        self.factor = [1.0]


class Mixed(Scale):
    def __init__(self):
        self.factor, self.other = np.ones(1), np.ones(1, np.float32)

    def parameters(self):
        return {"factor": self.factor, "other": self.other}


class Nothing(Layer):
    pass


class Less(Nothing):
    def backprop(self, d_L_d_out):
        return d_L_d_out


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Misnamed, "parameters: expected arrays by the names of their attributes, got 'scale'"),
        (Whole, "factor: expected a numpy array of float64 or float32, got dtype int64"),
        (Listed, "factor: expected a numpy array of float64 or float32, got list"),
        (Mixed, "parameters: expected arrays of one dtype, got several"),
        (Nothing, "expected a layer with a forward, got a class without one"),
        (Less, "expected a layer with a forward, got a class without one"),
    ],
)
def test_a_layer_that_no_network_can_use_is_refused_at_once(kind, message):
    with pytest.raises(TypeError, match=rf"^layers\[1\] \({kind.__name__}\): {message}$"):
        Sequential([Conv3x3(2), kind(), Softmax(9, 4)])


class Square(Layer):
    def forward(self, input):
        return input * input


def test_a_layer_without_backprop_only_predicts(rng):
    network, (images, labels) = Sequential([Conv3x3(3), Square(), Softmax(126, 4)]), problem(rng)
    assert network.predict(images).shape == (COUNT, 4)
    before = bits(network)
    with pytest.raises(NotImplementedError, match=r"^Square: expected a backprop of its own, got none$"):
        network.fit(images, labels, epochs=1, learn_rate=0.1)
    assert bits(network) == before


class Picky(Layer):
    def forward(self, input):
        if input.shape[0] != 7:
            raise RuntimeError("seven rows, please")
        return input

    def backprop(self, d_L_d_out):
        return d_L_d_out


def test_a_layer_that_does_not_take_the_images_says_why(rng):
    network = Sequential([Conv3x3(3), Picky(), MaxPool2(), Softmax(27, 4)])
    images, labels = problem(rng)
    network.fit(images, labels, epochs=1, learn_rate=0.1)
    fresh = Sequential([Conv3x3(3), Picky(), MaxPool2(), Softmax(27, 4)])
    with pytest.raises(ValueError, match=r"layers\[1\] \(Picky\): .*\(8, 6, 3\), got RuntimeError: seven rows, please"):
        fresh.predict(np.zeros((1, 10, 8)))


def test_dtypes_are_those_of_the_network(rng):
    network = Sequential(
        [Scale(dtype=np.float32), Conv3x3(3, dtype=np.float32), AveragePool2(), Softmax(27, 4, dtype=np.float32)]
    )
    images, labels = problem(rng)
    network.fit(images, labels, epochs=1, batch_size=2, optimizer=cnnx.Adam(0.01))
    assert network.parameters.dtype == network.predict(images).dtype == np.float32
    mixed = Sequential([Scale(), Conv3x3(3, dtype=np.float32), Softmax(126, 4, dtype=np.float32)])
    with pytest.raises(ValueError, match=r"^layers\[1\]: expected dtype float64.*, got float32"):
        mixed.predict(images)


def test_a_network_without_them_is_computed_by_the_core():
    network, images, _ = small_problem()
    network.predict(images)
    assert isinstance(network._planned[2], cnnx._core.Network)
