"""Data sets in the files that people have: folders of IDX files under several names, CSV files, npz files.

A set has four parts: images to train on, their labels, images to test on, their labels.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._idx import DataError, read_idx

Part: TypeAlias = "tuple[Path, NDArray[Any]]"  # a part and the file that it is from

_PARTS = ("train-images", "train-labels", "test-images", "test-labels")
_IDX_NAME = re.compile(r"(.*-)?(train|test|t10k)-(images|labels)[-.]idx\d-[a-z]+(?:\.gz)?", re.IGNORECASE)
_CSV_NAME = re.compile(r"(.*[-_. ])?(train|test)\.csv", re.IGNORECASE)
_NPZ_KEYS = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("training_images", "training_labels", "test_images", "test_labels"),
)
_SHOWN = 8  # names in an error, at most


def read(source: Path) -> list[NDArray[Any]]:
    """Read the four parts of the set in a folder or an npz file."""
    if source.is_file() and source.suffix.lower() == ".npz":
        return matched(_read_npz(source))
    if not source.is_dir():
        raise DataError(f'source: expected "sample", "mnist", an existing folder or an npz file, got {str(source)!r}')
    found = {folder: sets for folder in _idx_folders(source) if (sets := _idx_sets(folder))}
    if not found:
        return _read_tables(source)
    if len(found) > 1 and source not in found:
        names = ", ".join(str(folder.relative_to(source)) for folder in found)
        raise DataError(f"{source}: expected one data set, got several, in {names}")
    folder = next(iter(found))
    prefix, files = _only_set(source, found[folder])
    if missing := [part for part in _PARTS if part not in files]:
        raise DataError(
            f"{folder}: expected MNIST's four files, gzipped or not; no {', '.join(missing)} beside "
            f"{_listed(files.values())}"
        )
    parts = [(files[part], read_idx(files[part])) for part in _PARTS]
    return matched(parts, is_transposed=prefix.startswith("emnist"))


def _idx_folders(source: Path) -> list[Path]:
    """Return where the IDX files may be: the folder itself, torchvision's `raw`, and `gzip` of EMNIST's archive."""
    inside = (path for name in ("raw", "gzip") for path in (source / name, *sorted(source.glob(f"*/{name}"))))
    return [source, *inside]


def _idx_sets(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the sets in a folder by the beginning of their files' names, each with the file of each part.

    Of several files of a part, the plain one is taken, since it loads faster. A part may also be a folder with the file
    in it, as Windows unpacks it.
    """
    sets: dict[str, dict[str, Path]] = {}
    entries = [path for path in folder.iterdir() if path.exists()] if folder.is_dir() else []
    for path in sorted(entries, key=lambda path: (path.is_dir(), path.suffix.lower() == ".gz", path.name)):
        if match := _IDX_NAME.fullmatch(path.name):
            prefix, role, kind = (group.lower() for group in match.groups(""))
            inside = [it for it in path.iterdir() if _IDX_NAME.fullmatch(it.name)] if path.is_dir() else [path]
            if inside:
                part = f"{'train' if role == 'train' else 'test'}-{kind}"
                sets.setdefault(prefix, {}).setdefault(part, sorted(inside)[0])
    return sets


def _only_set(source: Path, sets: dict[str, dict[str, Path]]) -> tuple[str, dict[str, Path]]:
    """Return the only set that is whole, or the only one that there is, with its prefix."""
    whole = {prefix: files for prefix, files in sets.items() if len(files) == len(_PARTS)} or sets
    if len(whole) > 1:
        raise DataError(f"{source}: expected one data set, got several: {', '.join(f'{it}*' for it in sorted(whole))}")
    return next(iter(whole.items()))


def _read_tables(folder: Path) -> list[NDArray[Any]]:
    """Read a folder without IDX files: its two CSV files, or its npz file."""
    files = [path for path in folder.iterdir() if path.is_file()]  # opening a pipe would wait for its writer
    named = [(match[2].lower(), path) for path in files if (match := _CSV_NAME.fullmatch(path.name))]
    tables = dict(named)
    if len(named) > 2:
        names = _listed(path for _, path in named)
        raise DataError(f"{folder}: expected two files train.csv and test.csv, got several data sets: {names}")
    if len(tables) == 2:
        parts = [(tables[role], array) for role in ("train", "test") for array in read_csv(tables[role])]
        return matched(parts, is_transposed=tables["train"].name.lower().startswith("emnist"))
    archives = [path for path in files if path.suffix.lower() == ".npz"]
    if len(archives) == 1:
        return matched(_read_npz(archives[0]))
    raise DataError(
        f"{folder}: expected MNIST's four files, gzipped or not; or two files train.csv and test.csv; or one npz file; "
        f"got {_listed(folder.iterdir())}"
    )


