"""The training loop, written on `cnnx.reference`, and the optimizers to hold it against."""

import copy

import numpy as np
from networks import as_floats
from stacks import flat_parameters, stack
from tolerances import assert_close
from twins import buffers, parameters

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
    if isinstance(layer, reference.BatchNorm):
        constants = layer.scale, layer.running_mean, layer.running_var, layer.eps
        d_L_d_input, *gradients = reference.batch_norm_backward(d_L_d_out, layer.last_input, *constants)
        return d_L_d_input, gradients
    return layer.backprop(d_L_d_out), []


def mean_gradient(layers, images, labels, loss_of=reference.cross_entropy, weights=None):
    """Return the batch's mean gradient as one flat array, every loss, and which labels were found.

    `loss_of(out, label)` returns the loss and its gradient, and `weights` multiply both.
    """
    weights = np.ones(len(images)) if weights is None else weights
    outs, passes = list(images), []
    for layer in layers:
        outs, back = batch_forward(layer, outs)
        passes.append(back)
    losses, gradients = zip(*map(loss_of, outs, labels), strict=True)
    losses = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
    gradients = [gradient.dtype.type(weight) * gradient for weight, gradient in zip(weights, gradients, strict=True)]
    correct = [
        np.argmax(out) == (label if np.ndim(label) == 0 else np.argmax(label))
        for out, label in zip(outs, labels, strict=True)
    ]
    of_layers = []
    for back in reversed(passes):
        gradients, of_parameters = back(gradients)
        of_layers.insert(0, of_parameters)
    total = np.concatenate([array.ravel() for arrays in of_layers for array in arrays])
    return total / len(images), np.array(losses), np.array(correct)


def batch_forward(layer, inputs):
    """Return a layer's outputs for a batch, and a function from their gradients to those of inputs and parameters."""
    if isinstance(layer, reference.BatchNorm) and getattr(layer, "trainable", True):
        inputs = np.array(inputs)
        outs, mean, variance = reference.batch_norm_batch_forward(inputs, layer.scale, layer.offset, layer.eps)
        running, count = (layer.running_mean, layer.running_var), inputs[..., 0].size
        moved = reference.running_statistics(*running, mean, variance, count, layer.momentum)
        layer.running_mean[...], layer.running_var[...] = moved

        def batch_back(gradients):
            d_L_d_inputs, *rest = reference.batch_norm_batch_backward(
                np.array(gradients), inputs, layer.scale, layer.eps
            )
            return list(d_L_d_inputs), rest

        return list(outs), batch_back
    each = [copy.copy(layer) for _ in inputs]  # which share their parameters
    outs = [one.forward(input) for one, input in zip(each, inputs, strict=True)]

    def back(gradients):
        d_L_d_inputs, of_samples = zip(*map(backward, each, gradients), strict=True)
        return d_L_d_inputs, [sum(arrays) for arrays in zip(*of_samples, strict=True)]

    return outs, back


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
        for name, values in buffers(expected).items():
            assert_close(getattr(trained, name), values, TERMS)
            assert np.abs(values - getattr(old, name)).max() > 3e-4
