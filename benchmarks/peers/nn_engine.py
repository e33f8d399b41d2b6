"""nn-engine-core: its own loop in C++ on Eigen. It has no pooling, so a stride of 2 takes its place."""

from importlib import metadata
from typing import Any

import nnengine
import numpy as np
from networks import CLASSES, Array, Problem


class Network(nnengine.Module):
    """A strided convolution with biases, and a dense layer: (1, pixels) → (1, 10) totals."""

    def __init__(self, side: int, filters: int, inputs: int) -> None:
        super().__init__()
        self.conv = nnengine.Conv2dLayer(1, filters, side, side, 3, 2, 0)
        self.dense = nnengine.DenseLayer(inputs, CLASSES)

    def forward(self, image: Any) -> Any:
        return self.dense.forward(self.conv.forward(image))


class Training:
    """The engine sums the losses of a loop, so single losses are read by loops of one digit."""

    version = f"nn-engine-core {metadata.version('nn-engine-core')}"

    def __init__(self, problem: Problem) -> None:
        self.images = problem.scaled().reshape(len(problem.images), -1)
        self.labels = np.eye(CLASSES, dtype="float32")[problem.labels]
        filters, filter_biases, weights, biases = problem.channels_first()
        self.initial = {
            "conv.weight": filters.reshape(len(filters), -1),
            "conv.bias": filter_biases[np.newaxis],
            "dense.weight": weights,
            "dense.bias": biases[np.newaxis],
        }
        network = Network(problem.case.side, len(filters), len(weights))
        self.parameters = network.named_parameters()
        optimizer, loss = nnengine.SGD(problem.case.learn_rate), nnengine.SoftmaxCrossEntropyLoss()
        self.kept = network, optimizer, loss
        self.engine = nnengine.JITCompiler(*self.kept)._cpp_engine
        self.engine.trace_batch(self.loader(np.s_[:1]))

    def loader(self, chosen: slice) -> Any:
        return nnengine.DataLoader(self.images[chosen], self.labels[chosen], batch_size=1, shuffle=False)

    def prepare(self, count: int) -> None:
        for name, parameter in self.parameters.items():
            parameter.data = self.initial[name].copy()
        self.digits = self.loader(np.s_[:count])

    def run(self, count: int) -> None:
        self.engine.fast_loop(self.digits)

    def answer(self, count: int) -> Array:
        self.prepare(count)
        return np.array([self.engine.fast_loop(self.loader(np.s_[i : i + 1]))[0] for i in range(count)])
