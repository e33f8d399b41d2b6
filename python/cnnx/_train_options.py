"""The options of ``python -m cnnx.train``."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from . import _views, models
from ._command_line import OneLineParser
from ._whole_files import check_writable
from .augment import Augmentation, RandomAffine, RandomFlip, RandomShift
from .optimizers import SGD, Adam, Optimizer

OPTIMIZERS: dict[str, Callable[[float], Optimizer]] = {
    "sgd": SGD,
    "momentum": lambda learn_rate: SGD(learn_rate, momentum=0.9, nesterov=True),
    "adam": Adam,
}
AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "jitter": RandomAffine(shift=1),
    "shift": RandomShift(2),
    "affine": RandomAffine(rotation=10, scale=0.1, shift=2),
    "flip": RandomFlip(),
}


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the options of ``python -m cnnx.train``."""
    parser = OneLineParser(
        prog="python -m cnnx.train",
        description="Train the CNN of the article 'CNNs, Part 2: Training a Convolutional Neural Network' on "
        "handwritten digits, then test it on digits that it has not seen. Without options it is the "
        "article's run, on the 1,000 + 1,000 digits that come with the package.",
        epilog="Examples: 'python -m cnnx.train --data mnist' trains on all 60,000 digits of MNIST (downloaded once); "
        "'python -m cnnx.train --seed 1 --quiet' prints only the result, from other initial weights.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data",
        default="sample",
        metavar="{sample,mnist,FOLDER}",
        help="the digits: the package's sample, all of MNIST, or a folder with the IDX, CSV or npz files of any such "
        "set, whose image size and number of classes the network gets (default: sample)",
    )
    parser.add_argument(
        "--limit",
        type=at_least(1),
        metavar="N",
        help="use only the first N digits of each set (default: all)",
    )
    parser.add_argument(
        "--epochs",
        type=at_least(1, at_most=100_000),
        default=3,
        metavar="N",
        help="how often to go through the training digits (default: %(default)s)",
    )
    parser.add_argument(
        "--learn-rate",
        type=_learn_rate,
        default=0.005,
        metavar="X",
        help="how far a step moves the weights (default: %(default)s)",
    )
    parser.add_argument(
        "--model",
        choices=models.__all__,
        help="the article's network, Keras's MNIST convnet, a small one that soon reaches 99%% on MNIST, a deep one, "
        "or one with batch normalisation, which gets the most clothes right (default: article_cnn)",
    )
    parser.add_argument(
        "--batch-size", type=at_least(1), default=1, metavar="N", help="digits a step (default: 1, as in the article)"
    )
    parser.add_argument(
        "--optimizer",
        choices=list(OPTIMIZERS),
        default="sgd",
        help="plain gradient descent, the same with Nesterov's momentum of 0.9, or Adam (default: %(default)s)",
    )
    parser.add_argument(
        "--schedule",
        choices=["constant", "cosine", "one_cycle"],
        default="constant",
        help="how the learn rate changes over the run (default: %(default)s)",
    )
    parser.add_argument(
        "--augment",
        choices=list(AUGMENTATIONS),
        default="none",
        help="change each digit a little each time: shift it by up to 1 pixel in fractions (jitter), by up to 2 whole "
        "pixels (shift), or by up to 2 in fractions, and turn it by up to 10 degrees and scale it by up to 10%% "
        "(affine); or mirror half of the images (flip), which is for clothes and not for digits (default: %(default)s)",
    )
    parser.add_argument(
        "--typed",
        type=at_least(0),
        default=0,
        metavar="N",
        help="train on N more digits that are drawn as fonts have them, so that the network also reads typed digits; "
        "they are in no test (default: %(default)s)",
    )
    parser.add_argument(
        "--average",
        type=_decay,
        metavar="X",
        help="test a moving average of the weights, of which this share stays from step to step, for example 0.999 "
        "(default: test the weights after the last step)",
    )
    parser.add_argument(
        "--label-smoothing",
        type=_smoothing,
        default=0.0,
        metavar="X",
        help="the share of each label's probability that all digits get alike while the network trains (default: "
        "%(default)s, as in the article)",
    )
    parser.add_argument(
        "--validation",
        type=at_least(0),
        default=0,
        metavar="N",
        help="hold the last N training digits out, and test on them after each epoch; not in the article's run "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--test-views",
        choices=_views.KINDS,
        help="in the test, take the mean answer for several views of each image, which is right more often: as it is "
        "and one pixel up, down, left and right (moved), or as it is and mirrored, which is for clothes and not for "
        "digits (mirrored; default: only as it is)",
    )
    parser.add_argument(
        "--seed",
        type=at_least(0, at_most=2**32 - 1),
        default=0,
        metavar="N",
        help="the starting point of all random numbers; the same seed gives the same run (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "float64"],
        help="the numbers to compute with; float32 is faster (default: float64, as in numpy)",
    )
    parser.add_argument(
        "--ties",
        choices=["all", "first"],
        help="which of several equal pixels in a pooling window of article_cnn receive the gradient: all of them, as "
        "in the article, or the first, as in Keras and PyTorch and in the other models (default: all)",
    )
    parser.add_argument(
        "--threads",
        type=at_least(1),
        metavar="N",
        help="how many threads share a batch, and the test (default: one for each CPU); it does not change the result",
    )
    parser.add_argument(
        "--mpi",
        action="store_true",
        help="share each batch with the other processes that mpiexec has started, also on several machines; only the "
        "first of them prints and writes files. It does not change the result (needs pip install 'cnnx[mpi]')",
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the trained network here, for cnnx.load")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw loss and accuracy over the training into this .png, .svg or .pdf file (needs the extra plot)",
    )
    parser.add_argument(
        "--load", type=Path, metavar="FILE", help="start from this saved network instead of a new one of --model"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="after each epoch, write here all that --resume needs; the file is replaced as a whole",
    )
    parser.add_argument(
        "--checkpoint-every",
        type=at_least(1),
        metavar="N",
        help="write the checkpoint after every N steps (default: after each epoch)",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="go on from this checkpoint of a run with the same options; the result is that of a run that was never "
        "interrupted. If --checkpoint names the same file and it does not exist yet, the run starts",
    )
    parser.add_argument("--quiet", action="store_true", help="print only the test's loss and accuracy")
    return parser


