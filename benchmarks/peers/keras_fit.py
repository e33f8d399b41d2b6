"""Keras on TensorFlow: the script at the end of the article, with its progress bar and its metrics."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from networks import CLASSES, Array, Problem


class EveryLoss(keras.callbacks.Callback):
    """Keeps each step's own loss, where `fit` reports the mean so far."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.losses.append(logs["loss"])


class Training:
    """`Sequential`, `compile`, `fit` in the order of the digits. Its pooling follows the first maximum."""

    version = f"Keras {keras.__version__} on TensorFlow {tf.__version__}"

    def __init__(self, problem: Problem) -> None:
        self.images = problem.scaled()[..., np.newaxis]
        self.labels = keras.utils.to_categorical(problem.labels, CLASSES)
        filters, *dense = problem.parameters
        self.initial = [filters.transpose(1, 2, 3, 0), *dense]
        self.network = keras.Sequential(
            [
                keras.Input(self.images.shape[1:]),
                keras.layers.Conv2D(len(filters), 3, use_bias=False),
                keras.layers.MaxPooling2D(2),
                keras.layers.Flatten(),
                keras.layers.Dense(CLASSES, activation="softmax"),
            ]
        )
        sgd = keras.optimizers.SGD(problem.case.learn_rate)
        self.network.compile(sgd, loss="categorical_crossentropy", metrics=["accuracy"])

    def prepare(self, count: int) -> None:
        self.network.set_weights(self.initial)

    def run(self, count: int, *callbacks: Any) -> None:
        images, labels = self.images[:count], self.labels[:count]
        self.network.fit(images, labels, batch_size=1, epochs=1, shuffle=False, callbacks=list(callbacks))

    def answer(self, count: int) -> Array:
        self.prepare(count)
        every = EveryLoss()
        self.run(count, every)
        return np.array(every.losses)
