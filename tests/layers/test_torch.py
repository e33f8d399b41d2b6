"""Where PyTorch is installed: every layer and the optimizers, compiled or not, agree with it."""

import copy

import numpy as np
import pytest
from tolerances import assert_close
from twins import parameters, small_integers, uniform, with_equal_parameters

import cnnx
from cnnx import reference

torch = pytest.importorskip("torch")

STEPS = 50


def tensor(values):
    """Return a copy of `values` that PyTorch differentiates by."""
    return torch.tensor(values, requires_grad=True)


def channels_first(image):
    """Return an image (h, w, c) in PyTorch's layout, (1, c, h, w)."""
    return image.permute(2, 0, 1).unsqueeze(0)


def channels_last(images):
    return images.squeeze(0).permute(1, 2, 0)


def assert_layer_agrees(layer, function, input, rng, terms):
    """Compare the layer's output and all its gradients with those of `function(input, *parameters)` in PyTorch."""
    of_torch = [tensor(values) for values in (input, *parameters(layer).values())]
    expected = function(*of_torch)
    d_L_d_out = uniform(rng, tuple(expected.shape), input.dtype)
    expected.backward(torch.tensor(d_L_d_out))

    before = {name: values.copy() for name, values in parameters(layer).items()}
    assert_close(layer.forward(input), expected.detach().numpy(), terms)
    d_L_d_input = layer.backprop(d_L_d_out, *([1.0] if before else []))
    assert_close(d_L_d_input, of_torch[0].grad.numpy(), terms)
    for (name, values), theirs in zip(parameters(layer).items(), of_torch[1:], strict=True):
        assert_close(before[name] - values, theirs.grad.numpy(), terms)


def convolution(padding):
    def convolve(image, filters, biases=None):
        taps = filters.permute(0, 3, 1, 2)
        return channels_last(torch.nn.functional.conv2d(channels_first(image), taps, biases, padding=padding))

    return convolve


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [(3, 4, 1, 2), (7, 6, 3, 5), (9, 10, 8, 17), (13, 12, 5, 32)])
def test_convolution_agrees(layers, dtype, rng, size, padding, use_bias):
    height, width, channels, filters = size
    conv = layers.Conv3x3(filters, channels, padding=padding, use_bias=use_bias, dtype=dtype)
    with_equal_parameters(rng, conv)
    image = uniform(rng, (height, width, channels), dtype)
    assert_layer_agrees(conv, convolution(padding), image, rng, terms=9 * max(channels, filters) + height * width)


@pytest.mark.parametrize("draw", [uniform, small_integers])
@pytest.mark.parametrize("shape", [(2, 4, 3), (5, 7, 9), (6, 3, 17)])
def test_pooling_agrees_where_the_first_of_equals_wins(layers, dtype, rng, shape, draw):
    def pool(image):
        return channels_last(torch.nn.functional.max_pool2d(channels_first(image), 2))

    assert_layer_agrees(layers.MaxPool2(ties="first"), pool, draw(rng, shape, dtype), rng, terms=1)


@pytest.mark.parametrize("draw", [uniform, small_integers])
@pytest.mark.parametrize("shape", [(17,), (5, 3), (3, 4, 7)])
def test_relu_agrees(layers, dtype, rng, shape, draw):
    assert_layer_agrees(layers.ReLU(), torch.relu, draw(rng, shape, dtype), rng, terms=1)


BATCH_NORM_SHAPES = [(3,), (17,), (5, 3, 9), (4, 7, 32)]


def batch_norm_twins(layers, dtype, rng, channels):
    """Return a layer and PyTorch's, with the same random arrays."""
    norm = layers.BatchNorm(channels, momentum=0.8, eps=1e-3, dtype=dtype)
    with_equal_parameters(rng, norm)
    theirs = torch.nn.BatchNorm1d(channels, momentum=1 - 0.8, eps=1e-3, dtype=getattr(torch, np.dtype(dtype).name))
    with torch.no_grad():
        for name, array in (("weight", norm.scale), ("bias", norm.offset)):
            getattr(theirs, name).copy_(torch.tensor(array))
        theirs.running_mean.copy_(torch.tensor(norm.running_mean))
        theirs.running_var.copy_(torch.tensor(norm.running_var))
    return norm, theirs


