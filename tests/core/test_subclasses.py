"""A network computes the core's layers, so it refuses a subclass that computes something else."""

import numpy as np
import pytest
from networks import small_problem
from tolerances import assert_same_bits

import cnnx
from cnnx import MaxPool2, ReLU, Sequential, Softmax
from cnnx.layers import Layer


class ReLU6(ReLU):
    def forward(self, input):
        return np.minimum(super().forward(input), 6)


class Straight(ReLU):
    def backprop(self, d_L_d_out):
        return d_L_d_out


class Halving:
    def forward(self, input):
        return input / 2

    def backprop(self, d_L_d_out):
        return d_L_d_out / 2


class Halved(Halving, ReLU):
    pass


class HalvedAgain(Halved):
    pass


class Square(Layer):
    def forward(self, input):
        return input * input


class Nothing(Layer):
    pass


REFUSED = {
    ReLU6: "its own forward",
    Straight: "its own backprop",
    Halved: "its own forward and backprop",
    HalvedAgain: "its own forward and backprop",
    Square: "its own forward",
    Nothing: "no layer that the core knows",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_layer_that_computes_something_else_is_refused(tmp_path, kind):
    message = rf"^layers\[1\] \({kind.__name__}\): expected a layer that the core computes, got {REFUSED[kind]} \("
    with pytest.raises(TypeError, match=message):
        Sequential([MaxPool2(), kind(), Softmax(4, 3)])
    network, images, labels = small_problem()
    network.layers.insert(1, kind())
    for use in (
        lambda: network.predict(images),
        lambda: network.evaluate(images, labels),
        lambda: network.fit(images, labels, epochs=1, learn_rate=0.1),
        lambda: network.gradients(images, labels),
        lambda: network.summary((7, 8)),
        lambda: network.save(tmp_path / "network"),
    ):
        with pytest.raises(TypeError, match=message):
            use()


class Named(Softmax):
    """Adds a name and a method, and computes as Softmax does."""

    def __init__(self, *sizes, name, **options):
        super().__init__(*sizes, **options)
        self.name = name

    def norm(self):
        return float(np.linalg.norm(self.weights))


def test_a_subclass_that_computes_the_same_trains_as_its_base():
    network, images, labels = small_problem()
    twin, _, _ = small_problem()
    last = network.layers[-1]
    named = Named(*last.weights.shape, name="last")
    named.weights[...] = last.weights
    network.layers[-1] = named
    for either in (network, twin):
        either.fit(images, labels, epochs=1, learn_rate=0.05, shuffle=False)
    assert_same_bits(network.predict(images), twin.predict(images))
    assert named.norm() != 0


def test_such_a_layer_works_by_hand():
    assert_same_bits(ReLU6().forward(np.array([-1.0, 3, 9])), np.array([0.0, 3, 6]))
    assert cnnx.ReLU().forward(np.array([9.0])) == 9
