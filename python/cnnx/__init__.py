"""The CNN of Victor Zhou's article "CNNs, Part 2", layer for layer and number for number, with a core in C++.

- `Conv3x3`, `MaxPool2`, `Softmax`: the article's layers, compiled. `cnnx.layers` says what all layers have in common.
- `Dense`, `ReLU`, `Dropout`, `GlobalAveragePool`, `BatchNorm`: layers that the article leaves out.
- `cross_entropy`, `mean_squared_error`: losses and their gradients.
- `Sequential`: layers in a row, trained in a loop of the core; `load` reads one from a file.
- `SGD`, `Adam`, `cnnx.schedules`, `RandomShift`, `RandomAffine`, `RandomFlip`, `EarlyStopping`: how a `Sequential` is
  trained.
- `cnnx.models`: networks that are ready to be trained, such as the article's.
- `cnnx.data.load`: the digits of MNIST, a sample of them, or your own data in IDX, CSV or npz files.
- `cnnx.reference`: the same layers in numpy, written for reading.
- `cnnx.convert`, `cnnx.onnx`, `cnnx.sklearn`: networks of other libraries and programs. The last two are extras.
- `cnnx.plot`, `cnnx.progress`: pictures of trainings and networks, and progress bars. Both need extras.
- ``python -m cnnx.train``: the article's whole run.

`cnnx.convert`, `cnnx.data`, `cnnx.models`, `cnnx.plot`, `cnnx.progress`, `cnnx.reference`, `cnnx.storage` and
`cnnx.train` are imported at their first use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import schedules
from ._core import __version__, active_target, targets
from .augment import RandomAffine, RandomFlip, RandomShift
from .early_stopping import EarlyStopping
from .layers import BatchNorm, Conv3x3, Dense, Dropout, GlobalAveragePool, Layer, MaxPool2, ReLU, Softmax
from .loss import cross_entropy, mean_squared_error
from .network import Sequential
from .optimizers import SGD, Adam

if TYPE_CHECKING:
    from . import convert as convert
    from . import data as data
    from . import models as models
    from . import plot as plot
    from . import progress as progress
    from . import reference as reference
    from . import storage as storage
    from . import train as train


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a network that `Sequential.save` has written. `cnnx.storage.load` says which errors there are."""
    from .storage import load as read  # which imports what only files need

    return read(path)


_AT_FIRST_USE = ("convert", "data", "models", "plot", "progress", "reference", "storage", "train")


if not TYPE_CHECKING:  # type checkers see the imports above, and so report misspelt names

    def __getattr__(name: str) -> object:
        """Import a module at its first use: not every program needs it."""
        if name in _AT_FIRST_USE:
            from importlib import import_module

            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_AT_FIRST_USE})


__all__ = [
    "SGD",
    "Adam",
    "BatchNorm",
    "Conv3x3",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "GlobalAveragePool",
    "Layer",
    "MaxPool2",
    "RandomAffine",
    "RandomFlip",
    "RandomShift",
    "ReLU",
    "Sequential",
    "Softmax",
    "__version__",
    "active_target",
    "cross_entropy",
    "data",
    "load",
    "mean_squared_error",
    "models",
    "reference",
    "schedules",
    "targets",
]
