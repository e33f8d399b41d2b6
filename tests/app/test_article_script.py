"""The article's training script, with three imports swapped, says what it said before."""

import numpy as np
import pytest
from networks import sample

import cnnx
from cnnx import reference

TRAINED_DIGITS = 200
TESTED_DIGITS = 100
EPOCHS = 2
LEARN_RATE = 0.005


class Network:
    """The article's network: a digit of 28×28 pixels through 8 filters, a pooling and a dense layer."""

    def __init__(self, layers):
        self.conv = layers.Conv3x3(8)
        self.pool = layers.MaxPool2()
        self.softmax = layers.Softmax(13 * 13 * 8, 10)

    def forward(self, image, label):
        out = self.conv.forward((image / 255) - 0.5)
        out = self.pool.forward(out)
        out = self.softmax.forward(out)
        return out, -np.log(out[label]), int(np.argmax(out) == label)

    def train(self, image, label):
        out, loss, correct = self.forward(image, label)
        gradient = np.zeros(10)
        gradient[label] = -1 / out[label]
        gradient = self.softmax.backprop(gradient, LEARN_RATE)
        gradient = self.pool.backprop(gradient)
        self.conv.backprop(gradient, LEARN_RATE)
        return loss, correct


def run_script(layers, digits, seed):
    """Train and test a network made of `layers`; return the printed lines and the test loss."""
    np.random.seed(seed)
    network = Network(layers)
    lines = ["MNIST CNN initialized!"]
    images, labels = digits.train_images[:TRAINED_DIGITS], digits.train_labels[:TRAINED_DIGITS]
    for epoch in range(EPOCHS):
        lines.append(f"--- Epoch {epoch + 1} ---")
        order = np.random.permutation(len(images))
        past = []
        for step, (image, label) in enumerate(zip(images[order], labels[order], strict=True), start=1):
            past.append(network.train(image, label))
            if step % 100 == 0:
                loss, accuracy = np.mean(past, axis=0)
                past.clear()
                lines.append(f"[Step {step}] Past 100 steps: Average Loss {loss:.3f} | Accuracy: {100 * accuracy:.0f}%")

    lines.append("--- Testing the CNN ---")
    tested = zip(digits.test_images[:TESTED_DIGITS], digits.test_labels[:TESTED_DIGITS], strict=True)
    test_loss, test_accuracy = np.mean([network.forward(*digit)[1:] for digit in tested], axis=0)
    lines += [f"Test Loss: {test_loss}", f"Test Accuracy: {test_accuracy}"]
    return lines, test_loss


@pytest.fixture(scope="module")
def digits():
    return sample()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_script_prints_the_same_lines_with_either_layers(digits, seed):
    compiled_lines, compiled_loss = run_script(cnnx, digits, seed)
    reference_lines, reference_loss = run_script(reference, digits, seed)
    test_loss_line = -2
    assert compiled_lines[:test_loss_line] == reference_lines[:test_loss_line]
    assert compiled_lines[-1] == reference_lines[-1]
    assert compiled_loss == pytest.approx(reference_loss, abs=1e-6)


@pytest.mark.smoke
def test_the_script_learns(digits):
    lines, test_loss = run_script(cnnx, digits, seed=0)
    assert sum(line.startswith("[Step ") for line in lines) == EPOCHS * TRAINED_DIGITS // 100
    assert test_loss < 0.75 * np.log(10)
