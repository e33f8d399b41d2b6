"""A network's summary, as text and as what a notebook shows."""

import re
from xml.etree import ElementTree

import pytest

import cnnx


def test_a_summary_is_text_that_nothing_prints(capsys):
    assert cnnx.models.article_cnn().summary().splitlines() == [
        "layer             output shape       parameters",
        "Conv3x3           (26, 26, 8)                72",
        "MaxPool2          (13, 13, 8)                 0",
        "Softmax           (10,)                  13,530",
        "total                                    13,602",
    ]
    assert capsys.readouterr().out == ""


def test_its_columns_are_wide_enough_for_every_layer():
    layers = [cnnx.Conv3x3(2), cnnx.GlobalAveragePool(), cnnx.Softmax(2, 3)]
    lines = cnnx.Sequential(layers).summary((20, 30)).splitlines()
    assert len({len(line) for line in lines}) == 1


def summary_for(image_shape):
    return cnnx.models.article_cnn().summary(image_shape)


def model_for(image_shape):
    return cnnx.models.article_cnn(image_shape=image_shape)


@pytest.mark.parametrize("use", [summary_for, model_for])
@pytest.mark.parametrize("shape", [(), [], 0, 28, "28", (28,), (28, 28, 1, 1)], ids=repr)
def test_what_is_no_image_shape_is_refused(use, shape):
    with pytest.raises(
        TypeError, match=rf"^image_shape: expected a height and a width, and .*, got {re.escape(repr(shape))}$"
    ):
        use(shape)


def cells(network):
    rows = ElementTree.fromstring(network._repr_html_())
    return [[cell.text or "" for cell in row] for row in rows]


def test_a_notebook_shows_a_table():
    assert cells(cnnx.models.article_cnn(image_shape=(9, 12))) == [
        ["layer, for images of (9, 12)", "output shape", "parameters"],
        ["Conv3x3(8)", "(7, 10, 8)", "72"],
        ["MaxPool2()", "(3, 5, 8)", "0"],
        ["Softmax(120, 10)", "(10,)", "1,210"],
        ["total", "", "1,282"],
    ]


class Odd(cnnx.ReLU):
    def __repr__(self):
        return "<b>&</b>"


def test_a_notebook_shows_text_as_text():
    layers = [Odd(), cnnx.Softmax(784, 2)]
    assert cells(cnnx.Sequential(layers))[1] == ["<b>&</b>", "(28, 28)", "0"]


@pytest.mark.parametrize("layers", [[Odd(), cnnx.Softmax(5, 3)], [Odd(), cnnx.MaxPool2(), cnnx.Conv3x3(4)]], ids=len)
def test_a_notebook_shows_layers_that_do_not_fit_as_they_print(layers):
    shown = ElementTree.fromstring(cnnx.Sequential(layers)._repr_html_())
    assert shown.tag == "pre"
    assert shown.text == repr(cnnx.Sequential(layers))


def test_a_notebook_shows_a_network_without_layers():
    assert cells(cnnx.Sequential([]))[-1] == ["total", "", "0"]
