"""How `Sequential.fit` trains: in epochs, and within each in windows of steps that the core takes in one call.

After each window Python has control: Ctrl-C takes effect, progress is reported, and settings that were assigned to the
optimizer hold from then on.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _checks, _images, _random
from ._averaging import Average
from ._batch import Batch, Samples, Steps
from ._losses import CrossEntropy, Loss
from .augment import Augmentation
from .early_stopping import BestEpoch
from .history import History, OnProgress, Progress
from .optimizers import Optimizer
from .schedules import Factors

if TYPE_CHECKING:
    from ._checkpoints import Checkpoints
    from ._shared_runs import SharedRun
    from .network import Sequential

_WAIT = 0.1  # seconds that Ctrl-C should wait at most: without on_progress, windows grow until they take about as long
_SHORT = 0.001  # seconds: the time of a window that takes less says little about a longer one's
_MOST_SAMPLES = 2**59  # the losses of more would not fit into the address space


class Course:
    """How a run is divided into epochs, steps and windows.

    Attributes:
        images: how many images an epoch has.
        epochs: how often the run goes through them.
        batch_size: how many images a step has; an epoch's last step may have fewer.
        steps: how many steps an epoch has.
        window: how many steps a window has; an epoch's last window may have fewer.
    """

    def __init__(self, images: int, epochs: int, batch_size: int, window: int) -> None:
        self.images = images
        self.epochs = _checks.positive_integer("epochs", epochs)
        self.batch_size = min(_checks.positive_integer("batch_size", batch_size), images)
        self.window = _checks.positive_integer("progress_every", window)
        self.steps = -(-images // self.batch_size)
        if self.epochs * images > _MOST_SAMPLES:
            most = _MOST_SAMPLES // images
            raise ValueError(
                f"epochs: expected at most {most} for {images} images, whose losses are kept, got {self.epochs}"
            )

    @property
    def all_steps(self) -> int:
        """How many steps the run has."""
        return self.epochs * self.steps

    def samples_in(self, steps: int) -> int:
        """Return how many samples the first `steps` steps of the run have."""
        epochs, rest = divmod(steps, self.steps)
        return epochs * self.images + min(rest * self.batch_size, self.images)


class Window:
    """Some steps of an epoch, one after another.

    Attributes:
        epoch: from 0.
        start: the first step, from 0 in each epoch.
        stop: the step after the last.
        steps_of_run: the first step and the step after the last, from 0 in the run.
        of_epoch: the slice of the epoch's order that has its samples.
        of_run: the slice of all the run's samples that has its samples.
    """

    def __init__(self, course: Course, epoch: int, start: int, stop: int) -> None:
        self.epoch, self.start, self.stop = epoch, start, stop
        self.steps_of_run = epoch * course.steps + start, epoch * course.steps + self.stop
        before = epoch * course.images
        first, end = start * course.batch_size, min(self.stop * course.batch_size, course.images)
        self.of_epoch, self.of_run = slice(first, end), slice(before + first, before + end)


class Draws:
    """What a run draws at random: the order of the images, and what Dropout and augmentation need.

    Args:
        rng: the generator; None for numpy's global one.
        shuffle: whether each epoch has an order of its own.
        augment: what changes the images, if anything does.
        has_dropout: whether a layer drops values.

    Attributes:
        seed: what Dropout draws from, together with a sample's number.
    """

    def __init__(
        self, rng: np.random.Generator | None, shuffle: bool, augment: Augmentation | None, has_dropout: bool
    ) -> None:
        self._rng, self._shuffle, self._augment = rng, shuffle, augment
        needs_seed = augment is not None or has_dropout  # else the article's script would draw one number more
        self.seed = _random.draw_seed(rng) if needs_seed else 0
        self._before_maps: Any = None

    @cached_property
    def _of_maps(self) -> np.random.Generator:
        """What draws the maps. Most runs need none, and making it takes as long as several steps."""
        return np.random.default_rng(self.seed)

    def order(self, count: int) -> NDArray[np.int64]:
        """Return the order (count,) in which the next epoch takes the images."""
        if not self._shuffle:
            return np.arange(count, dtype=np.int64)
        return np.asarray((self._rng or np.random).permutation(count), np.int64)

    def maps(self, count: int, image_shape: tuple[int, ...]) -> NDArray[np.float64] | None:
        """Return a map (2, 3) for each image of the next epoch, in its order; None to read the images unchanged."""
        if self._augment is None:
            return None
        self._before_maps = self._of_maps.bit_generator.state
        return np.ascontiguousarray(self._augment.maps(count, image_shape, self._of_maps), np.float64)

    def state(self, is_within_epoch: bool) -> dict[str, Any]:
        """Return where the generators are; within an epoch that of the maps is before the epoch's."""
        maps = self._before_maps if is_within_epoch else None
        return {
            "seed": self.seed,
            "maps": maps or self._of_maps.bit_generator.state,
            "rng": _random.state(self._rng),
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """Put the generators where those were that `state` was taken from."""
        self.seed = state["seed"]
        self._of_maps.bit_generator.state = state["maps"]
        _random.set_state(self._rng, state["rng"])


class Run:
    """One call of `Sequential.fit`, whose arguments have been checked.

    Args:
        network: the network to train.
        images: (n, height, width) or (n, height, width, channels), as the core takes them.
        targets: (n, ...), as the loss takes them.
        course: how the run is divided.
        optimizer: takes the steps.
        factors: gives each step's factor on the optimizer's learn rate.

    Attributes:
        pixels: what the network remembers of the images once a step on them has been taken.
        background: what surrounds augmented images, as the first layer reads it.
        threads: how many threads share a batch.
        loss: what is minimised.
        weights: (n,), what multiplies the samples' losses, or None.
        validation: images and targets to evaluate after each epoch, or None.
        validation_loss: what is evaluated on them.
        validation_threads: as the caller of `fit` gave it.
        best: finds the best epoch, and stops the run when it is long ago; None to go through all epochs.
        average: follows the parameters, and takes their place when the run has ended; or None.
        on_progress: called after each `window` steps of an epoch and at its end, or None. It stops the run by returning
            True.
        checkpoints: writes where the run is, and may put it where another one was; or None.
        shared: the other processes that share each batch, or None.
        reports: whether `on_progress` is given, in any of these processes.
        steps: how many steps have been taken.
    """

    pixels: _images.Pixels
    background: float = 0.0
    threads: int = 1
    validation_threads: int | None = None
    loss: Loss = CrossEntropy()
    weights: NDArray[np.float64] | None = None
    validation: tuple[Any, Any] | None = None
    validation_loss: Loss = loss
    best: BestEpoch | None = None
    average: Average | None = None
    on_progress: OnProgress | None = None
    checkpoints: Checkpoints | None = None
    shared: SharedRun | None = None
    reports = False

    def __init__(
        self, network: Sequential, images: Any, targets: Any, course: Course, optimizer: Optimizer, factors: Factors
    ) -> None:
        self.network, self.images, self.targets, self.course = network, images, targets, course
        self.optimizer, self.factors = optimizer, factors

    def train(self, plan: Any, draws: Draws) -> History:
        """Train through all epochs, or until it is enough. The network gets its history however this ends.

        `plan` is what `self.plan` returns: its caller needs it before it makes `draws`.
        """
        course, network = self.course, self.network
        self._prepare(plan)
        # The system provides the memory of these arrays page by page, as the epochs fill them.
        self._losses = np.empty(course.epochs * course.images)
        self._correct = np.empty(course.epochs * course.images, np.bool_)
        self._validated: list[tuple[float, float]] = []
        self.steps = 0
        order = None if self.checkpoints is None else self.checkpoints.go_on(self, draws)
        if self.shared is not None:
            self.shared.check_start(draws)
        epoch, step = divmod(self.steps, course.steps)
        is_enough = self.best is not None and self.best.is_long_ago
        try:
            while epoch < course.epochs and not is_enough:
                if order is None:
                    order = draws.order(course.images)
                is_enough = self._train_epoch(epoch, step, order, draws)
                epoch, step, order = epoch + 1, 0, None
            if self.shared is not None:
                self.shared.check_state()
        finally:  # also after an error or Ctrl-C
            network._history = history = self.history()
            with network._lock:
                if self.best is not None:
                    self.best.restore(*self._changing())
                if self.average is not None:
                    self.average.give_to(network.layers)
        return history

    def history(self) -> History:
        """Return what was seen until now."""
        done = self.course.samples_in(self.steps)
        recognised = self._correct[: done if self.loss.has_classes else 0]
        validation = np.array(self._validated).reshape(-1, 2)
        return History(self._losses[:done], recognised, validation, self.course.images)

    def go_on(self, steps: int, history: History, pixels: _images.Pixels) -> None:
        """Take over from another run, which has taken `steps` steps and seen `history` and `pixels`."""
        self.steps, self.pixels = steps, pixels
        self._losses[: len(history.losses)], self._correct[: len(history.correct)] = history.losses, history.correct
        self._validated = [(float(loss), float(accuracy)) for loss, accuracy in history.validation]
        self.network._remember(self.images, pixels)

    def plan(self) -> Any:
        """Return the core's network."""
        return self.network._trainable_plan(self.images.shape[1:])

    def _changing(self) -> tuple[list[Any], list[Any]]:
        """Return the arrays that a step changes: the layers', and those beside them."""
        arrays = [array for layer in self.network.layers for array in layer.arrays().values()]
        averages = [] if self.average is None else [self.average.values]
        return arrays, self.optimizer.states() + averages

    def _prepare(self, plan: Any) -> None:
        self.optimizer.prepare(plan.parameter_count, plan.dtype)
        if self.average is not None:
            self.average.check_fits(plan.parameter_count)

    def _next_window(self, epoch: int, start: int) -> Window:
        """Return the steps until the next report, the next checkpoint or the epoch's end."""
        course = self.course
        since_report = start % course.window if self.reports else 0
        stop = min(start - since_report + course.window, course.steps)
        if self.checkpoints is not None:
            before = epoch * course.steps
            stop = min(stop, self.checkpoints.next(before + start, course.steps) - before)
        return Window(course, epoch, start, stop)

    def _train_epoch(self, epoch: int, step: int, order: NDArray[np.int64], draws: Draws) -> bool:
        """Train through the rest of an epoch, from `step` on. Return whether the run stops."""
        course = self.course
        maps = draws.maps(course.images, self.images.shape[1:3])
        while step < course.steps:
            started = time.perf_counter()
            window = self._next_window(epoch, step)
            with self.network._lock:
                steps_before = self.optimizer.steps
                try:
                    self._train_window(window, order, maps, draws.seed)
                finally:  # Ctrl-C may come after the core's call; `on_progress` may change the optimizer's own count
                    self.steps += self.optimizer.steps - steps_before
            self.network._remember(self.images, self.pixels)
            step = window.stop
            validation = self._validate() if step == course.steps else None
            is_enough = False
            if self.best is not None and validation is not None:
                is_enough = self.best.is_enough(validation, *self._changing())
            if self.on_progress is not None and (step % course.window == 0 or step == course.steps):
                is_enough = _is_enough(self.on_progress(self._progress(epoch, step, validation))) or is_enough
            seconds = time.perf_counter() - started
            if self.shared is not None:
                is_enough, seconds = self.shared.decide(is_enough, seconds)
            if not self.reports and step - window.start == course.window:
                course.window *= max(1, int(_WAIT / max(seconds, _SHORT)))
            if self.checkpoints is not None and (is_enough or self.checkpoints.is_due(self.steps, course)):
                self.checkpoints.write(self, draws, order if step < course.steps else None)
            if is_enough:
                return True
        return False

    def _train_window(self, window: Window, order: Any, maps: Any, seed: int) -> None:
        """Take all steps of a window in one call of the core, or none of them if that fails."""
        course, optimizer = self.course, self.optimizer
        plan = self.plan()
        self._prepare(plan)
        learn_rates = optimizer.learn_rate * self.factors(*window.steps_of_run)
        losses = self._losses[window.of_run]
        changing = [array for arrays in self._changing() for array in arrays]
        kept = [array.copy() for array in changing]
        try:
            of_window = None if maps is None else maps[window.of_epoch]
            samples = Samples(order[window.of_epoch], of_window, self.background, seed, window.of_run.start)
            batch = Batch(plan, self.images, self.targets, self.weights, self.loss, self.threads)
            shares = None if self.average is None else self.average.shares(*window.steps_of_run)
            # This window is prepared before that, because an error after it ends all ranks: they wait for this one.
            with nullcontext() if self.shared is None else self.shared.exchanging() as ranks:
                steps = Steps(
                    course.batch_size, learn_rates, optimizer, self.average, shares, self.network.layers, ranks
                )
                batch.train(samples, steps, losses, self._correct[window.of_run])
            failure = _what_is_not_finite(losses, changing)
        except Exception:  # for example no memory. After Ctrl-C the window is complete, and stays
            _put_back(changing, kept)
            raise
        if failure is not None:
            _put_back(changing, kept)
            sample, what = failure
            step = sample // course.batch_size
            is_best = self.best is not None and self.best.will_be_restored
            left = "of the best epoch" if is_best else f"after step {window.start}"
            kind = "those" if self.average is None else "the average"
            raise FloatingPointError(
                f"{what} at step {window.start + step + 1} of epoch {window.epoch + 1} with learn rate "
                f"{learn_rates[step]:g}; the parameters are {kind} {left} (try a smaller learn rate)"
            )

    def _validate(self) -> tuple[float, float] | None:
        if self.validation is None:
            return None
        network: Any = self.network  # whose evaluate takes a checked loss, too
        if self.average is not None:  # a copy, because another thread may use the network
            network = copy.deepcopy(network)
            self.average.give_to(network.layers)
        options = {"loss": self.validation_loss, "threads": self.validation_threads}
        self._validated.append(network.evaluate(*self.validation, **options))
        return self._validated[-1]

    def _progress(self, epoch: int, step: int, validation: tuple[float, float] | None) -> Progress:
        """Return the report on the steps since the one before it."""
        course = self.course
        window = Window(course, epoch, (step - 1) // course.window * course.window, step)
        loss, recognised = self._losses[window.of_run].mean(), self._correct[window.of_run].mean()
        accuracy = float(recognised) if self.loss.has_classes else math.nan
        is_at = window.epoch + 1, window.stop
        return Progress(*is_at, float(loss), accuracy, validation, course.epochs, course.steps)


def _is_enough(returned: Any) -> bool:
    """Tell from what `on_progress` returned whether the run stops."""
    if returned is None or isinstance(returned, (bool, np.bool_)):
        return bool(returned)
    raise TypeError(f"on_progress: expected it to return True to stop, or None or False to go on, got {returned!r}")


def _what_is_not_finite(losses: NDArray[np.float64], parameters: Sequence[Any]) -> tuple[int, str] | None:
    """Return the first sample whose loss is not finite and words for it; None if losses and parameters are finite.

    Parameters that are not finite after the last sample belong to it: no loss has seen them.
    """
    finite = np.isfinite(losses)
    if not finite.all():
        sample = int(np.argmin(finite))
        return sample, f"loss: expected a finite number, got {losses[sample]}"
    if not all(map(_is_finite, parameters)):
        return len(losses) - 1, "parameters: expected finite numbers, got others"
    return None


def _is_finite(array: Any) -> bool:
    """Whether all numbers are finite. A product by BLAS may be quicker, or wait for BLAS's threads."""
    return bool(np.isfinite(array).all())


def _put_back(arrays: Sequence[Any], values: Sequence[Any]) -> None:
    for array, kept in zip(arrays, values, strict=True):
        if array.flags.writeable:  # a frozen layer's array may be read-only, and no step changes it
            array[...] = kept
