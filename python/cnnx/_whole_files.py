"""Files that appear whole or not at all, whatever is at their path before."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple


class _Target(NamedTuple):
    """Where a file is written.

    Attributes:
        path: the file that gets the bytes, after links were followed. For a pipe or a device, the path as given.
        found: the status of what exists at the path; None if nothing does.
        is_file: whether a file is replaced as a whole. If not, the bytes are written into a pipe or a device.
    """

    path: Path
    found: os.stat_result | None
    is_file: bool


def _target(path: Path) -> _Target:
    """Return where a file for `path` is written; OSError if it may not be written there."""
    real = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        found = path.stat()
    except FileNotFoundError:
        return _Target(real, None, is_file=True)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISBLK(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        raise OSError(f"expected a file, got {kind_of(found.st_mode)}")
    if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    is_file = stat.S_ISREG(found.st_mode) and real.exists()  # an open file may have lost its name: /dev/fd/3
    return _Target(real if is_file else path, found, is_file)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file whose bytes appear at `path` when the block ends, and not before."""
    target = _target(path)
    if not target.is_file:
        buffer = io.BytesIO()
        yield buffer
        with target.path.open("wb") as stream:
            stream.write(buffer.getbuffer())
        return
    with _scratch_file(target) as (scratch, file):
        yield file
        file.flush()
        if target.found is not None:
            _take_over(target.found, file.fileno())
        os.fsync(file.fileno())
        scratch.replace(target.path)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the OSError that `writing` would raise, before there is anything to write. Nothing changes."""
    with naming(path):
        target = _target(Path(path))
        if target.is_file:
            with _scratch_file(target):
                pass


@contextlib.contextmanager
def _scratch_file(target: _Target) -> Iterator[tuple[Path, IO[bytes]]]:
    """Make a file in the target's folder. It is deleted at the end, unless it was renamed."""
    mode = 0o666 if target.found is None else 0o600  # the umask applies; a replacement is private until it is complete
    scratch = target.path.with_name(f".cnnx-{os.urandom(8).hex()}")
    try:
        with open(scratch, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield scratch, file
    finally:
        with contextlib.suppress(FileNotFoundError):
            scratch.unlink()


def _take_over(found: os.stat_result, handle: int) -> None:
    """Give a file the mode of the file that it replaces, and its owner as far as that is allowed."""
    made = os.fstat(handle)
    if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
        try:
            os.fchown(handle, found.st_uid, found.st_gid)
        except PermissionError:
            with contextlib.suppress(PermissionError):
                os.fchown(handle, -1, found.st_gid)
    if os.fstat(handle).st_mode != found.st_mode:
        os.fchmod(handle, stat.S_IMODE(found.st_mode))


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the user's path in an OSError, which would name a scratch file or nothing."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise OSError(f"{path}: {error}") from None
        raise OSError(error.errno, error.strerror, str(path)) from None


def kind_of(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a disk", stat.S_IFCHR: "a device"}
    return kinds.get(stat.S_IFMT(mode), "something else")
