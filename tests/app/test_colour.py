"""Images of several channels: in every form and method, and held against the layers, the reference and PyTorch."""

import copy

import numpy as np
import pytest
from networks import as_floats, bits, forward_by_hand
from reference_loop import OPTIMIZERS, assert_fit_follows
from stacks import problem, stack
from tolerances import assert_close, assert_is_derivative, assert_same_bits, central_difference

import cnnx
from cnnx import Conv3x3, GlobalAveragePool, MaxPool2, ReLU, Sequential, Softmax

SIZE = (11, 14, 3)
NAMES = [
    "conv:6 relu pool:first conv:9 relu pool:first dense:7 relu softmax:5",
    "same:5 pool relu conv:8 softmax:4",
    "unbiased:7 pool softmax:5",
    "pool conv:4 relu average softmax:3",
    "relu dense:9 relu softmax:3",
    "conv:4 average softmax:4",
    "softmax:3",
]
STACKS = {
    "as they are": lambda images: images,
    "flattened": lambda images: images.reshape(len(images), -1),
    "in Fortran order": np.asfortranarray,
    "sliced from four channels": lambda images: np.concatenate([images, images[..., :1]], axis=3)[..., :3],
    "channels moved last": lambda images: np.moveaxis(np.ascontiguousarray(np.moveaxis(images, -1, 1)), 1, -1),
}
SINGLE = {"as it is": lambda image: image, "flattened": lambda image: image.reshape(-1)}


def network_of(names, dtype=np.float64, size=SIZE):
    network = Sequential(stack(cnnx, names, dtype, size))
    network.image_shape = size
    return network


@pytest.mark.parametrize("channels", [2, 3, 4, 9])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("names", [NAMES[0], NAMES[1]])
def test_training_is_that_of_the_reference(dtype, rng, names, optimizer, channels):
    images, labels = problem(rng, names, 11, image_shape=(11, 14, channels))
    assert_fit_follows(names, dtype, images, labels, 4, optimizer)


@pytest.mark.parametrize("kind", ["bytes", "floats", "blank"])
@pytest.mark.parametrize("names", NAMES)
def test_steps_and_predictions_are_those_of_the_layers(dtype, rng, names, kind):
    images, labels = problem(rng, names, 6, kind, SIZE)
    network = network_of(names, dtype)
    layers = copy.deepcopy(network.layers)
    predicted = np.array([forward_by_hand(layers, image) for image in as_floats(images, dtype)])
    assert_close(network.predict(images), predicted, terms=300)
    assert_close(network.activations(images[2])[f"{len(layers) - 1} Softmax"], predicted[2], terms=300)
    network.fit(images, labels, epochs=1, learn_rate=0.05, shuffle=False)
    for image, label in zip(as_floats(images, dtype), labels, strict=True):
        _, gradient = cnnx.cross_entropy(forward_by_hand(layers, image), label)
        for layer in reversed(layers):
            gradient = layer.backprop(gradient, *([0.05] if layer.parameters() else []))
    for trained, stepped in zip(network.layers, layers, strict=True):
        for name, values in stepped.parameters().items():
            assert_close(trained.parameters()[name], values, terms=600)


@pytest.mark.parametrize("names", NAMES)
def test_the_gradient_is_the_derivative(rng, names):
    images, labels = problem(rng, names, 5, "floats", SIZE)
    network = network_of(names)
    network.gradients(images, labels)
    some = rng.choice(network.parameters.size, min(40, network.parameters.size), replace=False)
    analytic = network.gradient[some].copy()
    numeric = np.empty(len(some))
    for place, index in enumerate(some):
        one = network.parameters[index : index + 1]
        numeric[place] = central_difference(lambda: network.evaluate(images, labels)[0], one)[0]
    assert_is_derivative(analytic, numeric, terms=10)
    assert np.abs(analytic).max() > 1e-3


