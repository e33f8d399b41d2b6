"""The CNN of Victor Zhou's article, layer for layer and number for number, at the speed of the machine.

- `Conv3x3`, `MaxPool2`, `Softmax`: the article's layers, compiled.
- `cross_entropy`: the loss and its gradient.
- `Sequential`: layers in a row, trained by the core's own loop; `load` reads a saved one.
- `cnnx.models.article_cnn`: the article's network, ready to train.
- `cnnx.data.load`: MNIST, the embedded sample or any folder of IDX files.
- `cnnx.reference`: the same layers in numpy, written for reading.
- ``python -m cnnx.train``: the article's whole run.

`cnnx.reference`, `cnnx.storage` and `cnnx.train` are imported at their first use.
"""

import importlib
import os
from types import ModuleType

from . import data, models, schedules
from ._core import __version__, active_target, targets
from .augment import RandomAffine, RandomShift
from .layers import Conv3x3, Dense, Dropout, GlobalAveragePool, MaxPool2, ReLU, Softmax
from .loss import cross_entropy
from .network import Sequential
from .optimizers import SGD, Adam


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a network that `Sequential.save` wrote; `cnnx.storage.load` says more."""
    from .storage import load as read  # which imports what only files need

    return read(path)


_AT_FIRST_USE = ("reference", "storage", "train")


def __getattr__(name: str) -> ModuleType:
    """Import a module that few programs need."""
    if name in _AT_FIRST_USE:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_AT_FIRST_USE})


__all__ = [
    "SGD",
    "Adam",
    "Conv3x3",
    "Dense",
    "Dropout",
    "GlobalAveragePool",
    "MaxPool2",
    "RandomAffine",
    "RandomShift",
    "ReLU",
    "Sequential",
    "Softmax",
    "__version__",
    "active_target",
    "cross_entropy",
    "data",
    "load",
    "models",
    "schedules",
    "targets",
]
