"""cnnx: the loop in C++, or stepped by hand from Python."""

from typing import Any

import numpy as np
from networks import Array, Case, Problem, walk

import cnnx


def network(case: Case, dtype: str = "float32", ties: str = "first", rng: Any = None) -> cnnx.Sequential:
    """Return the case's network."""
    layers: list[Any] = []
    options = {"dtype": dtype, "rng": rng}
    for position, (kind, number, taken, _) in enumerate(walk(case)):
        if kind in ("conv", "same"):
            padding = "same" if kind == "same" else "valid"
            channels = [taken[2]] if taken[2] > 1 or case.bias else []  # the article's layer knows no channels
            layers.append(cnnx.Conv3x3(number, *channels, padding=padding, use_bias=case.bias, **options))
        elif kind == "dense":
            dense = cnnx.Dense if position < len(case.layers) else cnnx.Softmax
            layers.append(dense(int(np.prod(taken)), number, **options))
        elif kind == "norm":
            layers.append(cnnx.BatchNorm(taken[2], dtype=dtype))
        else:
            layers.append({"pool": cnnx.MaxPool2(ties=ties), "relu": cnnx.ReLU(), "dropout": cnnx.Dropout(0.5)}[kind])
    return cnnx.Sequential(layers)


def parameters(whole: cnnx.Sequential) -> list[Array]:
    """Return copies of the parameters, as a `Problem` has them."""
    arrays = [array.copy() for layer in whole.layers for array in layer.parameters().values()]
    return [array.reshape(len(array), 3, 3, -1) if array.ndim >= 3 else array for array in arrays]


def optimizer(case: Case) -> Any:
    return (cnnx.Adam if case.adam else cnnx.SGD)(case.learn_rate)


class Training:
    """`Sequential.fit` for one epoch."""

    version = f"cnnx {cnnx.__version__} ({cnnx.active_target()})"

    def __init__(self, problem: Problem, dtype: str = "float32", ties: str = "first", threads: int = 1) -> None:
        self.problem, self.threads = problem, threads
        self.network = network(problem.case, dtype, ties)

    def prepare(self, count: int) -> None:
        self.network.parameters[...] = np.concatenate([array.ravel() for array in self.problem.parameters])
        self.optimizer = optimizer(self.problem.case)

    def run(self, count: int) -> Array:
        batch = self.problem.case.batch
        images, labels = self.problem.images[: count * batch], self.problem.labels[: count * batch]
        options = {"epochs": 1, "batch_size": batch, "optimizer": self.optimizer, "threads": self.threads}
        return self.network.fit(images, labels, shuffle=False, **options).losses

    def answer(self, count: int) -> Array:
        self.prepare(count)
        return self.run(count).reshape(count, -1).mean(axis=1)


class Prediction(Training):
    """`Sequential.predict`, `images` at once."""

    def __init__(self, problem: Problem, images: int, threads: int = 1) -> None:
        super().__init__(problem, threads=threads)
        super().prepare(0)
        self.images = problem.images[:images] if images > 1 else problem.images[0]

    def prepare(self, count: int) -> None:
        pass

    def run(self, count: int) -> None:
        for _ in range(count):
            self.network.predict(self.images, threads=self.threads)

    def answer(self, count: int) -> Array:
        return self.network.predict(self.problem.images[: count * self.problem.case.batch], threads=self.threads)


class ByHand:
    """The article's loop: three forwards, the gradient of the loss, three backprops."""

    version = Training.version

    def __init__(self, problem: Problem, dtype: str = "float32") -> None:
        filters, weights, _ = problem.parameters
        self.problem, self.images = problem, problem.scaled(dtype)
        conv, softmax = cnnx.Conv3x3(len(filters), dtype=dtype), cnnx.Softmax(*weights.shape, dtype=dtype)
        self.layers = conv, cnnx.MaxPool2(), softmax

    def prepare(self, count: int) -> None:
        conv, _, softmax = self.layers
        filters, softmax.weights[...], softmax.biases[...] = self.problem.parameters
        conv.filters[...] = filters[..., 0]

    def run(self, count: int) -> list[float]:
        (conv, pool, softmax), rate, losses = self.layers, self.problem.case.learn_rate, []
        for image, label in zip(self.images[:count], self.problem.labels.tolist(), strict=False):
            loss, gradient = cnnx.cross_entropy(softmax.forward(pool.forward(conv.forward(image))), label)
            conv.backprop(pool.backprop(softmax.backprop(gradient, rate)), rate)
            losses.append(loss)
        return losses

    def answer(self, count: int) -> Array:
        self.prepare(count)
        return np.array(self.run(count))
