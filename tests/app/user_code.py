"""Code as users write it, fully annotated: test_types.py has type checkers read it, and runs it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import cnnx
from cnnx import BatchNorm, Conv3x3, Dense, Dropout, GlobalAveragePool, MaxPool2, ReLU, Sequential, Softmax
from cnnx.layers import Layer
from cnnx.network import History, Progress


def step_by_hand(image: NDArray[np.float64], label: int) -> tuple[float, NDArray[np.float64]]:
    """One step of the article's loop."""
    conv, pool, softmax = Conv3x3(8, rng=0), MaxPool2(), Softmax(13 * 13 * 8, 10, rng=0)
    out: NDArray[np.float64] = softmax.forward(pool.forward(conv.forward(image)))
    loss, gradient = cnnx.cross_entropy(out, label)
    gradient = softmax.backprop(gradient, 0.005)
    gradient = pool.backprop(gradient)
    return loss, conv.backprop(gradient, learn_rate=0.005)


def through(layers: list[Layer], value: NDArray[np.float32]) -> NDArray[np.float32]:
    """Any layers, one after another."""
    for layer in layers:
        value = layer.forward(value)
    return value


def back_through(layers: list[Layer], gradient: NDArray[np.float32], learn_rate: float) -> NDArray[np.float32]:
    for layer in reversed(layers):
        gradient = layer.backprop(gradient, learn_rate) if layer.parameters() else layer.backprop(gradient)
    return gradient


class Scaled(Softmax):
    """A layer of one's own that computes as Softmax does."""

    def norm(self) -> float:
        weights: NDArray[np.float64] = self.weights
        return float(np.linalg.norm(weights))


class Shift(Layer):
    """A layer of one's own with a parameter."""

    def __init__(self, by: float) -> None:
        self.by = np.full(1, by, np.float32)

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        return {"by": self.by}

    def forward(self, input: NDArray[np.float32]) -> NDArray[np.float32]:
        return input + self.by

    def backprop(self, d_L_d_out: NDArray[np.float32], learn_rate: float) -> NDArray[np.float32]:
        self.descend(learn_rate, by=d_L_d_out.sum(keepdims=True).reshape(1))
        return d_L_d_out


class Half(cnnx.Layer):
    """A layer of one's own without parameters."""

    def forward(self, input: NDArray[np.float32]) -> NDArray[np.float32]:
        return input * np.float32(0.5)

    def backprop(self, d_L_d_out: NDArray[np.float32]) -> NDArray[np.float32]:
        return d_L_d_out * np.float32(0.5)


def train_own_layers(digits: cnnx.data.Digits) -> float:
    layers = [Conv3x3(2, dtype=np.float32), Half(), Shift(0.1), Softmax(26 * 26 * 2, 10, dtype=np.float32)]
    layers[0].trainable = False
    network = Sequential(layers)
    network.fit(digits.train_images[:8], digits.train_labels[:8], epochs=1, optimizer=cnnx.Adam(0.01), batch_size=4)
    return network.evaluate(digits.test_images[:8], digits.test_labels[:8])[0]


def halving(steps: int) -> NDArray[np.float64]:
    return 0.5 ** np.linspace(0, 1, steps)


def absolute_error(
    outputs: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A loss of one's own."""
    return np.abs(outputs - targets).sum(axis=1), np.sign(outputs - targets)


def regress(images: NDArray[np.uint8], targets: NDArray[np.float64]) -> float:
    network = Sequential([Dense(28 * 28, 2, rng=0)])
    network.fit(images, targets, epochs=1, learn_rate=0.001, loss="mean_squared_error")
    network.fit(images, targets, epochs=1, learn_rate=0.001, loss=absolute_error)
    loss, _ = network.evaluate(images, targets, loss="mean_squared_error")
    by_hand, d_L_d_out = cnnx.mean_squared_error(network.predict(images[0]), targets[0])
    soft, _ = cnnx.cross_entropy(np.array([0.5, 0.5]), np.array([0.1, 0.9]))
    print(d_L_d_out.shape, soft)
    return loss + by_hand


def train(digits: cnnx.data.Digits, folder: Path) -> History:
    images, labels = digits.train_images[:64], digits.train_labels[:64]
    reports: list[Progress] = []
    network = Sequential(
        [
            Conv3x3(4, 1, padding="same", dtype=np.float32, rng=1),
            BatchNorm(4, momentum=0.99, dtype=np.float32),
            ReLU(),
            MaxPool2(ties="first"),
            Dropout(0.1),
            GlobalAveragePool(),
            Dense(4, 6, dtype="float32", rng=2),
            Softmax(6, 10, dtype=np.float32, rng=3),
        ]
    )
    history = network.fit(
        images,
        labels,
        epochs=2,
        batch_size=16,
        optimizer=cnnx.Adam(1e-3),
        schedule=halving,
        augment=cnnx.RandomAffine(rotation=10),
        validation=(digits.train_images[64:80], digits.train_labels[64:80]),
        early_stopping=cnnx.EarlyStopping(3, monitor="accuracy"),
        average=0.99,
        checkpoint=folder / "run",
        checkpoint_every=3,
        resume=folder / "run",
        rng=np.random.default_rng(0),
        on_progress=reports.append,
    )
    losses: NDArray[np.float64] = history.losses
    loss, accuracy = network.evaluate(images, labels)
    probabilities: NDArray[np.float32] = network.predict(images)
    print(network.summary(), losses.mean(), loss + accuracy, probabilities.shape, reports[-1].loss)
    maps: dict[str, NDArray[np.float32]] = network.activations(images[0])
    print(list(maps))
    network.save(folder / "network.npz")
    loaded: Sequential = cnnx.load(folder / "network.npz")
    loss, _ = loaded.gradients(images, labels, rng=7)
    gradient: NDArray[np.float32] = loaded.gradient
    gradient /= np.linalg.norm(gradient)
    loaded.apply(cnnx.SGD(0.01, momentum=0.9))
    rows: NDArray[np.float64] = np.eye(10)[labels]
    network.fit(images, rows, epochs=1, learn_rate=0.01, label_smoothing=0.1, sample_weight=np.ones(64))
    network.fit(images, labels, epochs=1, learn_rate=0.01, class_weight={0: 2.0}, on_progress=cnnx.progress.bar())
    out: NDArray[np.float32] = loaded.forward(images)
    d_images: NDArray[np.float32] = loaded.backward((out - rows).astype(np.float32), d_images=True)
    loaded.backward((out - rows).astype(np.float32))
    print(d_images.shape)
    value = through(loaded.layers[:2], (images[0] / 255 - 0.5).astype(np.float32))
    back_through(loaded.layers[:2], np.ones_like(value), 0.01)
    return history


def main() -> None:
    digits = cnnx.data.load()
    print(train_own_layers(digits))
    step_by_hand(digits.train_images[0] / 255 - 0.5, int(digits.train_labels[0]))
    print(regress(digits.train_images[:20], np.zeros((20, 2))))
    reference = cnnx.reference.Conv3x3(8, rng=0)
    output = reference.forward(digits.train_images[0] / 255 - 0.5)
    print(output.shape, Scaled(4, 2).norm(), cnnx.models.article_cnn(rng=0).parameters.dtype)
    colour = cnnx.models.keras_convnet(image_shape=(32, 32, 3), nodes=100)
    print(colour.predict(np.zeros((2, 32, 32, 3), np.uint8)).shape, colour.image_shape)
    with tempfile.TemporaryDirectory() as folder:
        train(digits, Path(folder))


if __name__ == "__main__":
    main()
