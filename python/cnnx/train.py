"""The article's whole run: ``python -m cnnx.train`` trains its CNN on digits and prints the lines of its log.

It is the article's Part 2, section 6, "Training a CNN". Another program may call `train`; an import runs nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from . import _bars, _command_line, _views, data, models, storage
from ._train_options import AUGMENTATIONS, OPTIMIZERS, check_files, make_parser, naming_option
from .network import History, Progress, Sequential

if TYPE_CHECKING:
    from ._ranks import Ranks

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
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> History:
    """Train as the article does: one image a step, in an order drawn from numpy's global generator for each epoch.

    Args:
        network: the network, which is trained in place.
        images: (n, height, width) or another form, as in `Sequential.fit`.
        labels: integers (n,), as in `Sequential.fit`.
        epochs: how often to go through all images, at least 1.
        learn_rate: how far a step of gradient descent goes, finite and at least 0.
        log: is called with each line of the article's log.
        checkpoint: where to write checkpoints, as in `Sequential.fit`.
        checkpoint_every: after how many steps, as in `Sequential.fit`.
        resume: the checkpoint to go on from, as in `Sequential.fit`.

    Returns:
        The losses and whether each sample was recognised, as `Sequential.fit` returns them.
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
        images,
        labels,
        epochs=epochs,
        learn_rate=learn_rate,
        on_progress=report,
        progress_every=LOG_STEPS,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
    )


class EpochReport:
    """Turns the progress of a run into a line per epoch, and a bar below it if there is a terminal to draw on.

    Windows have LOG_STEPS steps. If the first one is not an epoch's first, because the run goes on from a checkpoint,
    the line is about the rest of that epoch.

    Args:
        samples: how many digits an epoch has.
        batch_size: how many digits a step has; an epoch's last step may have fewer.
        log: is called with each line.
        bar: the terminal, or None for no bar.
    """

    def __init__(self, samples: int, batch_size: int, log: Callable[[str], object], bar: TextIO | None) -> None:
        self.samples, self.batch_size, self.log = samples, batch_size, log
        self.bar = None if bar is None else _bars.on_terminal(bar, samples)
        self.start_epoch()
        self.is_new = True

    def start_epoch(self) -> None:
        """Forget the last epoch's windows, and start the clock."""
        self.started = time.perf_counter()
        self.seen = self.skipped = 0
        self.loss = self.accuracy = 0.0  # the sums over the digits that were seen

    def __call__(self, progress: Progress) -> None:
        """Take the report on a window of steps."""
        if self.is_new and progress.step > LOG_STEPS:
            self.seen = self.skipped = (progress.step - 1) // LOG_STEPS * LOG_STEPS * self.batch_size
        self.is_new = False
        before, self.seen = self.seen, min(progress.step * self.batch_size, self.samples)
        self.loss += progress.loss * (self.seen - before)
        self.accuracy += progress.accuracy * (self.seen - before)
        self._draw(lambda bar: bar.show(progress.epoch, self.seen, progress.loss))
        if self.seen < self.samples:
            return
        self._draw(lambda bar: bar.clear())
        now = time.perf_counter()
        counted = self.samples - self.skipped
        loss, accuracy = self.loss / counted, self.accuracy / counted
        validation = f" | Validation {progress.validation[1]:.2%}" if progress.validation else ""
        speed = f"{counted / (now - self.started):,.0f} digits a second"
        self.log(f"Epoch {progress.epoch}: Loss {loss:.4f} | Accuracy {accuracy:.2%}{validation} | {speed}")
        self.start_epoch()

    def _draw(self, draw: Callable[[_bars.Characters | _bars.Tqdm], None]) -> None:
        if self.bar is None:
            return
        try:
            draw(self.bar)
        except OSError:  # the training goes on when the terminal is gone
            self.bar = None


