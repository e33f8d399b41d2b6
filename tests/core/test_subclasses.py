"""A subclass that computes as its base does is computed by the core. `test_own_layers.py` has the others."""

import numpy as np
from networks import small_problem
from tolerances import assert_same_bits

from cnnx import Softmax, _core


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
    assert isinstance(network._planned[2], _core.Network)
    assert named.norm() != 0
