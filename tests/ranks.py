# ruff: noqa: N802  # the names are those of mpi4py
"""Ranks in one process: a communicator between threads, with the methods of mpi4py that cnnx uses."""

import pickle
import queue
import threading

import numpy as np

HANG = 20  # seconds that nothing here takes
_ENDED = b"ended"


class World:
    """The ranks that can send to each other.

    Attributes:
        aborted: the ranks that have ended all others.
    """

    def __init__(self, size):
        self.size, self.aborted = size, []
        self.barrier, self.told = threading.Barrier(size), [b""] * size
        # All queues exist before the ranks run: two threads that made one at once would lose what the first one sent.
        self.sent = {(source, to): queue.Queue() for source in range(size) for to in range(size)}

    def end(self, rank):
        self.aborted.append(rank)
        self.barrier.abort()
        for to in range(self.size):
            for source in range(self.size):
                self.sent[source, to].put(_ENDED)


class Request:
    def __init__(self, wait=lambda: None):
        self.Wait = wait


class Communicator:
    """One rank. A method may be replaced, to fail."""

    def __init__(self, world, rank):
        self.world, self.rank = world, rank

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.world.size

    def Dup(self):
        return self

    def Free(self):
        pass

    def allgather(self, sendobj):
        self.world.told[self.rank] = pickle.dumps(sendobj)
        self.world.barrier.wait(HANG)
        told = list(map(pickle.loads, self.world.told))
        self.world.barrier.wait(HANG)
        return told

    def Isend(self, buf, dest):
        assert buf.dtype == np.uint8
        assert buf.flags.c_contiguous
        self.world.sent[self.rank, dest].put(buf.tobytes())
        return Request()

    def Irecv(self, buf, source):
        assert buf.flags.c_contiguous

        def wait():
            received = self.world.sent[source, self.rank].get(timeout=HANG)
            if received is _ENDED:
                raise SystemExit
            buf[...] = np.frombuffer(received, np.uint8).reshape(buf.shape)

        return Request(wait)

    def Abort(self, errorcode):
        assert errorcode == 1
        self.world.end(self.rank)


def on_ranks(size, body):
    """Return what body(communicator) returns or raises on each rank."""
    world, results = World(size), [None] * size

    def run(rank):
        try:
            results[rank] = body(Communicator(world, rank))
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * HANG)
        assert not thread.is_alive()
    return results