class Lines:
    """Prints lines. A run that has a network to save continues when nobody can read them any more.

    Args:
        are_all: whether the lines are all that the run is for. An error of stdout then ends it.

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
    """Return a line of the article's log. Loss and accuracy are means over the last LOG_STEPS steps."""
    return f"[Step {step}] Past {LOG_STEPS} steps: Average Loss {loss:.3f} | Accuracy: {accuracy:.0%}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit code: 0, 2 after bad input, or 130 after Ctrl-C."""
    return _command_line.run("cnnx.train", lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> None:
    if "--mpi" in arguments:
        from ._mpi import run  # which few trainings need

        run(arguments, _train)
    else:
        options = make_parser().parse_args(arguments)
        check_files(options)
        _train(options)


def _train(options: argparse.Namespace, ranks: Ranks | None = None) -> None:
    model = options.model or "article_cnn"
    is_article = model == "article_cnn" and options.batch_size == 1 and options.optimizer == "sgd"
    others = (options.load, options.augment, options.schedule, options.average, options.label_smoothing)
    if others != (None, "none", "constant", None, 0):
        is_article = False
    if is_article and options.validation:
        raise ValueError(
            f"--validation: expected none in the article's run, got {options.validation} (another --batch-size, "
            "--optimizer, --schedule, --augment, --average, --label-smoothing, --load or --model holds digits out)"
        )
    if options.ties is not None and model != "article_cnn":
        raise ValueError(
            f"--ties: expected none for {model}, whose rule is the first pixel, got {options.ties!r} (it is "
            "for article_cnn)"
        )
    digits = _command_line.digits(options.data)
    images, labels = digits.train_images[: options.limit], digits.train_labels[: options.limit]
    test_set = digits.test_images[: options.limit], digits.test_labels[: options.limit]
    nodes = int(max(digits.train_labels.max(), digits.test_labels.max())) + 1
    held_out = options.validation
    if held_out >= len(images):
        raise ValueError(f"--validation: expected fewer than the {len(images)} training digits, got {held_out}")
    kept = len(images) - held_out
    validation = (images[kept:], labels[kept:]) if held_out else None
    images, labels = _with_typed(images[:kept], labels[:kept], nodes, options)

    np.random.seed(options.seed)
    network = _network(options, model, images.shape[1:], nodes)
    files = {"checkpoint": options.checkpoint, "checkpoint_every": options.checkpoint_every, "resume": options.resume}
    is_resumed = options.resume is not None and options.resume.exists()

    lines = Lines(are_all=options.save is None)

    def log(line: str) -> None:
        if not options.quiet:
            lines(line)

    bar = sys.stderr if sys.stderr is not None and sys.stderr.isatty() and not options.quiet else None
    report = EpochReport(
        len(images), options.batch_size, log, bar
    )  # imports what draws the bar, before the clock starts
    log("MNIST CNN initialized!")
    start = time.perf_counter()
    if is_article:
        history = train(network, images, labels, epochs=options.epochs, learn_rate=options.learn_rate, log=log, **files)
    else:
        report.start_epoch()
        history = network.fit(
            images,
            labels,
            epochs=options.epochs,
            batch_size=options.batch_size,
            threads=options.threads,
            optimizer=OPTIMIZERS[options.optimizer](options.learn_rate),
            schedule=options.schedule,
            label_smoothing=options.label_smoothing,
            augment=AUGMENTATIONS[options.augment],
            validation=validation,
            average=options.average,
            on_progress=report,
            **files,
            comm=None if ranks is None else ranks.ready(),
        )
    seconds = time.perf_counter() - start
    if ranks is not None and not ranks.is_first:  # rank 0 has the same network, and does the rest
        return
    if options.save is not None:  # before anything else can fail
        with naming_option("--save", options.save, "a file that can be written"):
            network.save(options.save)
    if options.plot is not None:
        from . import _plot_files, plot

        _plot_files.write(plot.curves(history), "--plot", options.plot)

    log("\n--- Testing the CNN ---")
    if options.test_views is None:
        loss, accuracy = network.evaluate(*test_set, threads=options.threads)
    else:
        loss, accuracy = _views.evaluate(network, *test_set, options.test_views, options.threads)
    lines(f"Test Loss: {loss}")
    lines(f"Test Accuracy: {accuracy}")
    steps = options.epochs * -(-len(images) // options.batch_size)
    if is_resumed:
        log(f"{steps} steps, the last of them after the checkpoint in {seconds:.2f} s")
    else:
        dtype = network.parameters.dtype
        log(f"{steps} steps in {seconds:.2f} s: {seconds / steps * 1e6:.1f} microseconds a step, {dtype}")
    lines.close()


def _with_typed(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], nodes: int, options: argparse.Namespace
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the digits to train on, with those that --typed adds."""
    if not options.typed:
        return images, labels
    if (images.shape[1:], nodes) != ((28, 28), 10):
        size = "x".join(map(str, images.shape[1:]))
        raise ValueError(
            f"--typed: expected --data with the digits 0 to 9 in 28x28 pixels beside it, got {nodes} classes in {size}"
        )
    more, of_more = data.typed(options.typed, rng=options.seed)
    return np.concatenate([images, more]), np.concatenate([labels, of_more])


def _network(options: argparse.Namespace, model: str, image_shape: tuple[int, ...], nodes: int) -> Sequential:
    """Make the network for the data's images and classes. An error names the option, and not the model's argument."""
    if options.load is not None:
        with naming_option("--load", options.load, "a saved network that can be read"):
            return storage.load(options.load)
    settings = {} if options.ties is None else {"ties": options.ties}
    make: Callable[..., Sequential] = getattr(models, model)
    try:
        return make(dtype=options.dtype or "float64", image_shape=image_shape, nodes=nodes, **settings)
    except ValueError as error:
        problem = str(error).removeprefix("image_shape: expected ")
        raise ValueError(f"--data: expected images of {problem} (for --model {model})") from None


if __name__ == "__main__":
    sys.exit(main())
