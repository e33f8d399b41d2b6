"""`Sequential`: layers in a row, which the core trains, evaluates and uses for prediction in loops of its own.

A network computes what its layers compute one by one, up to rounding, and does not return to Python between the steps.
`fit` is the article's Part 2, section 6, "Training a CNN", in one call. Training updates the layers' numpy arrays in
place.

A network keeps all parameters in one flat array, and the layers' arrays are slices of it. They move there when the
network is made, and again only when its layers have changed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _activations, _averaging, _checks, _describe, _images, _losses, _random, _stack
from ._batch import Batch
from ._checks import FloatArray
from ._communicator import Communicator
from ._images import Pixels
from ._losses import LossFunction, LossName
from ._own_steps import OwnSteps
from ._random import Rng
from ._threads import thread_count
from .augment import Augmentation
from .early_stopping import EarlyStopping, best_epoch
from .history import History, OnProgress, Progress
from .layers import Layer
from .optimizers import Optimizer, chosen
from .schedules import Schedule, factors

if TYPE_CHECKING:
    from ._ranks import Ranks

__all__ = ["Communicator", "History", "LossFunction", "Pixels", "Progress", "Sequential"]


class Sequential(OwnSteps):
    """Layers in a row: an image enters the first, and the outputs (nodes,) leave the last.

    The last layer is a Softmax, whose outputs are probabilities, or another layer with outputs (nodes,), such as Dense.
    No layer comes after a Softmax. The core computes the layers and never calls Python, so a subclass of a layer that
    defines `forward` or `backprop` is refused. Layers that do not fit together, or have different dtypes, are refused
    at the first use. The error names the layer's position.

    Every method takes n images as an array (n, height, width), or (n, height, width, channels) for colour; one channel
    may have an axis or none. The first convolution decides: `Conv3x3(8)` reads grey images, and
    `Conv3x3(8, in_channels=3)` images of three channels. One image is a batch of one; it is an array without the first
    axis. A network that takes images of only one size, and knows it, also takes flattened images: (n, values), or
    (values,) for one, in C order. It knows the size in `image_shape`, which training, `cnnx.load` and `cnnx.models`
    set. An array of exactly that shape is always one image. Three axes may be n images or one with channels:
    `image_shape` decides, then the layers do, and if they take both, these are n images.

    The network copies the parameters of its layers into one array, `parameters`, and gives each layer slices of it. An
    array that is assigned to a layer is copied into its slice. A layer may be at several positions: it has its
    parameters once, and training sums its gradients. A layer may belong to several networks: each of them trains it,
    and its arrays stay with the first. A copy, by `copy` or `pickle`, has layers and arrays of its own.

    Args:
        layers: the layers. They may also be used by hand, before and after.

    Attributes:
        layers: the list of the layers. It may be changed, and the next use of the network takes that into account.
        image_shape: (height, width), or (height, width, channels) for more than one channel, of the images that the
            network was trained on, or None. Images of another size are refused, unless the layers take every size.
        pixels: the kind of images that the network was trained on, and their range, or None. Images that are clearly on
            another scale cause a UserWarning.
    """

    _history: History | None = None

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = list(layers)
        super().__init__()

    def fit(
        self,
        images: NDArray[Any],
        labels: NDArray[Any],
        *,
        epochs: int,
        learn_rate: float | None = None,
        batch_size: int = 1,
        threads: int | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | str | None = None,
        loss: LossName | LossFunction = "cross_entropy",
        label_smoothing: float = 0.0,
        sample_weight: NDArray[Any] | None = None,
        class_weight: Mapping[int, float] | NDArray[Any] | None = None,
        augment: Augmentation | None = None,
        validation: tuple[NDArray[Any], NDArray[Any]] | None = None,
        early_stopping: EarlyStopping | None = None,
        average: float | None = None,
        shuffle: bool = True,
        rng: Rng = None,
        on_progress: OnProgress | None = None,
        progress_every: int = 100,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        resume: str | os.PathLike[str] | None = None,
        comm: Communicator | None = None,
    ) -> History:
        """Train the layers. With only a learn rate, each step has one image and the loss is the article's.

        A step follows the mean gradient of its batch. The result depends on the seed, and not on the number of threads.
        Steps are taken in windows. Ctrl-C takes effect at the end of a window: parameters and optimizer are those after
        its last step, `history` has what was seen until then, and KeyboardInterrupt is raised. With `early_stopping`,
        parameters and optimizer are at the end those after the best epoch, also after Ctrl-C or an error. With
        `average`, the average takes the place of the parameters when `fit` ends, also after Ctrl-C or an error.
        Subnormal numbers, in float32 those below 1.2e-38, count as 0.

        Args:
            images: (n, height, width) or (n, height, width, channels), n at least 1, or another form that the class
                describes. uint8 images are read as x / 255 - 0.5, and floats unchanged.
            labels: what the loss compares the outputs with; nodes is the number of outputs. For "cross_entropy"
                integers (n,) from 0 to nodes - 1, or rows of probabilities (n, nodes): one-hot or soft labels. For
                "mean_squared_error" numbers (n, nodes), or (n,) if there is one output. For a function any array
                (n, ...).
            epochs: how often to go through all images, at least 1.
            learn_rate: how far a step of plain gradient descent goes, finite and at least 0. Give this or an optimizer.
            batch_size: how many images a step has, at least 1. An epoch's last step may have fewer.
            threads: how many threads share a batch, and the validation, at least 1. None for as many as this process
                has CPUs.
            optimizer: `SGD` or `Adam`. It continues from its own state.
            schedule: how the learn rate changes over the run: a function of `cnnx.schedules`, its name, or any function
                from the number of steps to a float array (steps,) of factors on the learn rate. None for `constant`.
            loss: "cross_entropy", for networks that end in Softmax: ``-ln(p[label])``, or for rows t
                ``-sum over k of t[k] * ln(p[k])``. "mean_squared_error", for outputs y:
                ``1 / nodes * sum over k of (y[k] - t[k])**2``. Or a function that takes the outputs (n, nodes) and the
                labels of a batch, and returns the losses (n,) and their gradients for the outputs (n, nodes). Every
                step then returns to Python, and computes the forward pass twice.
            label_smoothing: the share s of each label's probability that all classes get alike, from 0 to less than 1:
                ``(1 - s) * t[k] + s / nodes`` in place of t[k] (Szegedy et al., 2016, "Rethinking the Inception
                Architecture for Computer Vision", section 7). For "cross_entropy". The validation is without it.
            sample_weight: (n,), finite and at least 0, what each sample's loss is multiplied by. The sum over a batch
                is divided by the number of its samples, not by the sum of their weights, as Keras does
                (``reduction="sum_over_batch_size"``).
            class_weight: the same by class, for integer labels: an array (nodes,), or a dict; classes that it does not
                have weigh 1. Together with `sample_weight`, both are multiplied. The validation is without either.
            augment: changes each image a little when it is read: `RandomShift`, `RandomAffine` or `RandomFlip`.
            validation: images and labels to evaluate after each epoch.
            early_stopping: stops when the validation gets no better, and goes back to the best epoch: `EarlyStopping`.
            average: the share of a moving average of the parameters that stays in each step, above 0 and less than 1.
                With 0.999 a step moves the average by a thousandth of the way to the new parameters. In step t of this
                call, from 1, t / (t + 9) stays if that is less. The running statistics of `BatchNorm` are averaged in
                the same way. `validation` evaluates the average, and it takes the place of the parameters when `fit`
                ends. None for no average.
            shuffle: whether each epoch takes the images in a new random order.
            rng: draws that order, and what Dropout and `augment` need. A `numpy.random.Generator`, an integer seed, or
                None for numpy's global generator, which the article uses. A seed draws the same in every call.
            on_progress: called at the end of each window with a `Progress`. A setting that it assigns to the optimizer,
                such as another learn rate, holds from the next window on. If it returns True, the training stops there.
                If it returns None or False, the training goes on. Anything else is a TypeError at that window's end.
            progress_every: how many steps a window has, at least 1. An epoch's last window may have fewer. Without
                `on_progress`, windows grow until they take about a tenth of a second.
            checkpoint: a file to write all to that `resume` needs, after every `checkpoint_every` steps and when the
                training ends without an error. It is replaced as a whole: at any time it is the last checkpoint. What
                `on_progress` has changed is not in it, except the optimizer's settings.
            checkpoint_every: after how many steps of the run, at least 1. None for once an epoch.
            resume: a checkpoint to go on from. With the same network and arguments as in the call that wrote it, the
                result has the bits of a call that was never interrupted: parameters, optimizer, history and random
                numbers, also those of numpy's global generator. The parameters before the call do not matter.
                `threads`, `progress_every`, `checkpoint_every` and `on_progress` may differ, and so may `epochs` if the
                schedule gives the same factors for the steps until the checkpoint. A file that does not exist is an
                error, unless `checkpoint` is the same file: then the training starts.
            comm: the processes that share each batch, for example ``mpi4py.MPI.COMM_WORLD``, or another `Communicator`.
                Each of them calls `fit` with the same arguments, and gets the bits that one process would get. None
                for this process alone.

        Returns:
            The loss of each sample, whether it was recognised, and the results of the validation, until the training
            ended.

        Raises:
            TypeError, ValueError: an argument is not as described, the layers do not fit together, or one of their
                arrays was made read-only. Nothing has changed.
            OSError: a checkpoint cannot be written or read. The last one that was written stays.
            RuntimeError: another process of `comm` has failed.
            FloatingPointError: a loss, its gradient or a parameter is no longer finite. Parameters and optimizer are as
                before that window, or with `early_stopping` as after the best epoch.
        """
        from ._training import Course, Draws, Run  # which predictions do not need

        if comm is None:
            entered: AbstractContextManager[Ranks | None] = nullcontext()
        else:
            from ._ranks import Ranks  # which few trainings need

            entered = Ranks(comm)
        with entered as ranks:
            chosen_loss = _losses.chosen(loss, label_smoothing)
            images, targets = self._labelled(images, labels, chosen_loss)
            weights = self._weights(images, labels, sample_weight, class_weight)
            pixels = _images.pixels(images, thread_count(threads, len(images)))
            course = Course(len(images), epochs, batch_size, progress_every)
            shuffle = _checks.boolean("shuffle", shuffle)
            if on_progress is not None and not callable(on_progress):
                raise TypeError(f"on_progress: expected a callable or None, got {type(on_progress).__name__}")
            if augment is not None and not isinstance(augment, Augmentation):
                raise TypeError(f"augment: expected an augmentation of cnnx or None, got {type(augment).__name__}")
            run = Run(self, images, targets, course, chosen(learn_rate, optimizer), factors(schedule, course.all_steps))
            run.loss, run.weights, run.validation_loss = chosen_loss, weights, _losses.chosen(loss)
            run.average = _averaging.average(average, self.layers)
            if ranks is not None or (checkpoint, checkpoint_every, resume) != (None, None, None):
                from ._checkpoints import checkpoints  # which few trainings need

                run.checkpoints = checkpoints(checkpoint, checkpoint_every, resume, ranks)
            run.on_progress, run.reports = on_progress, on_progress is not None
            run.best = best_epoch(early_stopping, validation, chosen_loss.has_classes)
            run.threads, run.validation_threads = thread_count(threads, course.batch_size, least=1), threads
            if ranks is not None and threads is None:
                run.threads = run.validation_threads = ranks.threads(run.threads)
            if validation is not None:
                run.validation = self._validation(validation, images.shape[1:], run.validation_loss, threads)
            run.pixels = pixels.and_of(self.pixels)
            run.background = _images.background(augment, pixels)
            generator = _random.generator(rng)
            plan = run.plan()  # before random numbers are drawn: an error changes nothing
            least = course.images % course.batch_size or course.batch_size
            _stack.check_least_batch(self.layers, images.shape[1:], least)
            if run.checkpoints is not None:
                run.checkpoints.check(run, shuffle=shuffle, augment=augment, rng=rng)
            if ranks is not None:
                from ._shared_runs import SharedRun

                run.shared = SharedRun(run, ranks, shuffle=shuffle, augment=augment, checkpoint_every=checkpoint_every)
            self._warn_of(images, pixels)
            return run.train(plan, Draws(generator, shuffle, augment, _stack.has_dropout(self.layers)))

    @property
    def history(self) -> History | None:
        """What the last `fit` saw up to its last whole window, even if an error or Ctrl-C ended it; None before any."""
        return self._history

    @property
    def parameters(self) -> FloatArray:
        """One flat array of all parameters, layer by layer. Its slices are the layers' arrays.

        A layer that is at several positions has its parameters at the first of them. The array stays the same as long
        as the layers stay the same.

        Raises:
            ValueError: a layer's arrays are in another network's flat array, or the layers have different dtypes.
        """
        return self._all_parameters()

    def summary(self, image_shape: tuple[int, ...] | None = None) -> str:
        """Return a table of the layers, their outputs' shapes and how many parameters they have, as text to print.

        A layer that is at several positions counts at the first of them. If layers are frozen, the last lines say how
        many parameters are.

        Args:
            image_shape: (height, width) or (height, width, channels) of the images; None takes the network's own. A
                network that has seen none is described for 28x28 grey pixels, or for 32x32 pixels of its channels.
        """
        if image_shape is None:
            image_shape = self.image_shape or _stack.usual_shape(self.layers)
        image_shape = _checks.image_shape("image_shape", image_shape)
        self._check_shapes(image_shape)
        return _describe.summary(self.layers, image_shape)

    def __repr__(self) -> str:
        """Return what one would type to make the network, with each layer's output shape and parameters beside it."""
        return _describe.typed(type(self).__name__, self.layers, self.image_shape or _stack.usual_shape(self.layers))

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the summary as a table, or the `repr` if the layers do not fit together."""
        return _describe.as_html(repr(self), self.layers, self.image_shape or _stack.usual_shape(self.layers))

    def evaluate(
        self,
        images: NDArray[Any],
        labels: NDArray[Any],
        *,
        loss: LossName | LossFunction = "cross_entropy",
        sample_weight: NDArray[Any] | None = None,
        threads: int | None = None,
    ) -> tuple[float, float]:
        """Return the mean loss and the share of the images that are recognised; train nothing.

        Args:
            images: (n, height, width), n at least 1, as in `fit`.
            labels: integers (n,), or what else the loss takes, as in `fit`.
            loss: as in `fit`. A function gets all samples at once.
            sample_weight: (n,), as in `fit`. It changes the loss, and not the share.
            threads: how many threads share the images, at least 1. None for as many as this process has CPUs. The
                result does not depend on it.

        Returns:
            The mean loss, which is in nats for the cross-entropy, and the share of the images that are recognised; NaN
            for a loss without classes.
        """
        chosen = _losses.chosen(loss)
        images, targets = self._labelled(images, labels, chosen)
        weights = self._weights(images, labels, sample_weight)
        if images.dtype is not self._familiar or len(images) >= _images.MANY:
            self._check_scale(images, stacklevel=3)
        plan, threads = self._plan(images.shape[1:]), thread_count(threads, len(images))
        losses, correct = Batch(plan, images, targets, weights, chosen, threads).evaluate()
        if images.dtype != _images.UINT8 and not np.isfinite(losses).all():
            _images.pixel_range(images, threads)
        return float(losses.mean()), float(correct.mean()) if chosen.has_classes else math.nan

    def predict(self, images: NDArray[Any], *, threads: int | None = None) -> FloatArray:
        """Return the outputs: the probability of each class if the last layer is a Softmax.

        Args:
            images: (n, height, width), where n may be 0, or one image (height, width), or another form that the class
                describes; pixels as in `fit`.
            threads: how many threads share the images, as in `evaluate`.

        Returns:
            (n, nodes) in the layers' dtype, or (nodes,) for one image.
        """
        given = images
        images, is_one = self._images(given, least=0)
        count = len(images)
        if images.dtype is not self._familiar or count >= _images.MANY:
            self._check_scale(images, stacklevel=3)
        network = self._plan(images.shape[1:], given.shape)
        outputs: FloatArray = network.predict(images, thread_count(threads, count))
        return outputs[0] if is_one else outputs

    def activations(self, image: NDArray[Any]) -> dict[str, FloatArray]:
        """Return what each layer gives for one image. The layers do not remember it, and Dropout drops nothing.

        Args:
            image: one image in a form that `predict` takes; pixels as in `fit`.

        Returns:
            The layers' outputs in order, in the layers' dtype. A name is the layer's position in `layers` and its kind,
            such as "0 Conv3x3". The last output is that of `predict`, up to rounding.
        """
        images, is_one = self._images(image, least=0)
        if not is_one:
            raise ValueError(f"image: expected one image, got shape {image.shape} (images[0] is the first image)")
        self._check_scale(images, stacklevel=3)
        with self._lock:
            self._plan(images.shape[1:], image.shape)
            return _activations.activations(self.layers, images[0], _stack.dtype_of(self.layers))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to the file `path`, which `cnnx.load` reads. The file appears whole or not at all.

        `cnnx.storage.save` says more about files that exist, links and devices, and which errors there are.
        """
        from .storage import save

        _stack.check_kinds(self.layers)
        save(self, path)
