"""The article's layer API, stepped from Python: compiled (`cnnx`) or in numpy (`cnnx.reference`)."""

import importlib

import numpy as np
from problem import FILTERS, LEARN_RATE, FloatArray, Problem

import cnnx


class Contender:
    """Three forwards, the gradient of the loss, three backprops: the article's own loop."""

    version = f"cnnx {cnnx.__version__}"

    def __init__(self, problem: Problem, module: str, dtype: str, ties: str) -> None:
        layers = importlib.import_module(module)
        self.problem = problem
        self.images = problem.scaled(dtype)
        self.conv = layers.Conv3x3(FILTERS, dtype=np.dtype(dtype))
        self.pool = layers.MaxPool2(ties=ties)
        self.softmax = layers.Softmax(*problem.weights.shape, dtype=np.dtype(dtype))
        self.cross_entropy = layers.cross_entropy

    def prepare(self, count: int) -> None:
        self.conv.filters[...] = self.problem.filters
        self.softmax.weights[...] = self.problem.weights
        self.softmax.biases[...] = self.problem.biases

    def run(self, count: int) -> list[float]:
        conv, pool, softmax = self.conv, self.pool, self.softmax
        losses = []
        for image, label in zip(self.images[:count], self.problem.labels.tolist(), strict=False):
            out = softmax.forward(pool.forward(conv.forward(image)))
            loss, gradient = self.cross_entropy(out, label)
            conv.backprop(pool.backprop(softmax.backprop(gradient, LEARN_RATE)), LEARN_RATE)
            losses.append(loss)
        return losses

    def answer(self, count: int) -> FloatArray:
        self.prepare(count)
        return np.array(self.run(count))
