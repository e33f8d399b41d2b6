"""The network in plain numpy: what a learner reads, and what the tests trust.

The compiled core computes what is here. Nothing here is fast and nothing is clever; the two share no code, so
that each can be held against the other. In the order of reading:

- `conv3x3.py`: what every layer computes on the way forward and on the way back, a function each.
- softmax.py: the same as layers, which remember their input and step their parameters downhill.
- `optimizers.py`: dropout, the optimizers' updates and moved images.

`cnnx.reference` has all of it. Initial values are the article's, and for what it leaves out those of He et al.,
*Delving Deep into Rectifiers* (2015), which suit a ReLU after the layer.
"""

from .conv3x3 import (
    conv3x3_backward,
    conv3x3_forward,
    cross_entropy,
    dense_backward,
    dense_forward,
    max_pool2_backward,
    max_pool2_forward,
    relu_backward,
    relu_forward,
    softmax_backward,
    softmax_forward,
)
from .optimizers import adam_update, affine, dropout, sgd_update
from .softmax import Conv3x3, Dense, Dropout, GlobalAveragePool, MaxPool2, ReLU, Softmax

__all__ = [
    "Conv3x3",
    "Dense",
    "Dropout",
    "GlobalAveragePool",
    "MaxPool2",
    "ReLU",
    "Softmax",
    "adam_update",
    "affine",
    "conv3x3_backward",
    "conv3x3_forward",
    "cross_entropy",
    "dense_backward",
    "dense_forward",
    "dropout",
    "max_pool2_backward",
    "max_pool2_forward",
    "relu_backward",
    "relu_forward",
    "sgd_update",
    "softmax_backward",
    "softmax_forward",
]
