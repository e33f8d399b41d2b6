"""The training loop, written on `cnnx.reference`, and the optimizers to hold it against."""

import copy

import numpy as np
from networks import as_floats
from stacks import flat_parameters, stack
from tolerances import assert_close
from twins import parameters

import cnnx
from cnnx import Sequential, reference

STEPS = 6
LEARN_RATE = 0.1  # times STEPS below 1: the roundings of all steps come to less than those of one whole step
TERMS = 300  # in a sum, and in the sums that it is made of
ADAM = {"betas": (0.8, 0.95), "eps": 0.02, "weight_decay": 0.1}  # eps far above what rounding leaves of a zero
OPTIMIZERS = {
    "plain": (cnnx.SGD, {}),
    "weight decay": (cnnx.SGD, {"weight_decay": 0.2}),
    "momentum": (cnnx.SGD, {"momentum": 0.8, "weight_decay": 0.05}),
    "nesterov": (cnnx.SGD, {"momentum": 0.7, "nesterov": True}),
    "adam": (cnnx.Adam, ADAM),
}


def backward(layer, d_L_d_out):
    """Return the gradient of a reference layer's input, and those of its parameters."""
    if isinstance(layer, reference.Conv3x3):
        d_L_d_input, *gradients = reference.conv3x3_backward(d_L_d_out, layer.last_input, layer.filters, layer.padding)
        return d_L_d_input, gradients if layer.biases is not None else gradients[:1]
    if isinstance(layer, reference.Dense):
        d_L_d_input, *gradients = reference.dense_backward(d_L_d_out, layer.last_input, layer.weights)
        return d_L_d_input.reshape(layer.last_input_shape), gradients
    if isinstance(layer, reference.Softmax):
        remembered = layer.last_input, layer.weights, layer.last_totals
        d_L_d_input, *gradients = reference.softmax_backward(d_L_d_out, *remembered)
        return d_L_d_input.reshape(layer.last_input_shape), gradients
    return layer.backprop(d_L_d_out), []


def mean_gradient(layers, images, labels, loss_of=reference.cross_entropy, weights=None):
    """Return the batch's mean gradient as one flat array, every loss, and which labels were found.

    `loss_of(out, label)` returns the loss and its gradient, and `weights` multiply both.
    """
    total, losses, correct = 0, [], []
    for image, label, weight in zip(images, labels, np.ones(len(images)) if weights is None else weights, strict=True):
        out = image
        for layer in layers:
            out = layer.forward(out)
        loss, gradient = loss_of(out, label)
        losses.append(weight * loss)
        correct.append(np.argmax(out) == (label if np.ndim(label) == 0 else np.argmax(label)))
        of_layers = []
        for layer in reversed(layers):
            gradient, of_parameters = backward(layer, gradient)
            of_layers.insert(0, of_parameters)
        total = total + float(weight) * np.concatenate([array.ravel() for arrays in of_layers for array in arrays])
    return total / len(images), np.array(losses), np.array(correct)


def train(layers, images, labels, batch_size, update, loss_of=reference.cross_entropy, weights=None):
    """Take a step a batch: `update(parameters, gradient, step)` with flat arrays, counting from 1."""
    weights = np.ones(len(images)) if weights is None else weights
    losses, correct = [], []
    for step, start in enumerate(range(0, len(images), batch_size), start=1):
        batch = slice(start, start + batch_size)
        gradient, batch_losses, batch_correct = mean_gradient(
            layers, images[batch], labels[batch], loss_of, weights[batch]
        )
        losses.append(batch_losses)
        correct.append(batch_correct)
        flat = flat_parameters(layers)
        update(flat, gradient, step)
        for layer in layers:
            for values in parameters(layer).values():
                values.flat, flat = flat[: values.size], flat[values.size :]
    return np.concatenate(losses), np.concatenate(correct)


def update_of(kind, settings, rates):
    """Return the update of `reference` for an optimizer, with a learn rate for every step."""
    states = {}

    def update(values, gradient, step):
        first, second = states.setdefault("both", (np.zeros_like(values), np.zeros_like(values)))
        rate = float(rates[step - 1])
        if kind is cnnx.SGD:
            reference.sgd_update(values, first, gradient, rate, **settings)
        else:
            rest = settings["eps"], settings["weight_decay"]
            reference.adam_update(values, first, second, gradient, rate, step, *settings["betas"], *rest)

    return update


def assert_fit_follows(names, dtype, images, labels, batch_size, optimizer, rates=None, **options):
    """Assert that `fit` does what the reference's loop does, and that every parameter has moved."""
    kind, settings = OPTIMIZERS[optimizer]
    network, plain = (stack(module, names, dtype, images.shape[1:]) for module in (cnnx, reference))
    network = Sequential(network)
    before = copy.deepcopy(network)
    steps = -(-len(images) // batch_size)
    update = update_of(kind, settings, np.full(steps, LEARN_RATE) if rates is None else rates)
    losses, correct = train(plain, as_floats(images, dtype), labels, batch_size, update)
    history = network.fit(
        images,
        labels,
        epochs=1,
        batch_size=batch_size,
        optimizer=kind(LEARN_RATE, **settings),
        shuffle=False,
        **options,
    )
    assert_close(history.losses.astype(dtype), losses.astype(dtype), TERMS)
    np.testing.assert_array_equal(history.correct, correct)
    for trained, expected, old in zip(network.layers, plain, before.layers, strict=True):
        for name, values in parameters(expected).items():
            assert_close(getattr(trained, name), values, TERMS)
            assert np.abs(values - getattr(old, name)).max() > 3e-4