@pytest.mark.parametrize("shape", BATCH_NORM_SHAPES)
def test_batch_norm_agrees_where_it_uses_running_statistics(layers, dtype, rng, shape):
    norm, theirs = batch_norm_twins(layers, dtype, rng, shape[-1])
    theirs.eval()

    def normalise(input, scale, offset):
        flat = input.reshape(-1, shape[-1])
        running = theirs.running_mean, theirs.running_var
        return torch.nn.functional.batch_norm(flat, *running, scale, offset, eps=1e-3).reshape(shape)

    assert_layer_agrees(norm, normalise, uniform(rng, shape, dtype), rng, terms=200)


@pytest.mark.parametrize("shape", BATCH_NORM_SHAPES)
def test_batch_norm_agrees_on_a_batch(dtype, rng, shape):
    norm, theirs = batch_norm_twins(reference, dtype, rng, shape[-1])
    inputs, d_L_d_outs = uniform(rng, (6, *shape), dtype), uniform(rng, (6, *shape), dtype)
    given = tensor(inputs)
    expected = theirs(given.reshape(-1, shape[-1])).reshape(inputs.shape)
    expected.backward(torch.tensor(d_L_d_outs))
    outputs, mean, variance = reference.batch_norm_batch_forward(inputs, norm.scale, norm.offset, norm.eps)
    assert_close(outputs, expected.detach().numpy(), terms=200)
    found = reference.batch_norm_batch_backward(d_L_d_outs, inputs, norm.scale, norm.eps)
    for gradient, of_theirs in zip(found, (given, theirs.weight, theirs.bias), strict=True):
        assert_close(gradient, of_theirs.grad.numpy(), terms=400)
    running, count = (norm.running_mean, norm.running_var), inputs[..., 0].size
    moved = reference.running_statistics(*running, mean, variance, count, norm.momentum)
    for ours, name in zip(moved, ("running_mean", "running_var"), strict=True):
        assert_close(ours.astype(dtype), getattr(theirs, name).numpy(), terms=50)


