"""`cnnx.convert`: networks of PyTorch and Keras that get cnnx's parameters compute what cnnx does, and back."""

import numpy as np
import pytest
from networks import bits, sample

import cnnx
from cnnx import BatchNorm, Conv3x3, Dense, GlobalAveragePool, MaxPool2, ReLU, Sequential, Softmax
from cnnx.convert import from_keras, from_torch, to_keras, to_torch

CLOSE = 1e-5


def convnet(shape=(9, 12, 3), dtype=np.float32, seed=1):
    """Return a network with random parameters in which no two sizes are equal."""
    layers = [
        Conv3x3(4, shape[2], dtype=dtype, rng=seed),  # (7, 10, 4)
        ReLU(),
        Conv3x3(5, 4, padding="same", use_bias=False, dtype=dtype, rng=seed),
        MaxPool2(ties="first"),  # (3, 5, 5)
        Dense(75, 11, dtype=dtype, rng=seed),
        ReLU(),
        Softmax(11, 6, dtype=dtype, rng=seed),
    ]
    network = Sequential(layers)
    network.image_shape = shape
    rng = np.random.default_rng(seed)
    network.parameters[...] = rng.uniform(-0.4, 0.4, network.parameters.shape)
    return network


def of_torch(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(75, 11),
        nn.ReLU(),
        nn.Linear(11, 6),
        nn.Softmax(1),
    )


@pytest.fixture
def images(rng):
    return rng.normal(size=(20, 9, 12, 3)).astype(np.float32)


def test_a_network_of_pytorch_gives_its_parameters(images):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    module, network = of_torch(torch), convnet()
    from_torch(network, module.state_dict())
    expected = module(torch.from_numpy(images.transpose(0, 3, 1, 2))).detach().numpy()
    np.testing.assert_allclose(network.predict(images), expected, atol=CLOSE, rtol=0)


def test_a_network_of_pytorch_takes_the_parameters(images):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module, network = of_torch(torch), convnet()
    arrays = to_torch(network, module.state_dict())
    module.load_state_dict({name: torch.from_numpy(values) for name, values in arrays.items()})
    output = module(torch.from_numpy(images.transpose(0, 3, 1, 2))).detach().numpy()
    np.testing.assert_allclose(output, network.predict(images), atol=CLOSE, rtol=0)


def test_a_layer_at_two_positions_is_twice_in_a_state_dict(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    nn = torch.nn
    shared, conv = nn.Conv2d(2, 2, 3, padding=1), Conv3x3(2, 2, padding="same", dtype=np.float32)
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False),
        shared,
        nn.ReLU(),
        shared,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 3),
    )
    first = Conv3x3(2, dtype=np.float32)
    network = Sequential([first, conv, ReLU(), conv, GlobalAveragePool(), Softmax(2, 3, dtype=np.float32)])
    from_torch(network, module.state_dict())
    images = rng.normal(size=(4, 6, 7)).astype(np.float32)
    expected = torch.softmax(module(torch.from_numpy(images[:, np.newaxis])), 1).detach().numpy()
    np.testing.assert_allclose(network.predict(images), expected, atol=CLOSE, rtol=0)


def test_batch_norm_keeps_its_running_statistics(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)
    )
    images = rng.normal(size=(30, 6, 7)).astype(np.float32)
    module(torch.from_numpy(images[:, np.newaxis]) * 3)  # moves the running statistics
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([0.5, 1.5, 2]))
        module[1].bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    layers = [Conv3x3(3, 1, dtype=np.float32), BatchNorm(3, dtype=np.float32), GlobalAveragePool()]
    network = Sequential([*layers, Softmax(3, 4, dtype=np.float32)])
    from_torch(network, module.state_dict())
    expected = torch.softmax(module.eval()(torch.from_numpy(images[:, np.newaxis])), 1).detach().numpy()
    np.testing.assert_allclose(network.predict(images), expected, atol=CLOSE, rtol=0)
    arrays = to_torch(network, module.state_dict())
    module.load_state_dict({name: torch.from_numpy(values) for name, values in arrays.items()})
    again = torch.softmax(module(torch.from_numpy(images[:, np.newaxis])), 1).detach().numpy()
    np.testing.assert_array_equal(again, expected)


