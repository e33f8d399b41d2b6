"""Parameters whose values hardly interact: every pair of two parameters' values is tested, not every product."""

import itertools
from collections import Counter

import pytest


def pairs(*axes):
    """Return rows, one value an axis, such that any two values of different axes are together in one of them.

    Where a row may have any value of an axis, it has the one that the fewest rows have: no value is left to few rows.
    """
    axes = [list(axis) for axis in axes]
    places = [[(axis, index) for index in range(len(values))] for axis, values in enumerate(axes)]
    missing = {frozenset(pair) for a, b in itertools.combinations(places, 2) for pair in itertools.product(a, b)}

    def new(row, place):
        """Return how many pairs that no row has yet are in this one if it gets one more value."""
        return sum(frozenset([place, other]) in missing for other in row.items())

    order, rows, used = sorted(missing, key=sorted), [], Counter()
    for first in order:
        if first not in missing:
            continue
        row = dict(first)
        for axis, values in enumerate(axes):
            if axis not in row:
                row[axis] = max(
                    range(len(values)),
                    key=lambda index, axis=axis, row=row: (new(row, (axis, index)), -used[axis, index]),
                )
        used.update(row.items())
        missing -= {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}
        rows.append(tuple(values[row[axis]] for axis, values in enumerate(axes)))
    return rows


def pairwise(**axes):
    """Parametrise a test over `pairs` of what each argument may be; `target` is the fixture of that name."""
    rows = [pytest.param(*row, id="-".join(map(as_id, row))) for row in pairs(*axes.values())]
    if "target" not in axes:
        return pytest.mark.parametrize(tuple(axes), rows)
    parametrize = pytest.mark.parametrize(tuple(axes), rows, indirect=["target"])
    return lambda test: pytest.mark.usefixtures("target")(parametrize(test))


def as_id(value):
    if isinstance(value, tuple):
        return "x".join(map(as_id, value)) or "()"
    return getattr(value, "__name__", None) or str(value)