def test_a_network_with_batch_norm_trains_as_pytorch_s(dtype, rng):
    """50 steps of gradient descent on a convolution, a BatchNorm and a softmax, and then a prediction."""
    norm, theirs = batch_norm_twins(cnnx, dtype, rng, 6)
    conv, soft = cnnx.Conv3x3(6, dtype=dtype, rng=rng), cnnx.Softmax(4 * 5 * 6, 3, dtype=dtype, rng=rng)
    network = cnnx.Sequential([conv, norm, cnnx.ReLU(), soft])
    images, labels = uniform(rng, (STEPS * 8, 6, 7), dtype), rng.integers(0, 3, STEPS * 8)
    filters, weights, biases = tensor(conv.filters), tensor(soft.weights), tensor(soft.biases)
    optimizer = torch.optim.SGD([filters, weights, biases, *theirs.parameters()], lr=0.05)

    def totals(batch):
        maps = torch.nn.functional.conv2d(torch.tensor(batch)[:, None], filters[:, None]).permute(0, 2, 3, 1)
        values = torch.relu(theirs(maps.reshape(-1, 6)).reshape(maps.shape))
        return values.reshape(len(batch), -1) @ weights + biases

    losses = []
    for start in range(0, len(images), 8):
        some = slice(start, start + 8)
        loss = torch.nn.functional.cross_entropy(totals(images[some]), torch.tensor(labels[some]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    history = network.fit(images, labels, epochs=1, learn_rate=0.05, batch_size=8, shuffle=False)
    terms = 100 * STEPS
    assert_close(history.losses.reshape(-1, 8).mean(axis=1).astype(dtype), np.array(losses, dtype), terms)
    assert_close(norm.running_mean, theirs.running_mean.numpy(), terms)
    assert_close(norm.running_var, theirs.running_var.numpy(), terms)
    theirs.eval()
    expected = torch.softmax(totals(images[:20]), 1).detach().numpy()
    assert_close(network.predict(images[:20]), expected, terms)


@pytest.mark.parametrize(("input_len", "nodes"), [(1, 3), (15, 10), (33, 17)])
def test_dense_agrees(layers, dtype, rng, input_len, nodes):
    dense = layers.Dense(input_len, nodes, dtype=dtype)
    with_equal_parameters(rng, dense)
    assert_layer_agrees(dense, lambda x, w, b: x @ w + b, uniform(rng, input_len, dtype), rng, input_len + nodes)


@pytest.mark.parametrize(("input_len", "nodes"), [(1, 3), (15, 10), (33, 17)])
def test_softmax_agrees(layers, dtype, rng, input_len, nodes):
    soft = layers.Softmax(input_len, nodes, dtype=dtype)
    with_equal_parameters(rng, soft)
    terms = 2 * input_len + 4 * nodes
    assert_layer_agrees(soft, lambda x, w, b: torch.softmax(x @ w + b, 0), uniform(rng, input_len, dtype), rng, terms)


def test_cross_entropy_agrees(layers, dtype, rng):
    out = rng.uniform(0.1, 1, 9).astype(dtype)
    theirs = tensor(out)
    expected = torch.nn.functional.nll_loss(torch.log(theirs), torch.tensor(5))
    expected.backward()
    loss, d_L_d_out = layers.cross_entropy(out, 5)
    assert_close(np.asarray(loss, dtype), expected.detach().numpy(), terms=2)
    assert_close(d_L_d_out, theirs.grad.numpy(), terms=1, largest=10)


def assert_mean_agrees(network, images, labels, dtype, loss_of_torch, **options):
    """Compare the mean loss and the gradient of a dense network with those of `loss_of_torch(totals)`."""
    loss, _ = network.gradients(images, labels, **options)
    weights, biases = (tensor(values.copy()) for values in network.layers[0].parameters().values())
    expected = loss_of_torch(torch.tensor(images.reshape(len(images), -1)) @ weights + biases)
    expected.backward()
    theirs = np.concatenate([weights.grad.numpy().ravel(), biases.grad.numpy()])
    assert_close(np.asarray(loss, dtype), expected.detach().numpy(), terms=200)
    assert_close(network.gradient, theirs, terms=200)


def dense_problem(kind, rng, dtype):
    layer = kind(12, 5, dtype=dtype)
    with_equal_parameters(rng, layer)
    return cnnx.Sequential([layer]), uniform(rng, (9, 3, 4), dtype)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("is_soft", [False, True])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_soft_labels_smoothing_and_weights_agree(dtype, rng, label_smoothing, is_soft, is_weighted):
    network, images = dense_problem(cnnx.Softmax, rng, dtype)
    labels = rng.dirichlet(np.ones(5), 9).astype(dtype) if is_soft else rng.integers(0, 5, 9)
    weights = rng.uniform(0, 2, 9).astype(dtype) if is_weighted else np.ones(9, dtype)

    def loss_of(totals):
        losses = torch.nn.functional.cross_entropy(
            totals, torch.tensor(labels), reduction="none", label_smoothing=label_smoothing
        )
        return (losses * torch.tensor(weights)).mean()

    options = {"label_smoothing": label_smoothing, "sample_weight": weights if is_weighted else None}
    assert_mean_agrees(network, images, labels, dtype, loss_of, **options)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_mean_squared_error_agrees(dtype, rng, is_weighted):
    network, images = dense_problem(cnnx.Dense, rng, dtype)
    targets = uniform(rng, (9, 5), dtype)
    weights = rng.uniform(0, 2, 9).astype(dtype) if is_weighted else np.ones(9, dtype)

    def loss_of(outputs):
        losses = torch.nn.functional.mse_loss(outputs, torch.tensor(targets), reduction="none").mean(dim=1)
        return (losses * torch.tensor(weights)).mean()

    options = {"loss": "mean_squared_error", "sample_weight": weights if is_weighted else None}
    assert_mean_agrees(network, images, targets, dtype, loss_of, **options)


def test_class_weights_agree(dtype, rng):
    """PyTorch divides by the sum of the weights, and cnnx by the number of samples."""
    network, images = dense_problem(cnnx.Softmax, rng, dtype)
    labels, of_classes = rng.integers(0, 5, 9), rng.uniform(0, 2, 5).astype(dtype)
    weights, biases = (tensor(values.copy()) for values in network.layers[0].parameters().values())
    before = network.parameters.copy()
    history = network.fit(
        images, labels, epochs=1, batch_size=9, learn_rate=1.0, class_weight=of_classes, shuffle=False
    )
    totals = torch.tensor(images.reshape(9, -1)) @ weights + biases
    expected = torch.nn.functional.cross_entropy(totals, torch.tensor(labels), torch.tensor(of_classes))
    (expected * of_classes[labels].sum() / 9).backward()
    theirs = np.concatenate([weights.grad.numpy().ravel(), biases.grad.numpy()])
    assert_close(before - network.parameters, theirs, terms=200)
    assert history.losses.shape == (9,)


def test_the_losses_of_one_sample_agree(layers, dtype, rng):
    out, target = uniform(rng, 7, dtype), uniform(rng, 7, dtype)
    theirs = tensor(out)
    expected = torch.nn.functional.mse_loss(theirs, torch.tensor(target))
    expected.backward()
    loss, d_L_d_out = layers.mean_squared_error(out, target)
    assert_close(np.asarray(loss, dtype), expected.detach().numpy(), terms=20)
    assert_close(d_L_d_out, theirs.grad.numpy(), terms=4)


def compiled_steps(optimizer, dtype):
    """Return 33 parameters of a network, and an update that takes the optimizer's steps on them."""
    network = cnnx.Sequential([cnnx.Softmax(10, 3, dtype=dtype)])
    parameters = network.parameters
    network.gradients(np.ones((1, 2, 5), dtype), np.zeros(1, int))

    def update(_, gradient, __):
        network.gradient[...] = gradient
        network.apply(optimizer)

    return parameters, update


def assert_steps_agree(optimizer_of, parameters, update, rng, dtype):
    """Take STEPS steps on random gradients either way; `update(parameters, gradient, step)` counts from 1."""
    parameters[...] = uniform(rng, 33, dtype)
    theirs = tensor(parameters)
    optimizer = optimizer_of([theirs])
    for step in range(1, STEPS + 1):
        gradient = uniform(rng, 33, dtype)
        theirs.grad = torch.tensor(gradient)
        optimizer.step()
        update(parameters, gradient, step)
        assert_close(parameters, theirs.detach().numpy(), terms=4 * step)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.5, True)])
