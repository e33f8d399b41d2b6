"""What an object prints is what one would type to make it."""

from xml.etree import ElementTree

import numpy as np
import pytest
from stacks import STACKS, stack

import cnnx
from cnnx.network import History

TYPED = [
    "Conv3x3(8)",
    "Conv3x3(8, dtype='float32')",
    "Conv3x3(3, use_bias=True)",
    "Conv3x3(3, in_channels=2, padding='same')",
    "Conv3x3(3, in_channels=2, use_bias=False)",
    "MaxPool2()",
    "MaxPool2(ties='first')",
    "GlobalAveragePool()",
    "ReLU()",
    "Dropout(0.25)",
    "BatchNorm(3)",
    "BatchNorm(3, momentum=0.99, eps=0.001, dtype='float32')",
    "Dense(4, 3, dtype='float32')",
    "Softmax(4, 3)",
    "SGD(0.1)",
    "SGD(0.1, momentum=0.9, nesterov=True)",
    "Adam(0.001, weight_decay=0.01)",
    "RandomShift(2)",
    "RandomFlip()",
    "EarlyStopping(3)",
    "EarlyStopping(3, monitor='accuracy', restore_best=False)",
    "RandomAffine(rotation=10.0, shift=2.0, background=0.0)",
]


@pytest.mark.parametrize("typed", TYPED)
def test_what_was_typed_is_printed(typed):
    assert repr(eval(typed, vars(cnnx).copy())) == typed


@pytest.mark.parametrize("names", STACKS)
def test_a_network_prints_what_makes_one_like_it(names, dtype):
    network = cnnx.Sequential(stack(cnnx, names, dtype))
    network.image_shape = (11, 14)
    again = eval(repr(network), vars(cnnx).copy())
    assert [layer.settings() for layer in again.layers] == [layer.settings() for layer in network.layers]


def test_a_network_prints_shapes_and_parameters():
    assert repr(cnnx.models.article_cnn()).splitlines() == [
        "Sequential([  # for images of (28, 28): 13,602 parameters",
        "    Conv3x3(8),         # (26, 26, 8), 72",
        "    MaxPool2(),         # (13, 13, 8)",
        "    Softmax(1352, 10),  # (10,), 13,530",
        "])",
    ]


@pytest.mark.parametrize("layers", [[], [cnnx.Softmax(5, 3)], [cnnx.MaxPool2(), cnnx.Conv3x3(4)]], ids=repr)
def test_layers_that_do_not_fit_are_printed_all_the_same(layers):
    assert repr(cnnx.Sequential(layers)).startswith("Sequential([")


class Article(cnnx.Conv3x3):
    def __init__(self, count):
        super().__init__(count)


def test_a_subclass_with_a_constructor_of_its_own_is_not_printed_as_if_it_had_the_layer_s():
    assert "Article object at" in repr(Article(8))


def test_a_network_of_a_subclass_has_its_name():
    assert repr(type("Mine", (cnnx.Sequential,), {})([cnnx.MaxPool2()])).startswith("Mine([")


def test_digits_are_a_line():
    flat = cnnx.data.load()._replace(train_images=np.zeros((3, 784), np.uint8))
    assert repr(flat) == "Digits(3 to train on, 1,000 to test on, 784 pixels)"
    assert repr(cnnx.data.load()) == "Digits(1,000 to train on, 1,000 to test on, 28x28 pixels)"


def test_a_history_is_a_line():
    losses, correct = np.array([1.0, 2.0]), np.array([True, False])
    assert repr(History(losses, correct, np.zeros((0, 2)))) == "History(2 samples, mean loss 1.500, accuracy 50.0%)"
    assert repr(History(losses[:0], correct[:0], np.zeros((0, 2)))) == "History(0 samples)"
    validated = repr(History(losses, correct, np.array([[0.5, 0.9], [0.25, 0.875]])))
    assert validated.endswith("accuracy 50.0%; validation loss 0.250, accuracy 87.5%)")


def test_a_notebook_shows_a_history_as_its_line_and_curves():
    losses, correct = np.arange(500, 0, -1) / 100, np.arange(500) >= 250
    history = History(losses, correct, np.array([[0.5, 0.9]]))
    line, curves = ElementTree.fromstring(f"<all>{history._repr_html_()}</all>")
    assert line.text == repr(history)
    assert [[text.text for text in svg.iter("text")] for svg in curves] == [
        ["4.985", "loss", "0.025"],
        ["100.0%", "accuracy", "0.0%"],
    ]
    loss, accuracy = (
        [tuple(map(int, point.split(","))) for point in line.get("points").split()] for line in curves.iter("polyline")
    )
    assert len(loss) == len(accuracy) == 120
    assert loss == sorted(loss)  # it falls, so it goes to the right and down
    assert {y for _, y in accuracy[:59]} == {76}
    assert {y for _, y in accuracy[61:]} == {4}


def test_a_notebook_shows_a_history_without_classes_or_samples():
    one = History(np.array([2.0]), np.zeros(0, np.bool_), np.zeros((0, 2)))
    assert one._repr_html_().count("<svg") == 1
    assert one._replace(losses=np.zeros(0))._repr_html_() == "<div>History(0 samples)</div><div></div>"
