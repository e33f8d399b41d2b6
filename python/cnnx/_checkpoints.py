"""Checkpoints: all that a run of `Sequential.fit` needs to go on in another process, with the same bits.

A checkpoint is one npz file without pickle. It has the arrays that the run changes and, under the name "checkpoint", a
JSON text: what the run was asked to do, how many steps it has taken, and everything else that is not an array.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core, _stack
from ._arguments import asked, settings, words
from ._images import Pixels
from ._whole_files import check_writable, naming, writing
from .early_stopping import Memory
from .history import History
from .storage import LONGEST_TEXT, check_version, read

if TYPE_CHECKING:
    from ._ranks import Ranks
    from ._training import Course, Draws, Run

_SEEN = ("losses", "correct", "validation")  # the arrays of a history


class Checkpoints:
    """Where and when a run writes its checkpoints, and the one that it goes on from.

    Args:
        path: the file to write; None to write none.
        every: after how many steps; None for once an epoch.
        source: the checkpoint to go on from, or None.
    """

    def __init__(self, path: Path | None, every: int | None, source: Source | None) -> None:
        self._path, self._every, self._source = path, every, source
        self._asked: dict[str, Any] = {}

    def check(self, run: Run, **more: Any) -> None:
        """Remember what the run is asked to do; `more` is what it does not know itself.

        Raises:
            ValueError: the run that wrote the checkpoint was asked to do something else.
        """
        self._asked = {**asked(run), **{name: words(value) for name, value in more.items()}}
        if (length := len(json.dumps(self._asked))) > LONGEST_TEXT // 2:  # the rest takes a few thousand characters
            raise ValueError(f"checkpoint: expected layers that {LONGEST_TEXT // 2} characters describe, got {length}")
        if self._source is not None:
            self._source.check(run, self._asked)

    def go_on(self, run: Run, draws: Draws) -> NDArray[np.int64] | None:
        """Put the run where the checkpoint is. Return the order of the epoch that has begun, or None between two."""
        return None if self._source is None else self._source.give_to(run, draws)

    def next(self, step: int, epoch: int) -> int:
        """Return the step after which the next checkpoint is due.

        Args:
            step: how many steps the run has taken.
            epoch: how many steps an epoch has.
        """
        every = self._every or epoch
        return (step // every + 1) * every

    def is_due(self, step: int, course: Course) -> bool:
        """Whether a checkpoint is due after `step` steps of the run."""
        return step == course.all_steps or step % (self._every or course.steps) == 0

    def write(self, run: Run, draws: Draws, order: NDArray[np.int64] | None) -> None:
        """Write where the run is. `order` is that of the epoch that has begun, or None between two."""
        if self._path is None:
            return
        with run.network._lock:
            own, place = _arrays(run), run.plan().place()
            seen, factors = run.history(), run.factors(0, run.steps).astype(np.float32)
            arrays = {**own, **{name: getattr(seen, name) for name in _SEEN}, "factors": factors}
            if order is not None:
                arrays["order"] = order
            if place.packed is not None:
                arrays["packed"] = place.packed
            best = None
            if run.best is not None:
                memory, names = run.best.memory, {id(array): name for name, array in own.items()}
                best = {"least": memory.least, "epochs_since": memory.epochs_since}
                kept = [(names.get(id(array)), values) for array, values in (*memory.parameters, *memory.states)]
                arrays |= {f"best.{name}": values for name, values in kept if name is not None}
            described = Text(
                asked=self._asked,
                steps=run.steps,
                draws=draws.state(is_within_epoch=order is not None),
                optimizer=settings(run.optimizer),
                pixels=run.pixels,
                place={"steps": place.steps, "plain": place.plain},
                best=best,
            )
            text = np.array(json.dumps(described._asdict(), default=_array_as_json))
            with naming(self._path), writing(self._path) as file:
                np.savez(file, checkpoint=text, **arrays)


class Text(NamedTuple):
    """What a checkpoint says beside its arrays.

    Attributes:
        asked: what decides the bits of the run, in words.
        steps: how many steps the run has taken.
        draws: where its generators are.
        optimizer: the settings that the optimizer has now.
        pixels: what the network remembers of the images.
        place: where the core's training is.
        best: the best epoch without its arrays; None without early stopping.
        format, version: those of the file.
    """

    asked: dict[str, Any]
    steps: int
    draws: dict[str, Any]
    optimizer: dict[str, Any]
    pixels: tuple[Any, ...]
    place: dict[str, Any]
    best: dict[str, Any] | None
    format: str = "cnnx checkpoint"
    version: int = 1


class Source:
    """A checkpoint that was read.

    Args:
        path: its file.
        text: what it says.
        arrays: its arrays by name.
    """

    def __init__(self, path: Path, text: Text, arrays: dict[str, Any]) -> None:
        self._path, self._text, self._arrays = path, text, arrays

    def check(self, run: Run, asked: dict[str, Any]) -> None:
        """Refuse a run that would not have come to this checkpoint."""
        course, steps = run.course, self._text.steps
        for name, given in asked.items():
            if (found := self._text.asked.get(name)) != given:
                self._refuse(name, found, given)
        begun = -(-steps // course.steps)
        if course.epochs < begun:
            self._refuse("epochs", f"at least {begun}", course.epochs)
        self._check_arrays(run)
        if not np.allclose(run.factors(0, steps), self._arrays["factors"], rtol=1e-6, atol=0):
            rates, help = f"the learn rates of the first {steps} steps", "does it depend on the number of epochs?"
            self._refuse("schedule", rates, f"others ({help})")

    def give_to(self, run: Run, draws: Draws) -> NDArray[np.int64] | None:
        """Put the run where the checkpoint is. Return the order of the epoch that has begun, or None between two."""
        text, arrays = self._text, self._arrays
        with run.network._lock:
            self._give_parameters(run)
            for name, value in text.optimizer.items():
                setattr(run.optimizer, name, value)
            run.optimizer.take_memory(_under("optimizer.", arrays))
            own = _arrays(run)
            run.go_on(text.steps, History(*(arrays[name] for name in _SEEN)), Pixels(*text.pixels))
            if run.best is not None and text.best is not None:
                best = [(name, (own[name], values)) for name, values in _under("best.", arrays).items()]
                parameters = [pair for name, pair in best if name.startswith("layers.")]
                states = [pair for name, pair in best if not name.startswith("layers.")]
                run.best.memory = Memory(**text.best, parameters=parameters, states=states)
            draws.go_on(text.draws)
        return arrays.get("order")

    def _give_parameters(self, run: Run) -> None:
        """Set the layers' arrays, and the same numbers as the core holds them, or refuse and change nothing."""
        own = {name: array for name, array in _arrays(run).items() if not name.startswith("optimizer.")}
        own = {name: array for name, array in own.items() if array.flags.writeable}  # a frozen layer's may be read-only
        before = {name: array.copy() for name, array in own.items()}
        try:
            for name, array in own.items():
                array[...] = self._arrays[name]
            run.plan().continue_at(_core.Place(packed=self._arrays.get("packed"), **self._text.place))
        except (TypeError, ValueError) as error:
            for name, array in own.items():
                array[...] = before[name]
            raise ValueError(
                f"{self._path}: expected a checkpoint of fit, got another or a damaged file "
                f"({error}; has another version of cnnx written it?)"
            ) from error

    def _check_arrays(self, run: Run) -> None:
        """Refuse arrays of other shapes than those of such a run, and read-only arrays with other values."""
        course, steps, plan = run.course, self._text.steps, run.plan()
        samples, validated = course.samples_in(steps), 0 if run.validation is None else steps // course.steps
        own = {name: array for name, array in _arrays(run).items() if not name.startswith("optimizer.")}
        expected = {name: (array.shape, array.dtype) for name, array in own.items()}
        expected |= {
            "optimizer.steps": ((1,), np.dtype(np.int64)),
            "losses": ((samples,), np.dtype(np.float64)),
            "correct": ((samples if run.loss.has_classes else 0,), np.dtype(np.bool_)),
            "validation": ((validated, 2), np.dtype(np.float64)),
            "factors": ((steps,), np.dtype(np.float32)),
        }
        if steps % course.steps > 0:
            expected["order"] = (course.images,), np.dtype(np.int64)
        state = (plan.parameter_count,), _stack.dtype_of(run.network.layers)
        for name in {*expected, *self._arrays} - {"packed"}:
            array, own_name = self._arrays.get(name), name.removeprefix("best.")
            shape, dtype = expected.get(own_name, state)
            if array is None or (array.shape, array.dtype) != (shape, dtype):
                got = "none" if array is None else f"{array.dtype} of shape {array.shape}"
                raise ValueError(
                    f"{self._path}: expected a checkpoint of fit, got another or a damaged file "
                    f"({name}: expected {dtype} of shape {shape}, got {got})"
                )
        for name, array in own.items():
            if not array.flags.writeable and array.tobytes() != self._arrays[name].tobytes():
                raise ValueError(
                    f"{name}: expected the values of the checkpoint {str(self._path)!r}, because the array is "
                    "read-only, got others"
                )

    def _refuse(self, name: str, expected: Any, got: Any) -> NoReturn:
        raise ValueError(f"{name}: expected {expected}, as in the checkpoint {str(self._path)!r}, got {got}")