def _listed(paths: Iterable[Path]) -> str:
    names = sorted(path.name for path in paths)
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*names[:_SHOWN], *more]) or "an empty folder"


def read_csv(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read square images and their labels: a row has the label and then the pixels, as in Kaggle's files.

    The first line may have the columns' names. The label is then the column "label" or "class", if there is one, and
    else the first.

    Returns:
        The images (n, side, side) and the labels (n,).
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        names = [name.strip(" \"'").lower() for name in file.readline().strip().split(",")]
    labels = [column for column, name in enumerate(names) if name in ("label", "class")]
    if len(labels) > 1:
        raise DataError(f'{path}: expected one column "label" or "class", got {len(labels)}')
    has_names = bool(labels) or _is_name(names[0])
    label = labels[0] if labels else 0
    side = math.isqrt(len(names) - 1)
    if side * side != len(names) - 1 or side == 0:
        help = " (there is no label)" if math.isqrt(len(names)) ** 2 == len(names) > 1 else ""
        raise DataError(f"{path}: expected a label and the pixels of a square image, got {len(names)} columns{help}")
    try:
        table = np.loadtxt(path, np.uint8, delimiter=",", skiprows=int(has_names), ndmin=2, encoding="utf-8-sig")
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: expected integers from 0 to 255, got another table ({error})") from None
    if not len(table):
        raise DataError(f"{path}: expected at least one image, got none")
    return np.delete(table, label, axis=1).reshape(-1, side, side), table[:, label].copy()


def _is_name(cell: str) -> bool:
    """Return whether a first cell is a column's name. A number of any form is data, and so is an empty cell."""
    try:
        float(cell)
    except ValueError:
        return cell != ""
    return False


def _read_npz(path: Path) -> list[Part]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = {name.lower(): name for name in arrays.files}
            for keys in _NPZ_KEYS:
                if set(keys) <= set(stored):
                    return [(path, arrays[stored[key]]) for key in keys]
            names = ", ".join(sorted(arrays.files)[:_SHOWN]) or "none"
    except (EOFError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: expected an npz file, got another or a damaged one ({error})") from None
    raise DataError(f"{path}: expected arrays {' or '.join(', '.join(keys) for keys in _NPZ_KEYS[:2])}; got {names}")


def matched(parts: list[Part], *, is_transposed: bool = False) -> list[NDArray[Any]]:
    """Check that four parts belong together, and return their arrays, all of bytes.

    Labels may be (n, 1), or QMNIST's (n, 8), whose first column is the class. EMNIST's images are transposed.
    """
    (train, train_labels), (test, test_labels) = _pair(*parts[:2]), _pair(*parts[2:])
    if test.shape[1:] != train.shape[1:]:
        raise DataError(f"{parts[2][0]}: expected the training images' size {train.shape[1:]}, got {test.shape[1:]}")
    if is_transposed:
        train, test = (np.ascontiguousarray(images.swapaxes(1, 2)) for images in (train, test))
    return [train, train_labels, test, test_labels]


def _pair(images_part: Part, labels_part: Part) -> tuple[NDArray[Any], NDArray[Any]]:
    (images_path, images), (labels_path, labels) = images_part, labels_part
    if images.ndim not in (3, 4):
        expected = "images (n, height, width) or (n, height, width, channels)"
        raise DataError(f"{images_path}: expected {expected}, got shape {images.shape}")
    if labels.ndim == 2 and labels.shape[1] in (1, 8):
        labels = labels[:, 0].copy()
    if labels.ndim != 1:
        raise DataError(f"{labels_path}: expected labels (n,), (n, 1) or QMNIST's (n, 8), got shape {labels.shape}")
    if len(labels) != len(images):
        raise DataError(f"{labels_path}: expected labels for {len(images)} images, got {len(labels)}")
    return _as_bytes(images_path, images, "pixels"), _as_bytes(labels_path, labels, "labels")


def _as_bytes(path: Path, array: NDArray[Any], what: str) -> NDArray[Any]:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "biu" or array.min() < 0 or array.max() > 255:
        got = f"{array.dtype} from {array.min()} to {array.max()}" if array.dtype.kind in "biuf" else str(array.dtype)
        raise DataError(f"{path}: expected {what} that are integers from 0 to 255, got {got}")
    return array.astype(np.uint8)
