"""``python -m cnnx.train --mpi``: the processes that mpiexec has started train together, and rank 0 speaks for them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from . import _extras
from ._ranks import Ranks
from ._train_options import check_files, make_parser


def run(arguments: Sequence[str], train: Callable[[argparse.Namespace, Ranks], None]) -> None:
    """Train on all ranks. Only rank 0 prints and writes files, and only the first rank that fails tells its error.

    Args:
        arguments: of ``python -m cnnx.train``, the same on all ranks.
        train: does what the options say. All ranks are ready when it calls `Sequential.fit`.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no MPI library
        raise _extras.missing("--mpi", "mpi", "mpi4py with an MPI library") from error
    ranks = Ranks(MPI.COMM_WORLD, holds_interrupts=False)  # fit holds them
    try:
        with ranks:
            options = make_parser().parse_args(arguments)  # here, so that an error is told once
            _check(options, ranks.is_first)
            train(options, ranks)
    except (Exception, KeyboardInterrupt) as error:
        if ranks.failed in (None, ranks.rank):
            raise
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 2) from None


def _check(options: argparse.Namespace, is_first: bool) -> None:
    if options.batch_size == 1:
        raise ValueError(
            "--mpi: expected --batch-size of at least 2 beside it, because the processes share the digits of a batch, "
            "got 1"
        )
    if is_first:
        check_files(options)
    else:
        options.quiet, options.save = True, None