def by_einsum(weights, images):
    """Compute the network from Keras's arrays, whose layouts are (3, 3, in, out) and (in, out)."""
    windows = np.lib.stride_tricks.sliding_window_view
    first, bias, second, dense, dense_bias, last, last_bias = weights
    values = np.einsum("nyxcij,ijcf->nyxf", windows(images, (3, 3), axis=(1, 2)), first) + bias
    values = np.pad(np.maximum(values, 0), ((0, 0), (1, 1), (1, 1), (0, 0)))
    values = np.einsum("nyxcij,ijcf->nyxf", windows(values, (3, 3), axis=(1, 2)), second)
    count, height, width, channels = values.shape
    values = values[:, : height // 2 * 2, : width // 2 * 2].reshape(count, height // 2, 2, width // 2, 2, channels)
    values = np.maximum(values.max(axis=(2, 4)).reshape(count, -1) @ dense + dense_bias, 0) @ last + last_bias
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def test_keras_s_arrays_are_in_keras_s_layout(images):
    network = convnet()
    np.testing.assert_allclose(network.predict(images), by_einsum(to_keras(network), images), atol=CLOSE, rtol=0)


def test_a_network_of_keras_takes_and_gives_the_parameters(images):
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    keras_layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((9, 12, 3)),
            keras_layers.Conv2D(4, 3, activation="relu"),
            keras_layers.Conv2D(5, 3, padding="same", use_bias=False),
            keras_layers.MaxPooling2D(),
            keras_layers.Flatten(),
            keras_layers.Dense(11, activation="relu"),
            keras_layers.Dense(6, activation="softmax"),
        ]
    )
    network, other = convnet(seed=1), convnet(seed=2)
    model.set_weights(to_keras(network))
    np.testing.assert_allclose(model.predict(images), network.predict(images), atol=CLOSE, rtol=0)
    from_keras(other, model.get_weights())
    assert bits(other) == bits(network)


NAMES = ["a.weight", "a.bias", "b.weight", "c.weight", "c.bias", "d.weight", "d.bias"]


def test_parameters_come_back_bit_for_bit(dtype):
    network, of_torch, of_keras = (convnet(dtype=dtype, seed=seed) for seed in (1, 2, 3))
    from_torch(of_torch, to_torch(network, NAMES))
    from_keras(of_keras, to_keras(network))
    assert bits(of_torch) == bits(of_keras) == bits(network)


@pytest.mark.parametrize("name", cnnx.models.__all__)
def test_presets_come_back_too(name):
    network, other = (getattr(cnnx.models, name)(rng=seed) for seed in (1, 2))
    count = len([values for layer in network.layers for values in (*layer.parameters(), *layer.buffers())])
    from_torch(other, to_torch(network, map(str, range(count))))
    assert bits(other) == bits(network)
    digits = sample()
    np.testing.assert_array_equal(other.predict(digits.test_images[:9]), network.predict(digits.test_images[:9]))


def test_arrays_are_copies():
    network = convnet()
    before = bits(network)
    for values in (*to_keras(network), *to_torch(network, NAMES).values()):
        values += 1
    assert bits(network) == before


def test_arrays_of_other_layers_are_refused_before_anything_changes():
    network = convnet()
    before = bits(network)
    arrays = to_torch(convnet(seed=2), NAMES)
    with pytest.raises(ValueError, match=r"expected 7 arrays, for layers\[0\]\.filters, .* got 6: \['a\.weight'"):
        from_torch(network, dict(list(arrays.items())[:6]))
    arrays["d.weight"] = arrays["d.weight"].T
    message = r"^d\.weight: expected floats of shape \(6, 11\), for layers\[6\]\.weights, got float32 \(11, 6\)$"
    with pytest.raises(ValueError, match=message):
        from_torch(network, arrays)
    with pytest.raises(ValueError, match=r"^weights\[0\]: expected floats of shape \(3, 3, 3, 4\), .* got int64"):
        from_keras(network, [np.zeros((3, 3, 3, 4), np.int64), *to_keras(network)[1:]])
    with pytest.raises(TypeError, match="state_dict: expected arrays by name, got list"):
        from_torch(network, to_keras(network))
    with pytest.raises(ValueError, match=r"names: expected 7, one for each of layers\[0\]\.filters, .*, got 2"):
        to_torch(network, ["a", "b"])
    assert bits(network) == before


def test_a_read_only_array_is_refused_before_anything_changes():
    network, other = convnet(seed=1), convnet(seed=2)
    before = bits(network)
    network.layers[6].weights.flags.writeable = False
    with pytest.raises(ValueError, match=r"^layers\[6\]\.weights: expected a writable array"):
        from_keras(network, to_keras(other))
    assert bits(network) == before


def test_a_network_of_unknown_size_is_refused():
    network = Sequential([Conv3x3(2), Softmax(8, 3)])
    with pytest.raises(ValueError, match="network: expected one that knows its image_shape"):
        to_torch(network, "abc")
