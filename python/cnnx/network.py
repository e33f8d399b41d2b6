"""Layers in a row, trained, tested and applied by the core's own loops.

A network computes what its layers compute one by one, to rounding, without returning to Python between the steps: the
article's "Training a CNN" in one call. The layers' numpy arrays stay the truth: training updates them in place.

A network keeps all parameters in one flat array, and the layers' arrays are its slices. They move there when the
network is made, and again only when its layers are others than before.
"""

from __future__ import annotations

import copy
import math
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core, _flat, _images
from ._attributes import KnownAttributes
from ._checks import FloatArray
from ._images import Pixels
from .augment import Augmentation
from .layers import Conv3x3, Dense, Dropout, GlobalAveragePool, Layer, MaxPool2, ReLU, Softmax
from .optimizers import SGD, Optimizer
from .schedules import Schedule, factors

__all__ = ["History", "Progress", "Sequential"]

_UINT8 = np.dtype(np.uint8)
_SHORT = 0.01  # seconds: windows that nobody watches grow until they take longer
_KINDS = {Conv3x3, Dense, Dropout, GlobalAveragePool, MaxPool2, ReLU, Softmax}  # all others are looked at
_MANY = 256  # images, beside whose prediction a look at their scale takes no time
_MOST_THREADS = 256
_MOST_SAMPLES = 2**59  # whose losses have an address
_IMAGES_PER_THREAD = 256  # fewer are done before another thread has started


