"""The core for WebAssembly, which web/build.sh makes, in wasmtime. It has the bits of the native baseline target.

Only subnormal numbers differ: WebAssembly cannot count them as 0.
"""

from pathlib import Path

import numpy as np
import pytest
from twins import computing_on

import cnnx

wasmtime = pytest.importorskip("wasmtime", reason="wasmtime is not installed (extra web)")

CORE = Path(__file__).parents[2] / "web/dist/core.wasm"
if not CORE.exists():
    pytest.skip("web/dist/core.wasm is not there (web/build.sh makes it)", allow_module_level=True)

# The layers as web/core.cpp reads them: kind, outputs, inputs, same, takes_channels, has_biases, first_tie_only.
SOFTMAX = 3
ARTICLE = [[0, 8, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0], [SOFTMAX, 10, 1352, 0, 0, 0, 0]]
FIRST_TIE = [ARTICLE[0], [1, 0, 0, 0, 0, 0, 1], ARTICLE[2]]
SMALL = [
    *([0, 16, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0, 0]),
    *([0, 32, 16, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0, 0]),
    [SOFTMAX, 10, 800, 0, 0, 0, 0],
]
METHODS = {cnnx.SGD: 0, cnnx.Adam: 2}


class Module:
    """core.wasm and its memory."""

    def __init__(self):
        self.store = wasmtime.Store()
        module = wasmtime.Module.from_file(self.store.engine, str(CORE))
        assert not module.imports, "a browser would have to provide these"
        self.exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.call("_initialize")

    def call(self, name, *arguments):
        return self.exports[name](self.store, *arguments)

    def write(self, array):
        pointer = self.call("allocate", array.nbytes)
        self.exports["memory"].write(self.store, array.tobytes(), pointer)
        return pointer

    def read(self, pointer, dtype, count):
        data = self.exports["memory"].read(self.store, pointer, pointer + np.dtype(dtype).itemsize * count)
        return np.frombuffer(data, dtype)


@pytest.fixture(scope="module")
def module():
    return Module()


@pytest.fixture(scope="module")
def digits():
    return cnnx.data.load("sample")


def trained_in_wasm(module, rows, parameters, images, labels, epochs, optimizer, batch_size):
    """Return the losses, and the parameters afterwards. Each window has 100 steps."""
    network = module.call("network_new", module.write(np.array(rows, np.int32)), len(rows), 28, 28, 0)
    at = module.call("network_parameters", network)
    module.exports["memory"].write(module.store, parameters.tobytes(), at)
    module.call("network_begin", network, METHODS[type(optimizer)], batch_size)
    losses, count = [], 100 * batch_size
    results, correct = module.write(np.zeros(count)), module.write(np.zeros(count, np.uint8))
    for order in epochs:
        for first in range(0, len(order), count):
            window = order[first : first + count]
            at_images, at_labels = module.write(images[window]), module.write(labels[window].astype(np.uint8))
            arguments = at_images, at_labels, len(window), optimizer.learn_rate, results, correct
            module.call("network_train", network, *arguments)
            losses.append(module.read(results, np.float64, len(window)))
            module.call("release", at_images)
            module.call("release", at_labels)
    trained = module.read(at, np.float32, parameters.size)
    module.call("network_delete", network)
    return np.concatenate(losses), trained


@pytest.mark.parametrize(
    ("make", "rows", "optimizer", "batch_size"),
    [
        (cnnx.models.article_cnn, ARTICLE, cnnx.SGD(0.005), 1),
        (lambda dtype: cnnx.models.article_cnn(dtype=dtype, ties="first"), FIRST_TIE, cnnx.SGD(0.005), 1),
        (cnnx.models.small_convnet, SMALL, cnnx.Adam(0.001), 32),
    ],
    ids=["article", "first tie", "small_convnet"],
)
def test_training_has_the_bits_of_the_native_baseline(module, digits, make, rows, optimizer, batch_size):
    images, labels = digits.train_images, digits.train_labels
    with computing_on("baseline"):
        network = make(dtype=np.float32)
        before, state = network.parameters.copy(), np.random.get_state()
        history = network.fit(images, labels, epochs=3, batch_size=batch_size, optimizer=optimizer)
    np.random.set_state(state)
    epochs = [np.random.permutation(len(images)) for _ in range(3)]
    losses, parameters = trained_in_wasm(module, rows, before, images, labels, epochs, optimizer, batch_size)
    np.testing.assert_array_equal(losses, history.losses)
    np.testing.assert_array_equal(parameters, network.parameters)


def test_the_generator_draws_what_numpys_global_one_draws(module):
    count = 301  # odd, so that one number of a pair is left for the next call
    numbers, order = module.write(np.zeros(count, np.float32)), module.write(np.zeros(count, np.uint32))
    for seed in [*range(40), 2**31, 2**32 - 1]:
        random, expected = module.call("random_new", seed), np.random.RandomState(seed)
        for size in 9, count:
            module.call("random_normal", random, numbers, size, 9.0, 0.5)
            drawn = (expected.randn(size) / 9 * 0.5).astype(np.float32)
            np.testing.assert_array_equal(module.read(numbers, np.float32, size), drawn)
        for size in 1, 2, 256, 257, count:
            module.call("random_permutation", random, order, size)
            np.testing.assert_array_equal(module.read(order, np.uint32, size), expected.permutation(size))
        module.call("random_delete", random)


def test_every_layers_output_is_that_of_the_layer_by_hand(module, digits):
    network = cnnx.models.small_convnet(dtype=np.float32)
    handle = module.call("network_new", module.write(np.array(SMALL, np.int32)), len(SMALL), 28, 28, 0)
    at = module.call("network_parameters", handle)
    module.exports["memory"].write(module.store, network.parameters.tobytes(), at)
    module.call("network_forward", handle, module.write(digits.test_images[0]))
    values = digits.test_images[0] / np.float32(255) - np.float32(0.5)
    for position, layer in enumerate(network.layers):
        values = layer.forward(values)
        is_last = position == len(network.layers) - 1
        got = module.read(module.call("network_values", handle, position), np.float32, values.size)
        expected = layer.last_totals if is_last else values
        np.testing.assert_allclose(got, expected.reshape(-1), rtol=1e-5, atol=1e-5)
    got = module.read(module.call("network_probabilities", handle), np.float32, values.size)
    np.testing.assert_allclose(got, values, rtol=1e-5, atol=1e-6)
