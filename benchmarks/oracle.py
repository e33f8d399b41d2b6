"""The right answers, computed by `cnnx.reference` in float64, and how far a contender may be from them."""

import numpy as np
from problem import CHECKED, LEARN_RATE, POOLED, FloatArray, Problem

from cnnx import reference


def losses(problem: Problem, ties: str) -> tuple[FloatArray, Problem]:
    """Return the losses of the first steps, (CHECKED,), and the problem with the parameters after them."""
    conv = reference.Conv3x3(len(problem.filters))
    pool = reference.MaxPool2(ties="first" if ties == "first" else "all")
    softmax = reference.Softmax(*problem.weights.shape)
    conv.filters, softmax.weights, softmax.biases = (array.copy() for array in problem[2:])
    answers = np.empty(CHECKED)
    images = problem.scaled("float64")[:CHECKED]
    for step, (image, label) in enumerate(zip(images, problem.labels, strict=False)):
        out = softmax.forward(pool.forward(conv.forward(image)))
        answers[step], gradient = reference.cross_entropy(out, int(label))
        conv.backprop(pool.backprop(softmax.backprop(gradient, LEARN_RATE)), LEARN_RATE)
    return answers, problem._replace(filters=conv.filters, weights=softmax.weights, biases=softmax.biases)


def probabilities(problem: Problem) -> FloatArray:
    """Return what the network says of the first images, (CHECKED, 10)."""
    answers = []
    for image in problem.scaled("float64")[:CHECKED]:
        pooled = reference.max_pool2_forward(reference.conv3x3_forward(image, problem.filters))
        answers.append(reference.softmax_forward(pooled, problem.weights, problem.biases)[0])
    return np.array(answers)


def strided_losses(problem: Problem) -> FloatArray:
    """Return the losses, (CHECKED,), of a network with a stride in place of the pooling.

    For a peer that cannot pool: only every second row and column of the convolution's output is computed, and
    every filter has a bias that starts at zero. The full convolution replaces the strided one, with no
    gradient for the outputs in between.
    """
    filters, weights, biases = (array.copy() for array in problem[2:])
    filter_biases = np.zeros(len(filters))
    answers = np.empty(CHECKED)
    kept = np.s_[: 2 * POOLED : 2, : 2 * POOLED : 2]
    for step, image in enumerate(problem.scaled("float64")[:CHECKED]):
        full = reference.conv3x3_forward(image, filters) + filter_biases
        out, totals = reference.softmax_forward(full[kept], weights, biases)
        answers[step], gradient = reference.cross_entropy(out, int(problem.labels[step]))
        d_kept, d_weights, d_biases = reference.softmax_backward(gradient, full[kept], weights, totals)
        d_full = np.zeros_like(full)
        d_full[kept] = d_kept.reshape(full[kept].shape)
        d_filters = reference.conv3x3_backward(d_full, image, filters)[1]
        filters -= LEARN_RATE * d_filters
        filter_biases -= LEARN_RATE * d_full.sum(axis=(0, 1))
        weights -= LEARN_RATE * d_weights
        biases -= LEARN_RATE * d_biases
    return answers


def tolerance(dtype: str, inputs: int, steps: int) -> float:
    """Return how far rounding may take a loss within so many steps.

    A step rounds dot products of `inputs` terms and hands the error on through the parameters: a random walk
    of that many roundings in every step. The wrong rule for ties is thousands of times further away.
    """
    return float(np.sqrt(steps * inputs) * np.finfo(dtype).eps)