def test_sgd_agrees(dtype, rng, momentum, nesterov, weight_decay):
    settings = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    velocity = np.zeros(33, dtype)

    def plain(values, gradient, _):
        reference.sgd_update(values, velocity, gradient, 0.05, **settings)

    for parameters_and_update in ((np.empty(33, dtype), plain), compiled_steps(cnnx.SGD(0.05, **settings), dtype)):
        assert_steps_agree(
            lambda values: torch.optim.SGD(values, lr=0.05, **settings), *parameters_and_update, rng, dtype
        )


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(("betas", "epsilon"), [((0.9, 0.999), 1e-8), ((0.8, 0.95), 1e-3), ((0.0, 0.5), 1e-8)])
def test_adam_agrees(dtype, rng, betas, epsilon, weight_decay):
    settings = {"betas": betas, "eps": epsilon, "weight_decay": weight_decay}
    moments = np.zeros(33, dtype), np.zeros(33, dtype)

    def plain(values, gradient, step):
        reference.adam_update(values, *moments, gradient, 0.01, step, *betas, epsilon, weight_decay)

    for parameters_and_update in ((np.empty(33, dtype), plain), compiled_steps(cnnx.Adam(0.01, **settings), dtype)):
        assert_steps_agree(
            lambda values: torch.optim.AdamW(values, lr=0.01, **settings), *parameters_and_update, rng, dtype
        )


def test_an_affine_map_agrees_with_grid_sample(dtype, rng):
    image = uniform(rng, (6, 9), dtype)
    matrix = np.array([[0.8, -0.3, 1.7], [0.25, 1.1, -2.3]])
    v, u = np.tensordot(matrix[:, :2], np.indices((6, 9)), axes=1) + matrix[:, 2, np.newaxis, np.newaxis]
    grid = torch.tensor(np.stack([2 * u / 8 - 1, 2 * v / 5 - 1], axis=-1)[np.newaxis].astype(dtype))
    expected = torch.nn.functional.grid_sample(torch.tensor(image)[None, None], grid, align_corners=True)
    assert_close(reference.affine(image, matrix, 0.0), expected.numpy()[0, 0], terms=50)


