"""`cnnx.Sequential.fit`: the whole loop in C++, on the CPU target that CNNX_TARGET names."""

import numpy as np
from problem import LEARN_RATE, FloatArray, Problem

import cnnx
from cnnx import models


class Contender:
    """One epoch of `fit` with its default windows, so progress could be printed and Ctrl-C would work."""

    version = f"cnnx {cnnx.__version__}"

    def __init__(self, problem: Problem, dtype: str, ties: str) -> None:
        self.problem = problem
        self.network = models.article_cnn(dtype=np.dtype(dtype), ties=ties)

    def prepare(self, count: int) -> None:
        conv, _, softmax = self.network.layers
        conv.filters[...] = self.problem.filters
        softmax.weights[...] = self.problem.weights
        softmax.biases[...] = self.problem.biases

    def run(self, count: int) -> FloatArray:
        images, labels = self.problem.images[:count], self.problem.labels[:count]
        history = self.network.fit(images, labels, epochs=1, learn_rate=LEARN_RATE, shuffle=False)
        return history.losses

    def answer(self, count: int) -> FloatArray:
        self.prepare(count)
        return self.run(count)
