"""nn-engine-core: its own loop in C++ on Eigen. It has no pooling, so a stride of 2 takes its place."""

from importlib import metadata
from typing import Any

import nnengine
import numpy as np
from problem import FILTERS, LEARN_RATE, NODES, SIDE, FloatArray, Problem


class Network(nnengine.Module):
    """A strided convolution with a bias, and a dense layer: (1, 784) → (1, 10) totals."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = nnengine.Conv2dLayer(1, FILTERS, SIDE, SIDE, 3, 2, 0)
        self.dense = nnengine.DenseLayer(inputs, NODES)

    def forward(self, image: Any) -> Any:
        return self.dense.forward(self.conv.forward(image))


class Contender:
    """The engine sums the losses of a loop, so single losses are read by loops of one digit."""

    version = f"nn-engine-core {metadata.version('nn-engine-core')}"

    def __init__(self, problem: Problem) -> None:
        self.images = problem.scaled("float32").reshape(len(problem.images), -1)
        self.labels = np.eye(NODES, dtype="float32")[problem.labels]
        self.initial = {
            "conv.weight": problem.filters.reshape(FILTERS, -1),
            "conv.bias": np.zeros((1, FILTERS)),
            "dense.weight": problem.weights_by_channel(),
            "dense.bias": problem.biases[np.newaxis],
        }
        self.network = Network(len(problem.weights))
        self.loss, self.optimizer = nnengine.SoftmaxCrossEntropyLoss(), nnengine.SGD(LEARN_RATE)
        self.engine = nnengine.JITCompiler(self.network, self.optimizer, self.loss)._cpp_engine
        self.engine.trace_batch(self.loader(np.s_[:1]))

    def loader(self, chosen: slice) -> Any:
        return nnengine.DataLoader(self.images[chosen], self.labels[chosen], batch_size=1, shuffle=False)

    def prepare(self, count: int) -> None:
        for name, parameter in self.network.named_parameters().items():
            parameter.data = self.initial[name].astype("float32")
        self.digits = self.loader(np.s_[:count])

    def run(self, count: int) -> None:
        self.engine.fast_loop(self.digits)

    def answer(self, count: int) -> FloatArray:
        self.prepare(count)
        return np.array([self.engine.fast_loop(self.loader(np.s_[i : i + 1]))[0] for i in range(count)])