@pytest.mark.parametrize("kind", ["bytes", "floats"])
@pytest.mark.parametrize("form", STACKS)
def test_every_method_takes_every_form_of_many_images(dtype, rng, form, kind):
    images, labels = problem(rng, NAMES[0], 12, kind, SIZE)
    network, twin = network_of(NAMES[0], dtype), network_of(NAMES[0], dtype)
    given = STACKS[form](images)
    for one, pixels in ((network, given), (twin, images)):
        one.fit(pixels, labels, epochs=2, learn_rate=0.1, shuffle=False, validation=(pixels[:5], labels[:5]))
    assert bits(network) == bits(twin)
    assert_same_bits(network.history.validation, twin.history.validation)
    assert network.evaluate(given, labels) == twin.evaluate(images, labels)
    assert network.gradients(given, labels) == twin.gradients(images, labels)
    assert_same_bits(network.gradient, twin.gradient)
    assert_same_bits(network.predict(given), twin.predict(images))
    assert network.predict(given[:0]).shape == (0, 5)
    assert network.image_shape == SIZE


@pytest.mark.parametrize("form", SINGLE)
def test_every_method_takes_every_form_of_one_image(rng, form):
    images, labels = problem(rng, NAMES[0], 1, "bytes", SIZE)
    network, twin = network_of(NAMES[0]), network_of(NAMES[0])
    given = SINGLE[form](images[0])
    for one, pixels in ((network, given), (twin, images)):
        one.fit(pixels, labels, epochs=2, learn_rate=0.1, validation=(pixels, labels))
    assert bits(network) == bits(twin)
    assert network.evaluate(given, labels) == twin.evaluate(images, labels)
    assert network.gradients(given, labels) == twin.gradients(images, labels)
    assert_same_bits(network.predict(given), twin.predict(images)[0])
    assert_same_bits(network.activations(given)["8 Softmax"], twin.activations(images[0])["8 Softmax"])


def test_bytes_are_read_as_the_floats_that_they_stand_for(dtype, rng):
    images, labels = problem(rng, NAMES[0], 12, "bytes", SIZE)
    results = []
    for pixels in (images, as_floats(images, dtype)):
        network = network_of(NAMES[0], dtype)
        network.fit(pixels, labels, epochs=2, batch_size=5, learn_rate=0.1, shuffle=False)
        results.append(bits(network))
    assert results[0] == results[1]


@pytest.mark.parametrize("names", NAMES)
def test_threads_change_no_bit(rng, names):
    images, labels = problem(rng, names, 64, "bytes", SIZE)
    results = []
    for threads in (1, 2, 5):
        network = network_of(names, np.float32)
        augment = cnnx.RandomAffine(rotation=10, shift=2)
        network.fit(images, labels, epochs=2, batch_size=32, learn_rate=0.1, rng=1, augment=augment, threads=threads)
        results.append(bits(network) + network.predict(images, threads=threads).tobytes())
    assert results[0] == results[1] == results[2]


def test_fusion_changes_nothing_but_rounding(dtype, rng):
    for names in NAMES:
        images, labels = problem(rng, names, 8, "floats", SIZE)
        network, plain = network_of(names, dtype), network_of(names, dtype)
        plain._fuse = False
        for one in (network, plain):
            one.fit(images, labels, epochs=1, batch_size=4, learn_rate=0.1, shuffle=False)
        assert_close(network.parameters, plain.parameters, terms=600)


@pytest.mark.parametrize("network", [network_of(NAMES[0]), network_of(NAMES[3])])
def test_a_saved_network_knows_its_channels(tmp_path, rng, network):
    images = rng.integers(0, 256, (9, *SIZE), np.uint8)
    network.fit(images, rng.integers(0, 3, 9), epochs=1, learn_rate=0.01)
    network.save(tmp_path / "network.npz")
    loaded = cnnx.load(tmp_path / "network.npz")
    assert loaded.image_shape == SIZE
    for one in (loaded, copy.deepcopy(network)):
        assert_same_bits(one.predict(images), network.predict(images))
        assert_same_bits(one.predict(images[0]), network.predict(images[0]))


def test_a_network_says_which_images_it_is_for():
    network = Sequential([Conv3x3(8, 3), MaxPool2(), Softmax(15 * 15 * 8, 10)])
    assert "for images of (32, 32, 3)" in repr(network)
    assert "(30, 30, 8)" in network.summary()
    assert "(30, 30, 8)" in network.summary((32, 32, 3))
    assert "(28, 28, 1)" in Sequential([ReLU(), Conv3x3(1, 1, padding="same"), Softmax(784, 10)]).summary((28, 28, 1))


