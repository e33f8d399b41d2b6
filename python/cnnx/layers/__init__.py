"""The compiled layers: `Conv3x3`, `MaxPool2` and `Softmax` of Victor Zhou's article, and others that it leaves out.

Names, argument order, shapes and attributes are the article's, so that its script runs unchanged after
``from cnnx import Conv3x3, MaxPool2, Softmax``. Its Part 1, "CNNs, Part 1: An Introduction to Convolutional Neural
Networks", derives the forward passes, and its Part 2, "CNNs, Part 2: Training a Convolutional Neural Network", the
backward passes. `cnnx.reference` has the same layers in numpy, written for reading.

What all layers have in common:

- `forward(input)` computes one sample's output and remembers the input. `backprop(d_L_d_out)` takes the gradient of the
  loss for that output, and returns the gradient for that input, `d_L_d_input`. A layer that has parameters also takes
  `learn_rate`, and moves its parameters by one step of gradient descent.
- A layer that has parameters computes in its own dtype, the others in the dtype of their input. An array of another
  real dtype, or in another memory layout, is converted first.
- An error leaves the parameters unchanged.

Raises:
    TypeError: an argument is not a numpy array of real numbers, but for example a list, a masked array, or an array of
        complex numbers, booleans or strings.
    ValueError: a shape does not fit. The message has the expected and the given shape.
    RuntimeError: `backprop` was called before `forward`.
"""

from .base import Layer
from .batch_norm import BatchNorm
from .conv3x3 import Conv3x3
from .dense import Dense
from .dropout import Dropout
from .global_average_pool import GlobalAveragePool
from .max_pool2 import MaxPool2
from .relu import ReLU
from .softmax import Softmax

__all__ = ["BatchNorm", "Conv3x3", "Dense", "Dropout", "GlobalAveragePool", "Layer", "MaxPool2", "ReLU", "Softmax"]
