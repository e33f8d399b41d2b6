"""What `Sequential.fit` needs of the processes that train together."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Communicator"]


class Communicator(Protocol):
    """Processes that can send each other objects and bytes: a communicator of mpi4py, or another one with its methods.

    The rank of a process is its number, from 0. `fit` works on a duplicate, so its messages meet no others.
    """

    def Get_rank(self) -> int:
        """Return the rank of this process."""

    def Get_size(self) -> int:
        """Return the number of processes."""

    def Dup(self) -> Any:
        """Return a communicator of the same processes, whose messages are apart. All processes call this."""

    def Free(self) -> None:
        """Give up a duplicate. All processes call this."""

    def allgather(self, sendobj: Any, /) -> list[Any]:
        """Send an object to all processes, and return what each of them has sent, in the order of their ranks."""

    def Isend(self, buf: Any, dest: int, /) -> Any:
        """Begin to send an array of bytes, and return what has a method `Wait`."""

    def Irecv(self, buf: Any, source: int, /) -> Any:
        """Begin to receive into an array of bytes, and return what has a method `Wait`."""

    def Abort(self, errorcode: int = 0, /) -> Any:
        """End all processes."""