def test_three_axes_are_one_colour_image_or_many_grey_ones(rng):
    colour, grey = network_of(NAMES[0]), network_of(NAMES[0], size=(11, 14))
    assert colour.predict(rng.random(SIZE)).shape == (5,)
    assert colour.predict(rng.random((3, *SIZE))).shape == (3, 5)
    assert grey.predict(rng.random((3, 11, 14))).shape == (3, 5)
    any_size = Sequential([Conv3x3(4, 3), GlobalAveragePool(), Softmax(4, 2)])
    assert any_size.predict(rng.random((9, 3, 3))).shape == (2,)
    assert any_size.predict(rng.random((9, 9, 3, 3))).shape == (9, 2)
    # Layers that take both: they are many images, until a training has said how large one is.
    either = Sequential([Softmax(12, 2)])
    assert either.predict(rng.random((5, 3, 4))).shape == (5, 2)
    assert either.predict(rng.random((2, 2, 3))).shape == (2,)
    either.image_shape = (2, 2, 3)
    assert either.predict(rng.random((4, 2, 2, 3))).shape == (4, 2)
    assert either.predict(rng.random((4, 12))).shape == (4, 2)


def test_a_pooling_first_keeps_the_axis_that_it_needs(rng):
    network = Sequential([MaxPool2(), Conv3x3(4, 1), Softmax(3 * 5 * 4, 3, rng=rng)])
    images, labels = rng.integers(0, 256, (6, 10, 14, 1), np.uint8), rng.integers(0, 3, 6)
    network.fit(images, labels, epochs=1, learn_rate=0.01)
    expected = [forward_by_hand(network.layers, image) for image in images / 255 - 0.5]
    for _ in range(2):
        assert_close(network.predict(images), np.array(expected), terms=300)
        assert_close(network.predict(images[0]), expected[0], terms=300)


GREY = r" \(images\[\.\.\., np\.newaxis\]\.repeat\(3, axis=-1\) has the same grey in each channel\)$"
MISFITS = {
    (12, 11, 14): GREY,
    (11, 14): GREY,
    (12, 11, 14, 1): r" \(images\.repeat\(3, axis=-1\) has the same grey in each channel\)$",
    (12, 11, 14, 4): r" \(images\[\.\.\., :3\] has the first 3 channels\)$",
    (12, 11, 14, 2): "$",
    (12, 3, 11, 14): r" \(np\.moveaxis\(images, -3, -1\) puts the channels last\)$",
    (3, 11, 14): r" \(np\.moveaxis\(images, -3, -1\) puts the channels last\)$",
    (12, 14, 11, 3): "$",
    (12, 461): "$",
    (12, 1, 462): r" \(for flattened images use images\.reshape\(-1, 11, 14, 3\)\)$",
    (1, 12, 11, 14, 3): "$",
}


