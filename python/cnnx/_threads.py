"""How many threads share some work."""

from __future__ import annotations

import os

from . import _checks

_MOST_THREADS = 256
_IMAGES_PER_THREAD = 256  # fewer are done before another thread has started


def thread_count(threads: int | None, images: int, least: int = _IMAGES_PER_THREAD) -> int:
    """Return how many threads share `images`.

    Args:
        threads: what the caller asks for, at least 1; None for the CPUs that this process may use.
        images: how many there are; a thread has at least one.
        least: how many images a thread has at least, if the caller asks for no number of threads.
    """
    if threads is None:
        if images < 2 * least:
            return 1
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(cpus, images // least))
    return max(1, min(_checks.positive_integer("threads", threads), images, _MOST_THREADS))
