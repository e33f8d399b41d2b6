"""The layers, compiled: Victor Zhou's article's Conv3x3, MaxPool2 and Softmax, and those that it leaves out.

Names, argument order, shapes and attributes are the article's ("CNNs, Part 1: An Introduction to Convolutional
Neural Networks" has the forward passes, "CNNs, Part 2: Training a Convolutional Neural Network" the backward ones),
so its script runs unchanged after ``from cnnx import Conv3x3, MaxPool2, Softmax``. `cnnx.reference` has the same
layers in numpy, written for reading, with the formulas.

Every layer computes in its own dtype. An input or gradient of another real dtype, or in another memory layout, is
converted first; the result has the layer's dtype. Errors leave parameters as they were:

- TypeError: not a numpy array of real numbers (lists, masked arrays, complex numbers, booleans, strings).
- ValueError: a shape that does not fit; the message has both.
- RuntimeError: backprop before forward.
"""

from .base import Layer
from .conv3x3 import Conv3x3
from .dense import Dense
from .dropout import Dropout
from .global_average_pool import GlobalAveragePool
from .max_pool2 import MaxPool2
from .relu import ReLU
from .softmax import Softmax

__all__ = ["Conv3x3", "Dense", "Dropout", "GlobalAveragePool", "Layer", "MaxPool2", "ReLU", "Softmax"]