@pytest.mark.parametrize("shape", MISFITS)
def test_images_of_another_shape_are_refused_by_every_method(rng, shape):
    network = network_of(NAMES[0])
    given, labels = np.zeros(shape, np.uint8), rng.integers(0, 4, 1 if len(shape) == 2 else shape[0])
    before, good = bits(network), (np.zeros((2, *SIZE), np.uint8), np.zeros(2, int))
    message = r"images: expected shape \(n, 11, 14, 3\), got \(" + ", ".join(map(str, shape)) + r"\)" + MISFITS[shape]
    for call in (
        lambda: network.fit(given, labels, epochs=1, learn_rate=0.1),
        lambda: network.evaluate(given, labels),
        lambda: network.gradients(given, labels),
        lambda: network.predict(given),
    ):
        with pytest.raises(ValueError, match="^" + message):
            call()
    one_image = message if len(shape) == 2 and shape[0] == 11 else r"image: expected one image, got shape|" + message
    with pytest.raises(ValueError, match=f"^({one_image})"):
        network.activations(given)
    with pytest.raises(ValueError, match="^validation: " + message):
        network.fit(*good, epochs=1, learn_rate=0.1, validation=(given, labels))
    assert bits(network) == before


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([Conv3x3(4), MaxPool2(), Softmax(676, 3)], (2, 28, 28, 3), r"\(n, 28, 28\), .*in_channels=3 reads colour"),
        ([Conv3x3(4, 1), GlobalAveragePool(), Softmax(4, 3)], (2, 9, 8, 3), r"\(n, height, width\), .*in_channels=3"),
        ([Conv3x3(4, 3), GlobalAveragePool(), Softmax(4, 3)], (2, 9, 8), r"\(n, height, width, 3\), .*repeat\(3"),
        ([Conv3x3(4, 3), GlobalAveragePool(), Softmax(4, 3)], (2, 9, 8, 4), r"\(n, height, width, 3\), .*\.\., :3\]"),
        ([Conv3x3(4, 3), MaxPool2(), Softmax(900, 3)], (2, 28, 28, 3), r"\(n, 32, 32, 3\), got \(2, 28, 28, 3\)"),
        ([Conv3x3(4, 3), MaxPool2(), Softmax(900, 3)], (12,), r"\(n, 32, 32, 3\), got \(12,\)"),
        ([Conv3x3(4, 3), MaxPool2(), Softmax(900, 3)], (0, 32, 32, 3), r"\(n, height, width, 3\), n at least 1"),
    ],
)
def test_a_network_that_has_seen_no_image_says_what_it_reads(layers, shape, message):
    with pytest.raises(ValueError, match=r"^images: expected shape " + message):
        Sequential(layers).gradients(np.zeros(shape), np.zeros(shape[0], int))


def test_a_pixel_that_is_not_finite_is_refused_with_its_place(rng):
    images, labels = problem(rng, NAMES[0], 9, "floats", SIZE)
    images[7, 3, 5, 2] = np.nan
    with pytest.raises(ValueError, match=r"^images: expected finite pixels, got nan at images\[7, 3, 5, 2\]$"):
        network_of(NAMES[0]).fit(images, labels, epochs=1, learn_rate=0.1)


def test_one_colour_image_has_one_label(rng):
    message = (
        r"^images: expected shape \(n, height, width, 3\) beside labels of shape \(7,\), got .*, which is one image"
    )
    with pytest.raises(ValueError, match=message):
        network_of(NAMES[0]).evaluate(np.zeros(SIZE, np.uint8), rng.integers(0, 4, 7))


def test_pytorch_trains_the_same_colour_network(rng):
    torch = pytest.importorskip("torch")
    images, labels = problem(rng, "softmax:5", 40, "bytes", SIZE)
    conv, more = Conv3x3(6, 3, rng=rng), Conv3x3(8, 6, padding="same", rng=rng)
    soft = Softmax(2 * 3 * 8, 5, rng=rng)
    network = Sequential([conv, ReLU(), MaxPool2(ties="first"), more, ReLU(), MaxPool2(ties="first"), soft])
    soft = network.layers[-1]
    theirs = [
        torch.tensor(array, requires_grad=True)
        for layer in (conv, more, soft)
        for array in (layer.parameters().values())
    ]

    def totals(batch):
        first, first_biases, second, second_biases, weights, biases = theirs
        for filters, each, padding in ((first, first_biases, 0), (second, second_biases, 1)):
            batch = torch.conv2d(batch, filters.permute(0, 3, 1, 2), each, padding=padding)
            batch = torch.max_pool2d(torch.relu(batch), 2)
        return batch.permute(0, 2, 3, 1).flatten(1) @ weights + biases

    optimizer = torch.optim.SGD(theirs, 0.1, momentum=0.9)
    channels_first = torch.tensor(np.moveaxis(images / 255 - 0.5, -1, 1))
    for start in range(0, 40, 8):
        batch = slice(start, start + 8)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(totals(channels_first[batch]), torch.tensor(labels[batch])).backward()
        optimizer.step()
    network.fit(images, labels, epochs=1, batch_size=8, optimizer=cnnx.SGD(0.1, momentum=0.9), shuffle=False)
    flat = np.concatenate([each.detach().numpy().ravel() for each in theirs])
    assert_close(network.parameters, flat, terms=600)