class Progress(NamedTuple):
    """What `Sequential.fit` reports of a window of steps.

    Attributes:
        epoch: from 1.
        step: the last step of the window, from 1 in each epoch.
        loss: the mean over the window's samples, in nats.
        accuracy: the share of the window's samples that were recognised before the step on them.
        validation: at the end of an epoch, the loss and accuracy of the validation set, if there is one; else None.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    validation: tuple[float, float] | None = None


class History(NamedTuple):
    """What `Sequential.fit` saw of every sample, in the order of the steps.

    Attributes:
        losses: float64 (epochs * n,), the cross-entropy of each sample before the step on it, in nats.
        correct: bool (epochs * n,), whether its label had the largest probability.
        validation: float64 (epochs, 2), loss and accuracy of the validation set after each epoch; (0, 2) without one.
    """

    losses: NDArray[np.float64]
    correct: NDArray[np.bool_]
    validation: NDArray[np.float64]

    def __repr__(self) -> str:
        """Return one line: the means over all samples, and the last validation."""
        seen = f"{len(self.losses):,} samples"
        if len(self.losses) > 0:
            seen += f", mean loss {self.losses.mean():.3f}, accuracy {self.correct.mean():.1%}"
        if len(self.validation) > 0:
            loss, accuracy = self.validation[-1]
            seen += f"; validation loss {loss:.3f}, accuracy {accuracy:.1%}"
        return f"History({seen})"


class Sequential(KnownAttributes):
    """Layers in a row: an image enters the first, probabilities leave the last.

    The last layer, and it alone, is a Softmax. The core computes the layers: a subclass with its own `forward` or
    `backprop` is refused, since neither would be called. Layers that do not fit together, or of different dtypes, are
    refused at the first use, with the layer's position.

    The network copies its layers' parameters into one array, `parameters`, and gives the layers its slices. An array
    assigned to a layer is copied into its slice. A layer may be used at several positions: it has its parameters once,
    and training sums its gradients. A layer may belong to several networks: each of them trains it, and its arrays
    stay with the first. A copy, by `copy` or `pickle`, has layers and arrays of its own.

    Args:
        layers: the layers; they may also be used by hand, before and after.

    Attributes:
        layers: the list of them. The next use notices what has changed in it.
        image_shape: (height, width) of the images that it was trained on, or None. If the layers depend on it, as a
            dense layer does, images of another size are refused.
        pixels: the kind of images that it was trained on and their range, or None. Images that are clearly on another
            scale cause a UserWarning.
    """

    image_shape: tuple[int, int] | None = None
    pixels: Pixels | None = None
    _familiar: Any = None  # the dtype of images whose scale has been looked at since the training
    layers: list[Layer] = []  # noqa: RUF012  # each network has its own
    _fuse = True  # tests train the plain plan too

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = list(layers)
        self._gradient: FloatArray | None = None
        self._flat: FloatArray | None = None
        self._history: History | None = None
        self._unplan()
        self._adopt()

    def _unplan(self) -> None:
        """Be without the core's network, as a new object, a copy and a forked process are."""
        # The core's layers, the image shape, and the core's network: one tuple, since threads may predict at once.
        self._planned: tuple[list[Any], tuple[int, ...], Any] = ([], (), None)
        self._lock = threading.RLock()  # no array moves while a window of steps trains it
        _networks.add(self)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "layers":
            value = _layers(value)
        elif name == "image_shape" and value is not None:
            value = _checks.image_shape(name, value)
        elif name == "pixels":
            self._familiar = None
        if name == "pixels" and value is not None and not isinstance(value, Pixels):
            raise TypeError(f"pixels: expected what a trained network has, or None, got {value!r}")
        super().__setattr__(name, value)

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
        augment: Augmentation | None = None,
        validation: tuple[NDArray[Any], NDArray[Any]] | None = None,
        shuffle: bool = True,
        rng: np.random.Generator | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        progress_every: int = 100,
    ) -> History:
        """Train on the cross-entropy loss; with no more than a learn rate one image at a time, as the article does.

        A step follows the mean gradient of its batch. The result depends on the seed, not on the number of threads.
        Ctrl-C takes effect at the end of a window of steps: parameters and optimizer are those after its last step,
        `history` has what was seen until then, and KeyboardInterrupt is raised.

        Args:
            images: (n, height, width), n at least 1: uint8, read as x / 255 - 0.5, or floats, used as they are.
            labels: integers (n,), 0 to nodes - 1.
            epochs: how often to go through all the images, at least 1.
            learn_rate: the step of plain gradient descent, finite and at least 0; or else give an optimizer.
            batch_size: how many images a step has, at least 1; an epoch's last one may have fewer.
            threads: how many threads share a batch, and the validation, at least 1; None uses the CPUs that this
                process may use.
            optimizer: `SGD` or `Adam`, which continues from its own state.
            schedule: one of `cnnx.schedules`, or its name, or any function from the number of steps to a float array
                (steps,) of factors on the learn rate; None for `constant`.
            augment: changes each image a little as it is loaded, `RandomShift` or `RandomAffine`.
            validation: images and labels to evaluate after each epoch.
            shuffle: whether each epoch takes the images in an order of its own.
            rng: draws that order, and what Dropout and augment need; None takes numpy's global generator, as the
                article does.
            on_progress: called at the end of each window. What it assigns to the optimizer, such as another learn
                rate, holds from the next window on.
            progress_every: how many steps a window has, at least 1; an epoch's last one may have fewer.

        Returns:
            The loss of every sample, whether it was recognised, and how the validation went.

        Raises:
            TypeError, ValueError: an argument is not as described, the layers do not fit, or one of their arrays was
                made read-only; nothing has changed.
            FloatingPointError: a loss is no longer finite; parameters and optimizer are as before that window.
        """
        images = self._images(images)
        pixels = _images.pixels(images)
        labels = _labels(labels, len(images), self._nodes())
        epochs = _checks.positive_integer("epochs", epochs)
        batch_size = min(_checks.positive_integer("batch_size", batch_size), len(images))
        window = _checks.positive_integer("progress_every", progress_every)
        shuffle = _checks.boolean("shuffle", shuffle)
        if on_progress is not None and not callable(on_progress):
            raise TypeError(f"on_progress: expected a callable or None, got {type(on_progress).__name__}")
        if augment is not None and not isinstance(augment, Augmentation):
            raise TypeError(f"augment: expected an augmentation of cnnx or None, got {type(augment).__name__}")
        follow = _optimizer(learn_rate, optimizer)
        if validation is not None:
            validation = self._validation(validation)
        generator = _checks.generator(rng) or np.random
        team = _thread_count(threads, batch_size, least=1)
        count, steps = len(images), -(-len(images) // batch_size)
        if epochs * count > _MOST_SAMPLES:
            most = _MOST_SAMPLES // count
            raise ValueError(f"epochs: expected at most {most} for {count} images, whose losses are kept, got {epochs}")
        of_steps = factors(schedule, epochs * steps)
        if validation is not None:
            self._check_validation(validation[0], images.shape[1:])
        plan = self._trainable(images.shape[1:])
        seed, draws = 0, np.random.default_rng(0)
        if augment is not None or any(isinstance(layer, Dropout) for layer in self.layers):
            seed = int(generator.integers(2**63) if rng is not None else np.random.randint(2**63, dtype=np.int64))
            draws = np.random.default_rng(seed)

        if (complaint := _images.complaint_about_bytes(pixels)) is not None:
            warnings.warn(complaint, stacklevel=2)
        elif self.pixels is not None:
            self._check_scale(images, stacklevel=3)
        remembered = pixels.and_of(self.pixels)
        background = _background(augment, pixels)
        follow.compiled(plan.parameter_count, self._dtype())  # its states are there from here on
        # The system gives their memory page by page, as the epochs fill them.
        losses, correct = np.empty(epochs * count), np.empty(epochs * count, np.bool_)
        validated = np.empty((0 if validation is None else epochs, 2))
        began, tested = follow.steps, 0
        try:
            for epoch in range(epochs):
                order = np.asarray(generator.permutation(count) if shuffle else np.arange(count), np.int64)
                maps = None if augment is None else augment.maps(count, images.shape[1:], draws)
                step = 0
                while step < steps:
                    started, stop = time.perf_counter(), min(step + window, steps)
                    is_whole = stop - step == window
                    some = slice(step * batch_size, min(stop * batch_size, count))
                    seen = slice(epoch * count + some.start, epoch * count + some.stop)
                    with self._lock:
                        plan = self._trainable(images.shape[1:])
                        rates = follow.learn_rate * of_steps.between(epoch * steps + step, epoch * steps + stop)
                        with self._kept_unless_finite(follow, losses[seen], epoch, step, batch_size, rates):
                            plan.train(
                                images,
                                labels,
                                order[some],
                                batch_size,
                                rates,
                                follow.compiled(plan.parameter_count, self._dtype()),
                                None if maps is None else np.ascontiguousarray(maps[some], np.float64),
                                background,
                                seed,
                                seen.start,
                                team,
                                losses[seen],
                                correct[seen],
                            )
                    self._remember(images, remembered)
                    step = stop
                    result = None
                    if step == steps and validation is not None:
                        result = self.evaluate(*validation, threads=threads)
                        validated[epoch], tested = result, epoch + 1
                    if on_progress is not None:
                        mean_loss, accuracy = float(losses[seen].mean()), float(correct[seen].mean())
                        on_progress(Progress(epoch + 1, step, mean_loss, accuracy, result))
                    elif is_whole and time.perf_counter() - started < _SHORT:
                        window *= 4  # nobody waits for it, and Ctrl-C can
        finally:  # after Ctrl-C too, what was done is known
            done_epochs, rest = divmod(follow.steps - began, steps)
            done = done_epochs * count + min(rest * batch_size, count)
            self._history = History(losses[:done], correct[:done], validated[:tested])
        return self._history

    @property
    def history(self) -> History | None:
        """What the last `fit` saw, up to its last whole window, also if an error or Ctrl-C ended it; None before."""
        return self._history

    def gradients(
        self, images: NDArray[Any], labels: NDArray[Any], *, threads: int | None = None
    ) -> tuple[float, float]:
        """Compute the mean gradient of a batch into `gradient`, and return its mean loss and its accuracy.

        The layers stay as they are: `apply` takes the step, perhaps after `gradient` has been changed, for example
        averaged over several machines. Dropout is active, as in `fit`, and draws from numpy's global generator.

        Args:
            images: the batch, as in `fit`.
            labels: as in `fit`.
            threads: as in `fit`.
        """
        images = self._images(images)
        pixels = _images.pixels(images)
        labels = _labels(labels, len(images), self._nodes())
        threads = _thread_count(threads, len(images), least=1)
        plan = self._network(images.shape[1:])
        has_dropout = any(isinstance(layer, Dropout) for layer in self.layers)
        seed = int(np.random.randint(2**63, dtype=np.int64)) if has_dropout else 0
        order, losses, correct = np.arange(len(images)), np.empty(len(images)), np.empty(len(images), np.bool_)
        plan.gradient(images, labels, order, seed, 0, threads, self.gradient, losses, correct)
        self._remember(images, pixels.and_of(self.pixels))
        return float(losses.mean()), float(correct.mean())

    def apply(self, optimizer: Optimizer) -> None:
        """Take the optimizer's step along `gradient`; ValueError if an array of a layer was made read-only."""
        if self._planned[2] is None or self._gradient is None:
            raise RuntimeError("apply: expected gradients before it, got none")
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected SGD or Adam, got {type(optimizer).__name__}")
        with self._lock:
            plan = self._trainable(self._planned[1])
            plan.apply(self._gradient, optimizer.compiled(plan.parameter_count, self._dtype()), optimizer.learn_rate)

    @property
    def gradient(self) -> FloatArray:
        """All parameters' gradients in the order of `parameters`: one flat array.

        A layer that is used at several positions has one gradient, the sum over them.
        """
        count = sum(layer.parameter_count() for layer in self._distinct())
        if self._gradient is None or self._gradient.size != count or self._gradient.dtype != self._dtype():
            self._gradient = np.zeros(count, self._dtype())
        return self._gradient

    @property
    def parameters(self) -> FloatArray:
        """All parameters, layer by layer: one flat array whose slices are the layers' arrays.

        A layer that is used at several positions has its parameters at the first of them. The array stays the same as
        long as the layers do.

        Raises:
            ValueError: a layer's arrays lie in another network's flat array, or the layers have different dtypes.
        """
        flat = self._adopt()
        if flat is None:
            self._dtype()
            position = next(i for i, layer in enumerate(self.layers) if layer.network() not in (None, self))
            raise ValueError(
                f"layers[{position}] ({type(self.layers[position]).__name__}): expected a layer of this network alone, "
                "got one whose arrays are slices of another network's parameters (copy.deepcopy gives a layer its own)"
            )
        return flat

    def summary(self, image_shape: tuple[int, int] | None = None) -> None:
        """Print the layers, their outputs' shapes for images of `image_shape`, and how many parameters they have.

        A layer that is at several positions counts at the first of them.

        Args:
            image_shape: (height, width); None takes the network's own, or 28x28.
        """
        image_shape = _checks.image_shape("image_shape", image_shape or self.image_shape or (28, 28))
        self._check_shapes(image_shape)
        print(f"{'layer':<12} {'output shape':<16} {'parameters':>12}")
        shapes, counts = self._sizes(image_shape)
        for layer, shape, count in zip(self.layers, shapes, counts, strict=True):
            print(f"{layer.kind:<12} {shape!s:<16} {count:>12,}")
        print(f"{'total':<29} {sum(counts):>12,}")

    def __repr__(self) -> str:
        """Return what one would type to make it; beside each layer its output's shape and its parameters."""
        image_shape = self.image_shape or (28, 28)
        try:
            shapes, counts = self._sizes(image_shape)
        except (AttributeError, TypeError, ValueError):  # layers that do not fit such images, or each other
            return f"{type(self).__name__}({self.layers!r})"
        typed = [f"    {layer!r}," for layer in self.layers]
        width = max(map(len, typed), default=0)
        lines = [f"{type(self).__name__}([  # for images of {image_shape}: {sum(counts):,} parameters"]
        for text, shape, count in zip(typed, shapes, counts, strict=True):
            lines.append(f"{text:<{width}}  # {shape}" + (f", {count:,}" if count > 0 else ""))
        return "\n".join([*lines, "])"])

    def _sizes(self, image_shape: tuple[int, int]) -> tuple[list[tuple[int, ...]], list[int]]:
        """Return each layer's output shape, and how many parameters it has that no layer before it has."""
        shapes: list[tuple[int, ...]] = []
        counts = []
        for position, layer in enumerate(self.layers):
            shapes.append(layer.output_shape(shapes[-1] if shapes else image_shape))
            is_again = any(layer is before for before in self.layers[:position])
            counts.append(0 if is_again else layer.parameter_count())
        return shapes, counts

    def evaluate(
        self, images: NDArray[Any], labels: NDArray[Any], *, threads: int | None = None
    ) -> tuple[float, float]:
        """Return the mean cross-entropy loss in nats and the share of images recognised, without training.

        Args:
            images: as in `fit`.
            labels: as in `fit`.
            threads: how many threads share the images, at least 1; None uses the CPUs that this process may use. The
                result does not depend on it.
        """
        images = self._images(images)
        labels = _labels(labels, len(images), self._nodes())
        if images.dtype is not self._familiar or len(images) >= _MANY:
            self._check_scale(images, stacklevel=3)
        losses, correct = self._network(images.shape[1:]).evaluate(images, labels, _thread_count(threads, len(images)))
        if images.dtype != _UINT8 and not np.isfinite(losses).all():
            _images.refuse_non_finite(images)
        return float(losses.mean()), float(correct.mean())

    def predict(self, images: NDArray[Any], *, threads: int | None = None) -> FloatArray:
        """Return the probabilities of the classes, (n, nodes), or (nodes,) for one image (height, width).

        Args:
            images: (n, height, width) or (height, width), as in `fit`; n may be 0.
            threads: as in `evaluate`.
        """
        one = isinstance(images, np.ndarray) and images.ndim == 2
        images = self._images(images[np.newaxis] if one else images, least=0)
        shape = images.shape
        count = shape[0]
        if images.dtype is not self._familiar or count >= _MANY:
            self._check_scale(images, stacklevel=3)
        network = self._network(shape[1:], shape[1:] if one else shape)
        probabilities: FloatArray = network.predict(images, _thread_count(threads, count))
        return probabilities[0] if one else probabilities

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to the file `path`, which appears whole or not at all; `cnnx.load` reads it."""
        from .storage import save

        self._check_kinds()
        save(self, path)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle needs: the core's network belongs to this object's own arrays."""
        return {name: value for name, value in self.__dict__.items() if name not in _OF_ONE_OBJECT}

    def __copy__(self) -> Sequential:
        """Return a network with layers of its own."""
        return copy.deepcopy(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take all attributes, a subclass's too, and plan anew."""
        self.__dict__.update(state)
        self._gradient = self._flat = None
        self._unplan()
        self._adopt()

    def _images(self, images: Any, least: int = 1) -> Any:
        """Return images as the core takes them."""
        if not _KINDS.issuperset(map(type, self.layers)):
            self._check_kinds()
        dtype = images.dtype if isinstance(images, np.ndarray) else None
        if dtype == _UINT8:
            array = _checks.as_numbers("images", images, _UINT8)
        elif dtype is not None and dtype.kind in "iu":
            raise TypeError(f"images: expected uint8, 0 to 255, or floats, got dtype {dtype}")
        else:
            array = _checks.as_numbers("images", images, self._dtype())
        shape = array.shape
        if len(shape) != 3 or shape[0] < least or 0 in shape:
            self._check_axes(shape, least)
        if least and shape[1:] != self._planned[1]:
            self._check_shapes(shape[1:], shape)
        return array

    def _remember(self, images: Any, pixels: Pixels) -> None:
        """Remember what the images were that a step has been taken on."""
        self.image_shape = images.shape[1:]
        familiar = self._familiar if self.pixels is not None and pixels[:3] == self.pixels[:3] else None
        self.pixels, self._familiar = pixels, familiar

    def _check_scale(self, images: Any, stacklevel: int) -> None:
        """Warn of images on another scale than those of the training."""
        trained = self.pixels
        complaint = None if trained is None else _images.complaint_about_scale(images, trained)
        if complaint is not None:
            warnings.warn(complaint, stacklevel=stacklevel)
        else:
            self._familiar = images.dtype

    def _check_axes(self, shape: tuple[int, ...], least: int) -> None:
        if len(shape) == 3 and shape[0] >= least and 0 not in shape[1:]:
            return
        size = self._fixed_size() or _images.fitting_size(self._fits)
        if len(shape) != 3 and size is not None:
            raise _images.size_error(size, shape)
        raise ValueError(f"images: expected shape (n, height, width), n at least {least}, got {shape}")

    def _validation(self, validation: Any) -> tuple[Any, Any]:
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise TypeError(f"validation: expected images and labels, got {type(validation).__name__}")
        try:
            images = self._images(validation[0])
            if images.dtype != _UINT8:
                _images.pixel_range(images)
            return images, _labels(validation[1], len(images), self._nodes())
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation: {error}") from None

    def _check_validation(self, images: Any, image_shape: tuple[int, ...]) -> None:
        """Refuse validation images of another size than the training's, if the layers depend on it."""
        if images.shape[1:] != image_shape and not self._takes_any_size():
            raise ValueError(f"validation: {_images.size_error(image_shape, images.shape)}")  # type: ignore[arg-type]

    @contextmanager
    def _kept_unless_finite(
        self,
        optimizer: Optimizer,
        losses: NDArray[np.float64],
        epoch: int,
        step: int,
        batch_size: int,
        rates: NDArray[np.float64],
    ) -> Iterator[None]:
        """Put parameters and optimizer back if a window of steps ends with numbers that are not finite."""
        arrays = [array for layer in self.layers for array in layer.parameters().values()] + optimizer.states()
        kept = [array.copy() for array in arrays]

        def put_back() -> None:
            for array, values in zip(arrays, kept, strict=True):
                array[...] = values

        try:
            yield
            finite = np.isfinite(losses)
            if finite.all() and all(map(_is_finite, arrays)):
                return
        except Exception:  # for example no memory; after Ctrl-C the window is complete
            put_back()
            raise
        put_back()
        sample = len(losses) - 1 if finite.all() else int(np.argmin(finite))
        what = (
            "parameters: expected finite numbers, got others"
            if finite.all()
            else (f"loss: expected a finite number, got {losses[sample]}")
        )
        bad = sample // batch_size
        raise FloatingPointError(
            f"{what} at step {step + bad + 1} of epoch {epoch + 1} with learn rate {rates[bad]:g}; the parameters are "
            f"those after step {step} (try a smaller learn rate)"
        )

    def _dtype(self) -> np.dtype[Any]:
        dtypes = {layer.dtype: position for position, layer in reversed(list(enumerate(self.layers))) if layer.dtype}
        if len(dtypes) > 1:
            (first, _), (other, position) = sorted(dtypes.items(), key=lambda item: item[1])[:2]
            raise ValueError(f"layers[{position}]: expected dtype {first}, as the layers before it, got {other}")
        return next(iter(dtypes), np.dtype(np.float64))

    def _nodes(self) -> int:
        last = self.layers[-1] if self.layers else None
        if not isinstance(last, Softmax):
            got = "no layers" if last is None else type(last).__name__
            raise ValueError(f"layers: expected Softmax at the end, got {got}")
        return len(last.biases)

    def _network(self, image_shape: tuple[int, ...], given: tuple[int, ...] | None = None) -> Any:
        """Return the core's network for images of this size, made anew when an array, a setting or a layer is new.

        `given` is the shape that the caller gave, for an error.
        """
        planned_cores, planned_shape, plan = self._planned
        if planned_shape == image_shape and [layer.core for layer in self.layers] == planned_cores:
            return plan
        self._check_shapes(image_shape, given)
        self._adopt()
        cores = [layer.core for layer in self.layers]
        height, width = image_shape
        plan = _core.Network(cores, height, width, self._dtype(), fuse=self._fuse)
        self._planned = cores, image_shape, plan
        return plan

    def _trainable(self, image_shape: tuple[int, ...]) -> Any:
        """Return the plan, if it may write into the parameters."""
        for position, layer in enumerate(self.layers):
            for name, array in layer.parameters().items():
                if not array.flags.writeable:
                    raise ValueError(
                        f"layers[{position}] ({type(layer).__name__}): {name}: expected a writable array, which "
                        "training updates in place, got one that was made read-only"
                    )
        return self._network(image_shape)

    def _distinct(self) -> list[Layer]:
        """The layers that have parameters, in order, each once."""
        self._check_kinds()
        return list({id(layer): layer for layer in self.layers if layer.parameters()}.values())

    def _adopt(self) -> FloatArray | None:
        """Return the flat array of all parameters, made anew if the layers are others than before.

        None while the layers' dtypes differ or another network has one of them: then all arrays stay where they are.
        """
        layers = self._distinct()
        if not self._has(layers):
            with self._lock:
                is_free = all(layer.network() in (None, self) for layer in layers)
                if not is_free or len({layer.dtype for layer in layers}) > 1:
                    self._flat = None
                elif not self._has(layers):  # another thread may have been here
                    self._flat = _flat.adopt(layers, self._dtype(), self)
        return self._flat

    def _has(self, layers: list[Layer]) -> bool:
        """Whether the layers' arrays fill this network's flat array."""
        is_owner = all(layer.slot is not None and layer.slot.network() is self for layer in layers)
        return is_owner and self._flat is not None and _flat.fill(layers, self._flat)

    def _check_kinds(self) -> None:
        for position, layer in enumerate(self.layers):
            if not isinstance(layer, Layer) or layer._own is not None:
                _refuse(position, layer)

    def _check_shapes(self, shape: tuple[int, ...], given: tuple[int, ...] | None = None) -> None:
        """Refuse images of a size that the layers do not take, or take only since their pixels are as many."""
        self._check_kinds()
        self._nodes()
        given = given or shape
        fixed = self._fixed_size()
        if fixed is not None and shape != fixed:
            raise _images.size_error(fixed, given)
        try:
            self._check_layers(shape)
        except ValueError as error:
            size = _images.fitting_size(self._fits)
            if size is None:
                raise
            raise _images.size_error(size, given, str(error)) from None

    def _check_layers(self, shape: tuple[int, ...]) -> None:
        """Refuse layers that do not fit together, for images of a size."""
        for position, layer in enumerate(self.layers):
            where = f"layers[{position}] ({type(layer).__name__})"
            if isinstance(layer, Conv3x3) and layer.in_channels is None and len(shape) == 3:
                help = f"Conv3x3({layer.num_filters}, in_channels={shape[2]}) takes it"
                raise ValueError(f"{where}: expected input (height, width), got {shape} ({help})")
            try:
                shape = layer.output_shape(shape)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            if position > 0 and isinstance(self.layers[position - 1], Softmax):
                raise ValueError(f"{where}: expected nothing after Softmax, got another layer")

    def _fits(self, image_shape: tuple[int, int]) -> bool:
        try:
            self._check_layers(image_shape)
        except ValueError:
            return False
        return True

    def _takes_any_size(self) -> bool:
        return any(isinstance(layer, GlobalAveragePool) for layer in self.layers)

    def _fixed_size(self) -> tuple[int, int] | None:
        """Return the only size of images that the network takes; None if it has none, or has got other layers since."""
        size = self.image_shape
        return size if size is not None and not self._takes_any_size() and self._fits(size) else None


def _layers(value: Any) -> list[Layer]:
    """Return an assigned row of layers as a list."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"layers: expected a list of cnnx layers, got {type(value).__name__}")
    for position, layer in enumerate(value):
        if not isinstance(layer, Layer) or layer._own is not None:
            _refuse(position, layer)
    return value if isinstance(value, list) else list(value)


def _refuse(position: int, layer: Any) -> NoReturn:
    if isinstance(layer, Layer):
        raise TypeError(
            f"layers[{position}] ({type(layer).__name__}): expected a layer that the core computes, got {layer._own} "
            "(a network never calls Python; use such a layer by hand)"
        )
    raise TypeError(f"layers[{position}]: expected a cnnx layer, got {layer!r}")


_OF_ONE_OBJECT = ("_planned", "_lock", "_gradient", "_flat")
_networks: weakref.WeakSet[Sequential] = weakref.WeakSet()
_abandoned: list[Any] = []


def _after_fork() -> None:
    """In the child, forget the core's networks: a thread that the child does not have may hold their locks."""
    for network in list(_networks):
        _abandoned.append(network._planned)  # which nobody may destroy either
        network._unplan()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _is_finite(array: FloatArray) -> bool:
    """Whether all numbers are; the sum of their squares, which is quick, usually tells."""
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def _background(augment: Augmentation | None, pixels: Pixels) -> float:
    """Return what surrounds augmented images, as the first layer reads it."""
    given = None if augment is None else augment.background
    if pixels.dtype == "uint8":
        return (given or 0) / 255 - 0.5
    return pixels.least if given is None else given


def _labels(labels: Any, count: int, nodes: int) -> NDArray[np.int32]:
    if not isinstance(labels, np.ndarray) or isinstance(labels, np.ma.MaskedArray) or labels.dtype.kind not in "iu":
        got = f"dtype {labels.dtype}" if type(labels) is np.ndarray else type(labels).__name__
        raise TypeError(f"labels: expected a numpy array of integers, got {got}")
    if labels.shape != (count,):
        raise ValueError(f"labels: expected shape ({count},), one label an image, got {labels.shape}")
    if labels.min() < 0 or labels.max() >= nodes:
        raise ValueError(f"labels: expected 0 to {nodes - 1}, got {labels.min()} to {labels.max()}")
    return np.ascontiguousarray(labels, np.int32)


def _optimizer(learn_rate: float | None, optimizer: Any) -> Optimizer:
    if optimizer is None:
        if learn_rate is None:
            raise TypeError("learn_rate: expected a number, or else an optimizer, got neither")
        return SGD(learn_rate)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected SGD, Adam or None, got {type(optimizer).__name__}")
    if learn_rate is not None:
        raise TypeError(f"learn_rate: expected none beside an optimizer, which has its own, got {learn_rate!r}")
    return optimizer


def _thread_count(threads: int | None, samples: int, least: int = _IMAGES_PER_THREAD) -> int:
    """How many threads share `samples`, each at least `least` of them unless the caller says otherwise."""
    if threads is None:
        if samples < 2 * least:
            return 1
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(cpus, samples // least))
    return max(1, min(_checks.positive_integer("threads", threads), samples, _MOST_THREADS))