def check_files(options: argparse.Namespace) -> None:
    """Refuse files that cannot be written or read, and options that would be ignored."""
    for option, path in (("--save", options.save), ("--checkpoint", options.checkpoint)):
        if path is not None:
            with naming_option(option, path, "a file that can be written"):
                check_writable(path)
    if options.plot is not None:
        # A missing matplotlib is reported before the training, and not after it.
        from . import _plot_files, _plots  # noqa: F401

        _plot_files.check("--plot", options.plot)
    written = [(name, getattr(options, name)) for name in ("save", "plot", "checkpoint")]
    for (option, path), (other, of_other) in itertools.combinations(written, 2):
        if path is not None and of_other is not None and path.absolute() == of_other.absolute():
            raise ValueError(f"--{option}: expected another file than that of --{other}, got {str(path)!r}")
    if options.checkpoint_every is not None and options.checkpoint is None:
        raise ValueError(
            f"--checkpoint-every: expected --checkpoint FILE beside it, got only {options.checkpoint_every}"
        )
    starts = options.resume == options.checkpoint and not (options.resume and options.resume.exists())
    for option, path in (("--resume", None if starts else options.resume), ("--load", options.load)):
        if path is not None:
            with naming_option(option, path, "a file that can be read"):
                path.stat()
            if not path.is_file():
                raise ValueError(f"{option}: expected a file that can be read, got {str(path)!r} (not a regular file)")
    if options.load is not None:
        for name in ("model", "dtype", "ties"):
            if (given := getattr(options, name)) is not None:
                raise ValueError(
                    f"--{name}: expected none beside --load, got {given!r} (the saved network has its own)"
                )


@contextlib.contextmanager
def naming_option(option: str, path: Path, expected: str) -> Iterator[None]:
    """Turn an error of the file into one that names the option."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{option}: expected {expected}, got {str(path)!r} ({error.strerror or error})") from None


def at_least(least: int, at_most: int | None = None) -> Callable[[str], int]:
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


def _number(expected: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not fits(number):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return number

    return parse


_learn_rate = _number("a finite number of at least 0", lambda rate: 0 <= rate < math.inf)
_decay = _number("a number above 0 and less than 1", lambda decay: 0 < decay < 1)
_smoothing = _number("a number from 0 to less than 1", lambda smoothing: 0 <= smoothing < 1)
