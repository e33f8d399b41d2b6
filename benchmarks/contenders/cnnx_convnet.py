"""`cnnx.Sequential.fit` on Keras's convnet: batches, Adam, dropout."""

import numpy as np
from convnet_problem import BATCH, LEARN_RATE, FloatArray, Problem

import cnnx
from cnnx import models


def network(problem: Problem, dtype: str, with_dropout: bool) -> cnnx.Sequential:
    """Return the convnet with the problem's parameters."""
    whole = models.keras_convnet(dtype=np.dtype(dtype))
    whole.parameters[...] = np.concatenate([array.ravel() for array in problem[2:]])
    kept = (layer for layer in whole.layers if with_dropout or not isinstance(layer, cnnx.Dropout))
    return cnnx.Sequential(kept)


class Contender:
    """One epoch of `fit` with its default windows; a call is a step on one batch."""

    version = f"cnnx {cnnx.__version__}"

    def __init__(self, problem: Problem, dtype: str, threads: int) -> None:
        self.problem, self.dtype, self.threads = problem, dtype, threads

    def prepare(self, count: int, with_dropout: bool = True) -> None:
        self.network, self.optimizer = network(self.problem, self.dtype, with_dropout), cnnx.Adam(LEARN_RATE)

    def run(self, count: int) -> FloatArray:
        history = self.network.fit(
            self.problem.images[: count * BATCH],
            self.problem.labels[: count * BATCH],
            epochs=1,
            batch_size=BATCH,
            optimizer=self.optimizer,
            threads=self.threads,
            shuffle=False,
        )
        return history.losses

    def answer(self, count: int) -> FloatArray:
        self.prepare(count, with_dropout=False)
        return self.run(count).reshape(count, BATCH).mean(axis=1)
