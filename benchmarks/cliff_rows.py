"""The changes to the article's network that `cliffs.py` times, and what each may cost."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import cnnx
from cnnx import Adam, Conv3x3, Dense, Dropout, MaxPool2, ReLU, Sequential, Softmax, models

ARTICLE = "the article's network"
PLAIN, MOMENTUM = partial(cnnx.SGD, 0.005), partial(cnnx.SGD, 0.0005, momentum=0.9)
DECAY, ADAM = partial(cnnx.SGD, 0.005, weight_decay=1e-4), partial(Adam, 0.001)


class Row(NamedTuple):
    """One row of the table: `network` takes the dtype and a generator for the initial values."""

    name: str
    network: Callable[..., Sequential]
    limit: float | None = None
    optimizer: Callable[[], Any] = PLAIN
    batch: int = 1
    is_noise: bool = False


def article(dtype: str, rng: Any, filters: int = 8, nodes: int = 10, **change: Any) -> Sequential:
    """Return the article's network with `ties`, layers `before` and `after` the pool, options of its convolution."""
    ties, before, after = change.pop("ties", "all"), change.pop("before", ()), change.pop("after", ())
    conv = Conv3x3(filters, dtype=dtype, rng=rng, **change)
    inputs = (conv.output_shape((28, 28))[0] // 2) ** 2 * filters
    layers = [conv, *(layer() for layer in before), MaxPool2(ties=ties), *(layer() for layer in after)]
    return Sequential([*layers, Softmax(inputs, nodes, dtype=dtype, rng=rng)])


def two_convolutions(dtype: str, rng: Any) -> Sequential:
    first, second = Conv3x3(8, dtype=dtype, rng=rng), Conv3x3(16, 8, dtype=dtype, rng=rng)
    return Sequential([first, MaxPool2(), second, MaxPool2(), Softmax(5 * 5 * 16, 10, dtype=dtype, rng=rng)])


def dense(dtype: str, rng: Any) -> Sequential:
    return Sequential([Dense(784, 128, dtype=dtype, rng=rng), ReLU(), Softmax(128, 10, dtype=dtype, rng=rng)])


def without_pool(dtype: str, rng: Any) -> Sequential:
    return Sequential([Conv3x3(8, dtype=dtype, rng=rng), Softmax(26 * 26 * 8, 10, dtype=dtype, rng=rng)])


def preset(name: str, dtype: str, rng: Any) -> Sequential:
    return getattr(models, name)(dtype=dtype, rng=rng)


ROWS = [
    Row(ARTICLE, article),
    Row('ties="first"', partial(article, ties="first")),
    Row("a bias", partial(article, use_bias=True), 1.5),
    Row("ReLU before the pool", partial(article, before=[ReLU]), 1.5),
    Row("ReLU after the pool", partial(article, after=[ReLU]), 1.5),
    Row("a bias, and ReLU before the pool", partial(article, use_bias=True, before=[ReLU]), 1.5),
    Row("dropout before the dense layer", partial(article, after=[partial(Dropout, 0.5)]), 3),
    Row('"same" padding', partial(article, padding="same"), 2.3),
    Row("momentum", article, 4, MOMENTUM),
    Row("Adam", article, 8, ADAM),
    Row("weight decay", article, None, DECAY),
    Row("batch size 8", article, 1.6, batch=8),
    Row("batch size 32", article, 1.25, batch=32),
    Row("batch size 32, Adam", article, None, ADAM, 32),
    Row("conv-pool-conv-pool-softmax, 8 and 16 filters", two_convolutions, 8),
    *(Row(f"{nodes} classes", partial(article, nodes=nodes)) for nodes in (11, 26)),
    *(Row(f"{filters} filters", partial(article, filters=filters)) for filters in (9, 16)),
    Row("Dense(784, 128), ReLU, Softmax", dense),
    Row("without the pool", without_pool),
    Row("uniform noise for images", article, is_noise=True),
    *(Row(f"uniform noise, {nodes} classes", partial(article, nodes=nodes), is_noise=True) for nodes in (26, 62)),
    Row("uniform noise, 9 filters", partial(article, filters=9), is_noise=True),
    *(Row(f"preset {name}", partial(preset, name)) for name in models.__all__ if name != "batch_norm_convnet"),
    *(
        Row(f"preset {name}, batch size 64, Adam", partial(preset, name), None, ADAM, 64)
        for name in models.__all__
        if name != "article_cnn"
    ),
]
