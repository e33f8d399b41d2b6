"""Networks by their layers' names, and short runs of `fit` on them."""

import numpy as np
import pytest
from networks import bits
from twins import parameters

import cnnx
from cnnx import Sequential

IMAGE = (11, 14)

# Functions that make a layer. Its name has one of these keys, and then a colon and the size.
MAKERS = {
    "article": lambda m, size, _, options: m.Conv3x3(int(size), **options),
    "biased": lambda m, size, _, options: m.Conv3x3(int(size), use_bias=True, **options),
    "conv": lambda m, size, values, options: m.Conv3x3(int(size), channels_of(values), **options),
    "unbiased": lambda m, size, values, options: m.Conv3x3(int(size), channels_of(values), use_bias=False, **options),
    "same": lambda m, size, values, options: m.Conv3x3(int(size), channels_of(values), padding="same", **options),
    "pool": lambda m, ties, *_: m.MaxPool2(ties=ties or "all"),
    "average": lambda m, *_: m.GlobalAveragePool(),
    "norm": lambda m, momentum, values, options: m.BatchNorm(  # its eps keeps roundings as small as they are
        values.shape[-1], float(momentum or 0.9), eps=0.1, dtype=options["dtype"]
    ),
    "relu": lambda m, *_: m.ReLU(),
    "dropout": lambda m, rate, *_: m.Dropout(float(rate)),
    "dense": lambda m, nodes, values, options: m.Dense(values.size, int(nodes), **options),
    "softmax": lambda m, nodes, values, options: m.Softmax(values.size, int(nodes), **options),
}

STACKS = [
    "conv:6 relu pool:first conv:9 relu pool:first dense:7 relu softmax:5",
    "conv:3 pool relu conv:8 pool:first relu softmax:4",
    "same:5 relu pool same:3 relu pool dense:8 relu softmax:6",
    "same:4 pool:first relu conv:17 relu dense:33 softmax:3",
    "conv:2 relu conv:3 relu conv:4 pool softmax:5",
    "unbiased:4 relu pool conv:5 softmax:3",
    "same:1 same:2 same:3 softmax:2",
    "relu conv:8 pool pool:first softmax:4",
    "biased:7 pool softmax:5",
    "article:9 relu pool:first softmax:10",
    "article:5 pool relu softmax:3",
    "article:8 pool softmax:10",
    "article:24 pool softmax:54",
    "conv:1 relu softmax:2",
    "same:16 relu unbiased:16 norm relu conv:18 pool relu softmax:3",
    "conv:6 relu pool:first conv:9 average softmax:5",
    "same:3 average dense:4 relu softmax:3",
    "unbiased:6 norm relu pool:first unbiased:9 norm:0.7 pool softmax:5",
    "same:3 relu norm pool conv:17 relu norm softmax:4",
    "dense:9 relu dense:4 relu softmax:3",
    "dense:215 relu softmax:5",
    "same:2 relu dense:108 relu softmax:4",
    "softmax:3",
]

OF_BATCHES = [names for names in STACKS if "norm" in names]  # training them takes a whole batch at a time
OF_SAMPLES = [names for names in STACKS if "norm" not in names]


def channels_of(values):
    return values.shape[2] if values.ndim == 3 else 1


def stack(module, names, dtype=np.float64, image_shape=IMAGE):
    """Return the layers of those names, which have the same values from either module, none of them zero."""
    rng = np.random.default_rng(3)
    values, layers = np.full(image_shape, 0.1, dtype), []
    for name in names.split():
        kind, _, size = name.partition(":")
        layers.append(MAKERS[kind](module, size, values, {"dtype": dtype, "rng": rng}))
        if kind == "softmax":
            layers[-1].weights *= np.sqrt(values.size).astype(dtype)  # or the layers before it would hardly move
        values = layers[-1].forward(values)
        if getattr(layers[-1], "biases", None) is not None:
            layers[-1].biases[...] = rng.uniform(-0.1, 0.1, layers[-1].biases.shape)
        for name, initial in (("scale", 1), ("offset", 0), ("running_mean", 0), ("running_var", 1)):
            if hasattr(layers[-1], name):
                array = getattr(layers[-1], name)
                array[...] = initial + rng.uniform(-0.1, 0.1, array.shape)
    return layers


def flat_parameters(layers):
    """Return a copy of all parameters, layer by layer, in one flat array."""
    return np.concatenate([values.ravel() for layer in layers for values in parameters(layer).values()])


def problem(rng, names, count, kind="bytes", image_shape=IMAGE):
    """Return images and labels for a stack of `stack`."""
    shape = count, *image_shape
    draw = {
        "bytes": lambda: rng.integers(0, 256, shape, np.uint8),
        "floats": lambda: rng.uniform(-1, 1, shape),
        "blank": lambda: np.where(rng.random(shape) < 0.1, 200, 0).astype(np.uint8),
    }
    nodes = int(names.rpartition(":")[2])
    return draw[kind](), rng.integers(0, nodes, count)


def fitted(names, images, labels, dtype=np.float64, **options):
    """Return the bits of a network after training it."""
    network = Sequential(stack(cnnx, names, dtype))
    options = {"epochs": 2, "batch_size": 4, "rng": np.random.default_rng(1), **options}
    if "optimizer" not in options:
        options.setdefault("learn_rate", 0.05)
    network.fit(images, labels, **options)
    return bits(network)


def assert_fit_refuses(rng, error, message, **options):
    images, labels = problem(rng, STACKS[0], count=10)
    network = Sequential(stack(cnnx, STACKS[0]))
    before = bits(network)
    if "optimizer" not in options:
        options.setdefault("learn_rate", 0.1)
    with pytest.raises(error, match=message):
        network.fit(images, labels, **{"epochs": 1, "batch_size": 2, **options})
    assert bits(network) == before