def checkpoints(checkpoint: Any, checkpoint_every: Any, resume: Any, ranks: Ranks | None) -> Checkpoints | None:
    """Check these arguments of `fit`, and read the checkpoint to go on from. None if there are none.

    Of several ranks, only rank 0 reads and writes files. It gives the others what it has read. All of them must be
    given paths, which may differ.

    Raises:
        OSError: the checkpoint cannot be read, or the file cannot be written.
        TypeError, ValueError: an argument is not as `fit` describes it, or the file is no checkpoint.
    """
    path, source = _path("checkpoint", checkpoint), _path("resume", resume)
    every = None if checkpoint_every is None else _checks.positive_integer("checkpoint_every", checkpoint_every)
    if path is None and every is not None:
        raise TypeError(f"checkpoint_every: expected checkpoint=path beside it, got only {every}")
    if ranks is not None:
        given = {"checkpoint": path, "resume": source}
        ranks.agree("the files of fit", {name: None if file is None else "a path" for name, file in given.items()})
    is_first = ranks is None or ranks.is_first
    if path is not None and is_first:
        check_writable(path)
    starts = path is not None and source is not None and source.absolute() == path.absolute() and not source.exists()
    found = None if source is None or starts or not is_first else _read(source)
    if ranks is not None:
        found = ranks.round("resume", found)[0]
    if path is None and source is None:
        return None
    return Checkpoints(path if is_first else None, every, found)


