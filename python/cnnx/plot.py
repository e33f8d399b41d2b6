"""Pictures of trainings and networks. ``python -m cnnx.plot MODEL`` draws those of a saved network.

Every function returns a figure of matplotlib, whose ``savefig`` writes a PNG, SVG or PDF file, and which a notebook
shows if it is the last value of a cell. The figures have no window, and no setting of matplotlib is changed.

The module needs the extra ``plot``, that is, matplotlib, which is imported when the first picture is drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _checks
from ._losses import CrossEntropy
from .history import History
from .layers import Conv3x3
from .network import Sequential

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["confusion", "curves", "feature_maps", "filters", "main", "mistakes"]


def curves(history: History) -> Figure:
    """Draw the loss over a training, and the accuracy if there are classes.

    The strong line is a running mean of the thin one, whose points are means over half a percent of the training each.
    Both are about training images as the steps met them: augmented, and with Dropout. Dots are the validation after
    each epoch. The loss has a logarithmic axis if it fell to an eighth or less.

    Args:
        history: what `Sequential.fit` returned.

    Raises:
        TypeError: `history` is none.
        ValueError: it is empty, or has more validations than epochs.
    """
    if not isinstance(history, History):
        raise TypeError(f"history: expected what Sequential.fit returns, got {type(history).__name__}")
    if not len(history.losses):
        raise ValueError("history: expected at least one sample, got none (the training ended in its first window)")
    images = _checks.positive_integer("history.images", history.images)
    epochs = len(history.losses) // images
    if len(history.validation) > epochs:
        raise ValueError(
            f"history.validation: expected at most {epochs}, one after each epoch of {images} images, got "
            f"{len(history.validation)}"
        )
    from ._plots.curves import draw

    return draw(history)


def filters(network: Sequential, layer: int | None = None) -> Figure:
    """Draw the filters of a convolution: blue for numbers above 0, orange for those below.

    Args:
        network: the network.
        layer: the convolution's position in `network.layers`; None for the first convolution.

    Raises:
        TypeError, ValueError: there is no convolution at that position.
    """
    _check(network)
    position, convolution = _convolution(network, layer)
    from ._plots import filters as drawn

    return drawn.filters(convolution, position)


def feature_maps(network: Sequential, image: NDArray[Any], *, names: Sequence[str] | None = None) -> Figure:
    """Draw one image's way through a network: the image, what each layer makes of it, and the outputs as bars.

    Each map has its values in blue above 0 and in orange below; all maps of a layer have one scale. ReLU, BatchNorm and
    Dropout share a panel with the layer before them. Of many outputs, the ten largest are drawn, and of more maps than
    fit, the first.

    Args:
        network: the network.
        image: one image, as `Sequential.activations` takes it.
        names: what the outputs are called; None for their numbers.

    Raises:
        TypeError, ValueError: the network does not take the image, or the number of names is not that of outputs.
    """
    _check(network)
    outputs = network.activations(image)
    names = _names(names, next(reversed(outputs.values())).size)
    from ._plots import maps

    return maps.feature_maps(network, network._images(image)[0][0], list(outputs.values()), names)


def confusion(
    network: Sequential, images: NDArray[Any], labels: NDArray[Any], *, names: Sequence[str] | None = None
) -> Figure:
    """Draw how many images of each label a network reads as each class, and what share of each label is right.

    Args:
        network: the network, which ends in a Softmax.
        images: (n, height, width) or another form, as in `Sequential.evaluate`.
        labels: integers (n,).
        names: what the classes are called; None for their numbers.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """
    _, labels, outputs = _predicted(network, images, labels)
    names = _names(names, outputs.shape[1])
    from ._plots import mistakes

    return mistakes.confusion(labels, outputs.argmax(axis=1), names)


def mistakes(
    network: Sequential,
    images: NDArray[Any],
    labels: NDArray[Any],
    *,
    count: int = 24,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw the images that a network gets most wrong: those whose label has the smallest probability.

    Args:
        network: the network, which ends in a Softmax.
        images: (n, height, width) or another form, as in `Sequential.evaluate`.
        labels: integers (n,).
        count: how many images to draw, at least 1, if there are as many mistakes.
        names: what the classes are called; None for their numbers.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """
    count = _checks.positive_integer("count", count)
    stack, labels, outputs = _predicted(network, images, labels)
    names = _names(names, outputs.shape[1])
    from ._plots import mistakes

    return mistakes.worst(stack, labels, outputs, names, count)


def _predicted(network: Sequential, images: Any, labels: Any) -> tuple[Any, NDArray[np.int32], NDArray[Any]]:
    """Return checked images (n, height, width) or (n, height, width, channels), their labels, and the outputs."""
    _check(network)
    stack, _ = network._labelled(images, labels, CrossEntropy())
    outputs = network.predict(stack)
    return stack, _checks.labels(labels, len(stack), outputs.shape[1]), outputs


def _check(network: Any) -> None:
    if not isinstance(network, Sequential):
        raise TypeError(f"network: expected a Sequential, got {type(network).__name__}")


def _convolution(network: Sequential, layer: int | None) -> tuple[int, Conv3x3]:
    """Return a position and the convolution there, the first one if `layer` is None."""
    found = {position: it for position, it in enumerate(network.layers) if isinstance(it, Conv3x3)}
    chosen = next(iter(found), None) if layer is None else _checks.integer("layer", layer)
    if chosen is None or chosen not in found:
        places = f"the position of a Conv3x3: {', '.join(map(str, found))}" if found else "a network with a Conv3x3"
        raise ValueError(f"layer: expected {places}, got {layer}")
    return chosen, found[chosen]


def _names(names: Sequence[str] | None, count: int) -> list[str]:
    """Return a name for each output: its number if no names were given."""
    if names is None:
        return [str(number) for number in range(count)]
    is_list = isinstance(names, (Sequence, np.ndarray)) and not isinstance(names, str)
    if not is_list or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names: expected a list of texts, got {names!r}")
    if len(names) != count:
        raise ValueError(f"names: expected {count}, one for each output, got {len(names)}")
    return list(names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code: 0, 2 after bad input, or 130 after Ctrl-C."""
    from . import _plot_command

    return _plot_command.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
