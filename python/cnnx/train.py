"""The article's whole run: ``python -m cnnx.train`` trains its CNN on digits and prints its lines.

`train` is the article's loop with its lines, for another program to call; importing this module runs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TextIO

import numpy as np
from numpy.typing import NDArray

from . import data, models, storage
from .augment import Augmentation, RandomAffine, RandomShift
from .network import History, Progress, Sequential
from .optimizers import SGD, Adam, Optimizer

__all__ = ["main", "progress_line", "train"]

LOG_STEPS = 100


def train(
    network: Sequential,
    images: NDArray[Any],
    labels: NDArray[Any],
    *,
    epochs: int,
    learn_rate: float,
    log: Callable[[str], object] = print,
) -> History:
    """Train as the article does, in an order drawn anew each epoch from numpy's global generator.

    Args:
        network: trained in place.
        images: as in `Sequential.fit`.
        labels: as in `Sequential.fit`.
        epochs: how often to go through all the digits.
        learn_rate: the step of gradient descent.
        log: receives the article's lines.

    Returns:
        What `Sequential.fit` returns.
    """
    epoch = 0

    def report(progress: Progress) -> None:
        nonlocal epoch
        if progress.epoch > epoch:
            epoch = progress.epoch
            log(f"--- Epoch {epoch} ---")
        if progress.step % LOG_STEPS == 0:
            log(progress_line(progress.step, progress.loss, progress.accuracy))

    return network.fit(
        images, labels, epochs=epochs, learn_rate=learn_rate, on_progress=report, progress_every=LOG_STEPS
    )


class EpochReport:
    """Turns the progress of a run into a line an epoch, and a bar below it if it has a terminal to draw on.

    Args:
        samples: how many digits an epoch has.
        steps: how many steps an epoch has.
        log: receives the lines.
        bar: the terminal, or None.
    """

    def __init__(self, samples: int, steps: int, log: Callable[[str], object], bar: TextIO | None) -> None:
        self.samples, self.steps, self.log, self.bar = samples, steps, log, bar
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget the last epoch's windows, and start the clock."""
        self.started = time.perf_counter()
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def __call__(self, progress: Progress) -> None:
        """Take the report of a window of steps."""
        self.losses.append(progress.loss)
        self.accuracies.append(progress.accuracy)
        if self.bar is not None:
            done = 30 * progress.step // self.steps
            self._draw(f"\r[{'#' * done}{'.' * (30 - done)}] epoch {progress.epoch}, loss {progress.loss:.3f} ")
        if progress.step < self.steps:
            return
        self._draw("\r\033[K")
        now = time.perf_counter()
        loss, accuracy = (sum(values) / len(values) for values in (self.losses, self.accuracies))
        validation = f" | Validation {progress.validation[1]:.2%}" if progress.validation else ""
        speed = f"{self.samples / (now - self.started):,.0f} digits a second"
        self.log(f"Epoch {progress.epoch}: Loss {loss:.4f} | Accuracy {accuracy:.2%}{validation} | {speed}")
        self.start_epoch()

    def _draw(self, text: str) -> None:
        if self.bar is None:
            return
        try:
            self.bar.write(text)
            self.bar.flush()
        except OSError:  # a terminal that is gone ends no training
            self.bar = None


class Lines:
    """Prints lines; a run that has a network to save goes on without them.

    Args:
        are_all: whether the run is for its lines alone: an error of stdout then ends it.

    Attributes:
        error: why stdout takes no more lines; None while it takes them.
    """

    def __init__(self, are_all: bool) -> None:
        self.are_all = are_all
        self.error: OSError | None = None

    def __call__(self, line: str) -> None:
        """Print a line at once, or nothing after an error."""
        if self.error is not None:
            return
        try:
            print(line, flush=True)
        except OSError as error:
            if self.are_all:
                raise
            self.error = error

    def close(self) -> None:
        """Raise the error, if there is one."""
        if self.error is not None:
            raise self.error