def _path(name: str, given: Any) -> Path | None:
    if given is None:
        return None
    if not isinstance(given, (str, os.PathLike)) or not os.fspath(given):
        raise TypeError(f"{name}: expected a path or None, got {given!r}")
    return Path(given)


def _read(path: Path) -> Source:
    def take(file: Any) -> Source:
        described = json.loads(file.text("checkpoint"), object_hook=_json_as_array)
        if described["format"] != Text._field_defaults["format"]:
            raise ValueError("no text of a checkpoint")
        check_version(described["version"], Text._field_defaults["version"])
        return Source(
            path, Text(**described), {name: file.array(name) for name in file.names() if name != "checkpoint"}
        )

    source: Source = read(path, "a checkpoint of fit", take)
    return source


def _arrays(run: Run) -> dict[str, Any]:
    """Return the arrays that a step changes, by their names in the file, each once."""
    arrays = {
        f"layers.{position}.{name}": array
        for position, layer in enumerate(run.network.layers)
        if not any(layer is before for before in run.network.layers[:position])
        for name, array in layer.arrays().items()
    }
    arrays |= {f"optimizer.{name}": array for name, array in run.optimizer.memory().items()}
    return arrays if run.average is None else {**arrays, "average": run.average.values}


def _under(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _array_as_json(value: Any) -> Any:
    return {"dtype": value.dtype.name, "array": value.tolist()}


def _json_as_array(value: dict[str, Any]) -> Any:
    return np.array(value["array"], value["dtype"]) if "array" in value else value
