"""Own layers, written in Python: some are compiled layers once more, in plain numpy, and others are new."""

import numpy as np

import cnnx
from cnnx import reference
from cnnx.layers import Layer


class Scale(Layer):
    """Multiplies its input by a number that is trained."""

    def __init__(self, factor=1.0, dtype=np.float64):
        self.factor = np.full(1, factor, dtype)

    def parameters(self):
        return {"factor": self.factor}

    def forward(self, input):
        self.last_input = input
        return self.factor * input

    def backprop(self, d_L_d_out, learn_rate):
        d_L_d_input = self.factor * d_L_d_out
        self.descend(learn_rate, factor=np.sum(d_L_d_out * self.last_input).reshape(1))
        return d_L_d_input


class LeakyReLU(Layer):
    """Passes a part of what is below zero."""

    def __init__(self, slope=0.1):
        self.slope = slope

    def forward(self, input):
        self.factors = np.where(input > 0, 1, self.slope)
        return self.factors * input

    def backprop(self, d_L_d_out):
        return self.factors * d_L_d_out


class AveragePool2(Layer):
    """The means of windows of 2x2 values; an odd last row or column is left out."""

    def forward(self, input):
        self.shape = input.shape
        height, width, channels = (input.shape[0] // 2, input.shape[1] // 2, input.shape[2])
        windows = input[: 2 * height, : 2 * width].reshape(height, 2, width, 2, channels)
        return windows.mean(axis=(1, 3))

    def backprop(self, d_L_d_out):
        height, width, _ = d_L_d_out.shape
        d_L_d_input = np.zeros(self.shape)
        d_L_d_input[: 2 * height, : 2 * width] = d_L_d_out.repeat(2, axis=0).repeat(2, axis=1) / 4
        return d_L_d_input


class OwnReLU(Layer):
    """ReLU once more."""

    def forward(self, input):
        self.last_input = input
        return np.maximum(input, 0)

    def backprop(self, d_L_d_out):
        return np.where(self.last_input > 0, d_L_d_out, 0)


class OwnPool(Layer):
    """MaxPool2 once more: the reference's, as an own layer."""

    def __init__(self, ties="all"):
        self.inner = reference.MaxPool2(ties=ties)

    def forward(self, input):
        return self.inner.forward(input)

    def backprop(self, d_L_d_out):
        return self.inner.backprop(d_L_d_out)


class OwnDense(Layer):
    """Dense once more."""

    def __init__(self, input_len, nodes, *, dtype=np.float64, rng=None):
        dense = cnnx.Dense(input_len, nodes, dtype=dtype, rng=rng)
        self.weights, self.biases = dense.weights, dense.biases

    def parameters(self):
        return {"weights": self.weights, "biases": self.biases}

    def forward(self, input):
        self.last_input = input
        return input.reshape(-1) @ self.weights + self.biases

    def backprop(self, d_L_d_out, learn_rate):
        d_L_d_input = (self.weights @ d_L_d_out).reshape(self.last_input.shape)
        self.descend(learn_rate, weights=np.outer(self.last_input, d_L_d_out), biases=d_L_d_out)
        return d_L_d_input


class OwnConv(Layer):
    """Conv3x3 with channels once more: the reference's formulas."""

    def __init__(self, num_filters, in_channels, *, padding="valid", use_bias=True, dtype=np.float64, rng=None):
        conv = cnnx.Conv3x3(num_filters, in_channels, use_bias=use_bias, dtype=dtype, rng=rng)
        self.filters, self.padding = conv.filters, padding
        if use_bias:
            self.biases = conv.biases

    def parameters(self):
        return {name: getattr(self, name) for name in ("filters", "biases") if hasattr(self, name)}

    def forward(self, input):
        self.last_input = input if input.ndim == 3 else input[..., np.newaxis]
        self.is_image = input.ndim == 2
        biases = getattr(self, "biases", None)
        return reference.conv3x3_forward(self.last_input, self.filters, biases, self.padding)

    def backprop(self, d_L_d_out, learn_rate):
        found = reference.conv3x3_backward(d_L_d_out, self.last_input, self.filters, self.padding)
        d_L_d_input, gradients = found[0], dict(zip(("filters", "biases"), found[1:], strict=True))
        self.descend(learn_rate, **{name: gradients[name] for name in self.parameters()})
        return d_L_d_input[..., 0] if self.is_image else d_L_d_input


class CallingDense(cnnx.Dense):
    """A compiled layer that comes back to Python on its way."""

    def forward(self, input):
        return super().forward(input)

    def backprop(self, d_L_d_out, learn_rate):
        return super().backprop(d_L_d_out, learn_rate)


class CallingSoftmax(cnnx.Softmax):
    """The same for the last layer."""

    def backprop(self, d_L_d_out, learn_rate):
        return super().backprop(d_L_d_out, learn_rate)