def torch_network(layers, steps_of):
    """Return a function of one image (6, 7) in PyTorch, and its parameters, a tensor for each of ours.

    `layers` are (h, w, c) convolutions, dense layers and ReLUs. A layer that is listed twice has its tensors once.
    """
    tensors = {id(layer): [tensor(values) for values in parameters(layer).values()] for layer in layers}
    for layer in layers:
        for values in tensors[id(layer)]:
            values.requires_grad_(layer.trainable)

    def forward(image):
        out = torch.tensor(image)
        for layer in layers:
            of_layer = tensors[id(layer)]
            if layer.kind == "Conv3x3":
                out = convolution(layer.padding)(out if out.ndim == 3 else out.unsqueeze(-1), *of_layer)
            elif of_layer:
                out = out.flatten() @ of_layer[0] + of_layer[1]
            else:
                out = torch.relu(out)
        return out

    distinct = [values for of_layer in tensors.values() for values in of_layer]
    return forward, distinct, steps_of([values for values in distinct if values.requires_grad])


TIED = cnnx.Conv3x3(3, 3, padding="same", rng=4), cnnx.Dense(9, 9, rng=5)
NETWORKS = {
    "tied": lambda conv, dense: [*begin(), conv, cnnx.ReLU(), conv, *middle(), dense, cnnx.ReLU(), dense, *end()],
    "frozen first": lambda conv, dense: [frozen(begin()[0]), frozen(conv), cnnx.ReLU(), *middle(), dense, *end()],
    "frozen last": lambda conv, dense: [*begin(), conv, cnnx.ReLU(), *middle(), dense, frozen(end()[0])],
    "frozen between": lambda conv, dense: [*begin(), frozen(conv), cnnx.ReLU(), *middle(), frozen(dense), *end()],
    "tied and frozen": lambda conv, dense: [*begin(), frozen(conv), cnnx.ReLU(), conv, *middle(), dense, dense, *end()],
}


def begin():
    return [cnnx.Conv3x3(3, 1, padding="same", rng=1)]


def middle():
    return [cnnx.Dense(6 * 7 * 3, 9, rng=2)]


def end():
    return [cnnx.Softmax(9, 5, rng=3)]


def frozen(layer):
    layer.trainable = False
    return layer


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("kind", ["plain", "momentum", "adam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_tied_and_frozen_layers_train_alike(rng, name, kind, batch_size):
    optimizer, steps_of = {
        "plain": (cnnx.SGD(0.02), lambda values: torch.optim.SGD(values, lr=0.02)),
        "momentum": (
            cnnx.SGD(0.01, momentum=0.8, weight_decay=0.1),
            lambda values: torch.optim.SGD(values, lr=0.01, momentum=0.8, weight_decay=0.1),
        ),
        "adam": (
            cnnx.Adam(0.01, eps=0.01, weight_decay=0.1),
            lambda values: torch.optim.AdamW(values, lr=0.01, eps=0.01, weight_decay=0.1),
        ),
    }[kind]
    layers = NETWORKS[name](*copy.deepcopy(TIED))
    forward, theirs, steps = torch_network(layers, steps_of)
    network = cnnx.Sequential(layers)
    images, labels = uniform(rng, (STEPS * batch_size, 6, 7)), rng.integers(0, 5, STEPS * batch_size)
    before = network.parameters.copy()
    for start in range(0, len(images), batch_size):
        batch = slice(start, start + batch_size)
        steps.zero_grad()
        totals = torch.stack([forward(image) for image in images[batch]])
        torch.nn.functional.cross_entropy(totals, torch.tensor(labels[batch])).backward()
        steps.step()
    network.fit(images, labels, epochs=1, batch_size=batch_size, optimizer=optimizer, shuffle=False)
    expected = torch.cat([values.detach().flatten() for values in theirs]).numpy()
    assert np.abs(expected - before).max() > 0.01
    assert_close(network.parameters, expected, terms=100 * STEPS)