def progress_line(step: int, loss: float, accuracy: float) -> str:
    """Return the article's log line; loss and accuracy are means over the last LOG_STEPS steps."""
    return f"[Step {step}] Past {LOG_STEPS} steps: Average Loss {loss:.3f} | Accuracy: {accuracy:.0%}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 2 after bad input, 130 after Ctrl-C."""
    try:
        _run(_parser().parse_args(arguments))
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
    except (ValueError, OSError, MemoryError, FloatingPointError) as error:
        print(f"cnnx.train: error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.save is not None:
        with _saving(options.save):
            storage.check_writable(options.save)
    is_article = options.model == "article_cnn" and options.batch_size == 1 and options.optimizer == "sgd"
    if is_article and (options.augment, options.schedule) != ("none", "constant"):
        is_article = False
    if is_article and options.validation:
        raise ValueError(
            f"--validation: expected none in the article's run, got {options.validation} (another --batch-size, "
            "--optimizer, --schedule, --augment or --model holds digits out)"
        )
    if options.ties is not None and options.model != "article_cnn":
        raise ValueError(
            f"--ties: expected none for {options.model}, whose rule is the first pixel, got {options.ties!r} (it is "
            "for article_cnn)"
        )
    digits = _digits(options.data)
    images, labels = digits.train_images[: options.limit], digits.train_labels[: options.limit]
    test_set = digits.test_images[: options.limit], digits.test_labels[: options.limit]
    nodes = int(max(digits.train_labels.max(), digits.test_labels.max())) + 1
    held_out = options.validation
    if held_out >= len(images):
        raise ValueError(f"--validation: expected fewer than the {len(images)} training digits, got {held_out}")

    np.random.seed(options.seed)
    network = _network(options, images.shape[1:], nodes)

    lines = Lines(are_all=options.save is None)

    def log(line: str) -> None:
        if not options.quiet:
            lines(line)

    log("MNIST CNN initialized!")
    start = time.perf_counter()
    if is_article:
        train(network, images, labels, epochs=options.epochs, learn_rate=options.learn_rate, log=log)
    else:
        kept = len(images) - held_out
        steps = -(-kept // options.batch_size)
        bar = sys.stderr if sys.stderr is not None and sys.stderr.isatty() and not options.quiet else None
        network.fit(
            images[:kept],
            labels[:kept],
            epochs=options.epochs,
            batch_size=options.batch_size,
            threads=options.threads,
            optimizer=_OPTIMIZERS[options.optimizer](options.learn_rate),
            schedule=options.schedule,
            augment=_AUGMENTATIONS[options.augment],
            validation=(images[kept:], labels[kept:]) if held_out else None,
            on_progress=EpochReport(kept, steps, log, bar),
        )
        images = images[:kept]
    seconds = time.perf_counter() - start
    if options.save is not None:  # before anything else can fail
        with _saving(options.save):
            network.save(options.save)

    log("\n--- Testing the CNN ---")
    loss, accuracy = network.evaluate(*test_set, threads=options.threads)
    lines(f"Test Loss: {loss}")
    lines(f"Test Accuracy: {accuracy}")
    steps = options.epochs * -(-len(images) // options.batch_size)
    log(f"{steps} steps in {seconds:.2f} s: {seconds / steps * 1e6:.1f} microseconds a step, {options.dtype}")
    lines.close()


@contextlib.contextmanager
def _saving(path: Path) -> Iterator[None]:
    """Make an error of the file one of the option."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"--save: expected a file that can be written, got {str(path)!r} ({error.strerror or error})"
        ) from None


def _digits(source: str) -> data.Digits:
    """Load the digits; an error names the option, not the argument that it becomes."""
    if not source:
        raise ValueError(f'--data: expected "sample", "mnist" or a folder, got {source!r}')
    try:
        return data.load(source)
    except data.DataError as error:
        message = str(error)
        raise ValueError(
            f"--data{message.removeprefix('source')}" if message.startswith("source:") else message
        ) from None


def _network(options: argparse.Namespace, image_shape: tuple[int, ...], nodes: int) -> Sequential:
    height, width = image_shape
    if options.model == "article_cnn":
        if height < 4 or width < 4:
            raise ValueError(f"--data: expected images of at least 4x4 pixels, got {height}x{width}")
        ties: Literal["all", "first"] = options.ties or "all"
        return models.article_cnn(dtype=options.dtype, ties=ties, image_shape=(height, width), nodes=nodes)
    if (height, width) != (28, 28) or nodes > 10:
        got = f"{height}x{width} and {nodes}"
        raise ValueError(f"--model: expected article_cnn for images other than 28x28 or over 10 classes, got {got}")
    network: Sequential = getattr(models, options.model)(dtype=options.dtype)
    return network


_OPTIMIZERS: dict[str, Callable[[float], Optimizer]] = {
    "sgd": SGD,
    "momentum": lambda learn_rate: SGD(learn_rate, momentum=0.9, nesterov=True),
    "adam": Adam,
}
_AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "shift": RandomShift(2),
    "affine": RandomAffine(rotation=10, scale=0.1, shift=2),
}


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"cnnx.train: error: {message} (--help explains the options)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="python -m cnnx.train",
        description="Train the CNN of the article 'CNNs, Part 2: Training a Convolutional Neural Network' on "
        "handwritten digits, then test it on digits it has not seen. With no options: the article's run, on "
        "the 1,000 + 1,000 digits that come with the package.",
        epilog="Examples: 'python -m cnnx.train --data mnist' trains on all 60,000 digits of MNIST (downloaded once); "
        "'python -m cnnx.train --seed 1 --quiet' prints just the result of another starting point.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data",
        default="sample",
        metavar="{sample,mnist,FOLDER}",
        help="the digits: the package's sample, all of MNIST, or a folder with four IDX files of any such set "
        "(default: sample)",
    )
    parser.add_argument(
        "--limit",
        type=_at_least(1),
        metavar="N",
        help="use only the first N digits of each set (default: all)",
    )
    parser.add_argument(
        "--epochs",
        type=_at_least(1, at_most=100_000),
        default=3,
        metavar="N",
        help="times through the digits (default: %(default)s)",
    )
    parser.add_argument(
        "--learn-rate",
        type=_learn_rate,
        default=0.005,
        metavar="X",
        help="how far each digit moves the weights (default: %(default)s)",
    )
    parser.add_argument(
        "--model",
        choices=models.__all__,
        default="article_cnn",
        help="the article's network, Keras's MNIST convnet, a small one that is fast to 99%%, or a deep one that gets "
        "the most digits right (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size", type=_at_least(1), default=1, metavar="N", help="digits a step (default: 1, as the article)"
    )
    parser.add_argument(
        "--optimizer",
        choices=list(_OPTIMIZERS),
        default="sgd",
        help="plain gradient descent, the same with Nesterov's momentum of 0.9, or Adam (default: %(default)s)",
    )
    parser.add_argument(
        "--schedule",
        choices=["constant", "cosine", "one_cycle"],
        default="constant",
        help="how the learn rate goes over the run (default: %(default)s)",
    )
    parser.add_argument(
        "--augment",
        choices=list(_AUGMENTATIONS),
        default="none",
        help="change each digit a little each time: shift it by up to 2 pixels, or also turn it by up to 10 degrees "
        "and scale it by up to 10%% (default: %(default)s)",
    )
    parser.add_argument(
        "--validation",
        type=_at_least(0),
        default=0,
        metavar="N",
        help="hold the last N training digits out, and test on them after each epoch; not in the article's run "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=_at_least(0, at_most=2**32 - 1),
        default=0,
        metavar="N",
        help="the starting point of all random numbers; the same seed gives the same run (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "float64"],
        default="float64",
        help="the numbers to compute with; float32 is faster (default: %(default)s, as numpy)",
    )
    parser.add_argument(
        "--ties",
        choices=["all", "first"],
        help="which of several equal pixels learns from a pooling window of article_cnn: all of them, as in the "
        "article, or the first, as in Keras and PyTorch and in the other models (default: all)",
    )
    parser.add_argument(
        "--threads",
        type=_at_least(1),
        metavar="N",
        help="how many threads share a batch, and the test (default: one a CPU); the result does not depend on it",
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the trained network here, for cnnx.load")
    parser.add_argument("--quiet", action="store_true", help="print only the test's loss and accuracy")
    return parser


def _at_least(least: int, at_most: int | None = None) -> Callable[[str], int]:
    expected = f"an integer of at least {least}" if at_most is None else f"an integer from {least} to {at_most}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (at_most is not None and number > at_most):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return number

    return parse


def _learn_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number of at least 0, got {text!r}")
    return rate


if __name__ == "__main__":
    sys.exit(main())
