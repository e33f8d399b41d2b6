"""The network in plain numpy: what a learner reads, and what the tests trust.

The compiled core computes what is here. Nothing here is fast and nothing is clever. The two share no code, so that each
can be compared with the other. Each file has a layer's formulas, forward beside backward, and below them the layer as a
class, which remembers its input and takes steps of gradient descent. In the article's order of reading:

1. `notation.py`: shapes, and what a name such as `d_L_d_out` means.
2. `conv3x3.py`, `max_pool2.py`, `softmax.py` (with `dense.py`): the article's three layers.
3. `loss.py`: the cross-entropy loss, and the mean squared error.
4. `relu.py`, `global_average_pool.py`, `dropout.py`, `batch_norm.py`: layers that the article leaves out.
5. `optimizers.py` and `augment.py`: what training needs beside the layers.

A file has the same name here as in `cnnx` or `cnnx.layers`. `cnnx.reference` itself has all functions and classes.

The article is Victor Zhou's: *CNNs, Part 1: An Introduction to Convolutional Neural Networks* derives the forward
passes, and *CNNs, Part 2: Training a Convolutional Neural Network* the backward ones. Initial values are the article's.
Layers that it leaves out have those of He et al., *Delving Deep into Rectifiers* (2015), which suit a ReLU after the
layer.
"""

from .augment import affine
from .batch_norm import (
    BatchNorm,
    batch_norm_backward,
    batch_norm_batch_backward,
    batch_norm_batch_forward,
    batch_norm_forward,
    running_statistics,
)
from .conv3x3 import Conv3x3, conv3x3_backward, conv3x3_forward
from .dense import Dense, dense_backward, dense_forward
from .dropout import Dropout, dropout
from .global_average_pool import GlobalAveragePool
from .loss import cross_entropy, mean_squared_error, smoothed, soft_cross_entropy
from .max_pool2 import MaxPool2, max_pool2_backward, max_pool2_forward
from .optimizers import adam_update, average_update, sgd_update
from .relu import ReLU, relu_backward, relu_forward
from .softmax import Softmax, softmax_backward, softmax_forward

__all__ = [
    "BatchNorm",
    "Conv3x3",
    "Dense",
    "Dropout",
    "GlobalAveragePool",
    "MaxPool2",
    "ReLU",
    "Softmax",
    "adam_update",
    "affine",
    "average_update",
    "batch_norm_backward",
    "batch_norm_batch_backward",
    "batch_norm_batch_forward",
    "batch_norm_forward",
    "conv3x3_backward",
    "conv3x3_forward",
    "cross_entropy",
    "dense_backward",
    "dense_forward",
    "dropout",
    "max_pool2_backward",
    "max_pool2_forward",
    "mean_squared_error",
    "relu_backward",
    "relu_forward",
    "running_statistics",
    "sgd_update",
    "smoothed",
    "soft_cross_entropy",
    "softmax_backward",
    "softmax_forward",
]
