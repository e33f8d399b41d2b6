"""Keras on TensorFlow: the script at the end of the article, or the same with all that costs time left out."""

import keras
import numpy as np
import tensorflow as tf
from problem import FILTERS, LEARN_RATE, NODES, SIDE, FloatArray, Problem


class EveryLoss(keras.callbacks.Callback):
    """Keeps each step's own loss, where `fit` reports the mean so far."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.losses.append(logs["loss"])


class Contender:
    """`Sequential`, `compile`, `fit` in the order of the digits. Its pooling follows the first maximum."""

    version = f"Keras {keras.__version__} on TensorFlow {tf.__version__}"

    def __init__(self, problem: Problem, as_in_article: bool) -> None:
        self.verbose = "auto" if as_in_article else 0
        if not as_in_article:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        self.images = problem.scaled("float32")[..., np.newaxis]
        self.labels = keras.utils.to_categorical(problem.labels, NODES)
        self.initial = [
            problem.filters.transpose(1, 2, 0)[:, :, np.newaxis],
            problem.weights,
            problem.biases,
        ]
        self.network = keras.Sequential(
            [
                keras.Input((SIDE, SIDE, 1)),
                keras.layers.Conv2D(FILTERS, 3, use_bias=False),
                keras.layers.MaxPooling2D(2),
                keras.layers.Flatten(),
                keras.layers.Dense(NODES, activation="softmax"),
            ]
        )
        self.network.compile(
            keras.optimizers.SGD(LEARN_RATE),
            loss="categorical_crossentropy",
            metrics=["accuracy"] if as_in_article else None,
        )

    def prepare(self, count: int) -> None:
        self.network.set_weights(self.initial)

    def run(self, count: int, callbacks: tuple[keras.callbacks.Callback, ...] = ()) -> None:
        self.network.fit(
            self.images[:count],
            self.labels[:count],
            batch_size=1,
            epochs=1,
            shuffle=False,
            verbose=self.verbose,
            callbacks=list(callbacks),
        )

    def answer(self, count: int) -> FloatArray:
        self.prepare(count)
        every = EveryLoss()
        self.run(count, (every,))
        return np.array(every.losses)
