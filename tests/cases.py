"""Every layer, described once: how to make it, what it takes, and how far rounding may take it from its twin.

From this table come, in `layers/`, the tests of every layer, alone and in a network, those of bad arrays and those of
array layouts, and in `core/` those of the CPU targets: a new layer is tested as soon as it is described here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from tolerances import assert_same_bits
from twins import LANE_EDGES, parameters, small_integers, uniform, with_equal_parameters

import cnnx
from cnnx import reference


def untied(rng, shape, dtype=np.float64):
    """Draw values no two of which are equal."""
    return (rng.permutation(math.prod(shape)).reshape(shape) / math.prod(shape)).astype(dtype)


def away_from_zero(rng, shape, dtype=np.float64):
    return (rng.choice([-1, 1], shape) * rng.uniform(0.1, 1, shape)).astype(dtype)


@dataclass(frozen=True)
class Case:
    """A layer as the tests know it. Its twin is the class of the same name in `cnnx.reference`.

    Attributes:
        kind: the name of its class.
        sizes: pairs of the constructor's numbers and the shape of an input. Tests that need one take the first, whose
            numbers all differ.
        terms: a function from such a pair to the roundings of an output and of a gradient; 0 if all bits are equal.
        options: the constructor's other arguments.
        has_dtype: whether it computes in a dtype of its own, and not in its input's.
        draws_values: whether its initial values are random numbers.
        any_rank: whether its input may have any number of axes.
        refused: shapes of the right rank that are no input.
        draws: what to draw the inputs of the comparison with the twin from.
        smooth: what to draw an input from where the layer has a derivative.
    """

    kind: str
    sizes: tuple[tuple[tuple[float, ...], tuple[int, ...]], ...]
    terms: Callable[[tuple[float, ...], tuple[int, ...]], tuple[int, int]]
    options: Mapping[str, Any] = field(default_factory=dict)
    has_dtype: bool = True
    draws_values: bool = True
    any_rank: bool = False
    refused: tuple[tuple[int, ...], ...] = ()
    draws: tuple[Any, ...] = (uniform,)
    smooth: Any = uniform

    def make(self, module, dtype=np.float64, rng=None, size=None):
        """Return such a layer from `cnnx` or `cnnx.reference`, before any forward pass."""
        numbers, _ = size or self.sizes[0]
        own: dict[str, Any] = {"dtype": dtype} if self.has_dtype else {}
        if self.has_dtype and self.draws_values:
            own["rng"] = rng
        return getattr(module, self.kind)(*numbers, **self.options, **own)

    def twins(self, dtype, rng, size=None):
        """Return a compiled layer and its twin, with the same random parameters, none of them zero."""
        return with_equal_parameters(rng, *(self.make(module, dtype, size=size) for module in (cnnx, reference)))

    def after_forward(self, module, dtype=np.float64):
        """Return a seeded layer after one forward pass over random values."""
        rng = np.random.default_rng(11)
        layer = self.make(module, dtype, rng)
        layer.forward(uniform(rng, self.input_shape, dtype))
        return layer

    @property
    def input_shape(self):
        return self.sizes[0][1]

    @cached_property
    def output_shape(self):
        return self.make(reference).forward(np.zeros(self.input_shape)).shape

    @cached_property
    def learns(self):
        return bool(parameters(self.make(cnnx)))

    def backprop(self, layer, d_L_d_out, learn_rate=0.1):
        return layer.backprop(d_L_d_out, *([learn_rate] if self.learns else []))


def conv_terms(numbers, shape):
    channels = shape[2] if len(shape) == 3 else 1
    return 9 * channels + 1, 9 * numbers[0] + shape[0] * shape[1]


BY_WINOGRAD = ((16, 16, 6, 6), (32, 35, 8, 11), (29, 16, 13, 9), (30, 17, 7, 16))  # filters, channels, height, width
CONV_SIZES = (
    *(((filters, 3 if filters != 3 else 5), (11, 6, 3 if filters != 3 else 5)) for filters in LANE_EDGES),
    *(((4, channels), (10, 12, channels)) for channels in (1, 2, 3, 5, 8, 17)),
    *(((1, 2), (5, width, 2)) for width in (3, 4, 6, 7, 8, 9, 10, 13, 14, 15)),
    ((32, 33), (3, 4, 33)),
    ((18, 17), (13, 14, 17)),
    *(((filters, channels), (height, width, channels)) for filters, channels, height, width in BY_WINOGRAD),
)
TOO_SMALL_UNLESS_PADDED = (
    *(((4, 3), (1, 2, 3)), ((3, 5), (2, 1, 5)), ((9, 2), (1, 1, 2))),
    *(((8, 1), (2, 5, 1)), ((5, 8), (7, 2, 8)), ((2, 4), (1, 13, 4))),
)
POOL_SIZES = (
    ((), (5, 6, 3)),
    *(((), (height, width, 3)) for height in (1, 2, 5, 6) for width in (1, 2, 7, 8)),
    ((), (26, 24, 8)),
    *(((), (5, 4, channels)) for channels in LANE_EDGES),
    *(((), (3, width, 2)) for width in LANE_EDGES),
)
SHAPES = (*((edge,) for edge in LANE_EDGES), (), (3, 5), (2, 1, 3, 17), (0,))
TOTALS_SIZES = (
    *(((edge, 10), (edge,)) for edge in LANE_EDGES),
    *(((24, nodes), (2, 3, 4)) for nodes in LANE_EDGES),
)

CASES = {
    "Conv3x3": Case(
        "Conv3x3",
        (
            ((5,), (6, 7)),
            ((2,), (3, 3)),
            ((8,), (28, 27)),
            *(((filters,), (6, 4) if filters != 4 else (6, 5)) for filters in LANE_EDGES),
            *(((6,), (5, width + 2)) for width in LANE_EDGES),
        ),
        conv_terms,
        refused=((2, 7), (6, 2), (1, 1), (2, 2), (0, 7), (6, 0), (0, 0)),
    ),
    "stacked Conv3x3": Case(
        "Conv3x3",
        (((5, 3), (6, 7, 3)), *CONV_SIZES),
        conv_terms,
        refused=(
            *((2, 7, 3), (6, 2, 3), (0, 7, 3), (6, 0, 3)),
            *((6, 7, 0), (6, 7, 1), (6, 7, 2), (6, 7, 4), (6, 7, 6)),
        ),
    ),
    "unbiased Conv3x3": Case(
        "Conv3x3", (((4, 2), (5, 6, 2)), *CONV_SIZES[::3]), conv_terms, options={"use_bias": False}
    ),
    "padded Conv3x3": Case(
        "Conv3x3",
        (((3, 2), (4, 6, 2)), *CONV_SIZES, *TOO_SMALL_UNLESS_PADDED),
        conv_terms,
        options={"padding": "same"},
        refused=((0, 6, 2), (4, 0, 2), (0, 0, 2), (4, 6, 0), (4, 6, 1), (4, 6, 3), (2, 4, 6)),
    ),
    "padded, unbiased Conv3x3": Case(
        "Conv3x3",
        (((3, 2), (4, 5, 2)), *CONV_SIZES[1::3], *TOO_SMALL_UNLESS_PADDED[::2]),
        conv_terms,
        options={"padding": "same", "use_bias": False},
    ),
    "MaxPool2": Case(
        "MaxPool2", POOL_SIZES, lambda *_: (0, 0), has_dtype=False, draws=(uniform, small_integers), smooth=untied
    ),
    "MaxPool2 of the first": Case(
        "MaxPool2",
        POOL_SIZES,
        lambda *_: (0, 0),
        options={"ties": "first"},
        has_dtype=False,
        draws=(uniform, small_integers),
        smooth=untied,
    ),
    "GlobalAveragePool": Case(
        "GlobalAveragePool",
        (
            *(((), (5, 3, 9)), ((), (1, 1, 1)), ((), (1, 7, 3)), ((), (6, 1, 2))),
            *(((), (5, 4, channels)) for channels in LANE_EDGES),
        ),
        lambda _, shape: (shape[0] * shape[1], 1),
        has_dtype=False,
        refused=((0, 4, 3), (4, 0, 3), (4, 4, 0)),
    ),
    "ReLU": Case(
        "ReLU",
        (((), (3, 5, 4)), *(((), shape) for shape in SHAPES)),
        lambda *_: (0, 0),
        has_dtype=False,
        any_rank=True,
        draws=(uniform, small_integers),
        smooth=away_from_zero,
    ),
    "Dropout": Case(  # by hand it changes nothing
        "Dropout",
        (((0.5,), (3, 5, 4)), *(((rate,), shape) for rate, shape in zip((0, 0.25, 0.999), SHAPES[-4:-1], strict=True))),
        lambda *_: (0, 0),
        has_dtype=False,
        any_rank=True,
    ),
    "BatchNorm": Case(
        "BatchNorm",
        (
            ((9,), (4, 3, 9)),
            *(((channels,), (5, 6, channels)) for channels in LANE_EDGES),
            *(((channels,), (channels,)) for channels in LANE_EDGES),
            *(((5, 0.5, 0.1), (1, 1, 5)), ((3, 0.0), (0, 4, 3)), ((8,), (13, 11, 8))),
        ),
        lambda _, shape: (8, 4 * math.prod(shape[:-1]) + 4),
        draws_values=False,
        refused=((4, 3, 8), (4, 3, 1), (4, 9, 3), (4, 3, 0)),
    ),
    "Dense": Case(
        "Dense",
        (((14, 6), (2, 7)), ((340, 31), (5, 4, 17)), *TOTALS_SIZES),
        lambda numbers, _: (numbers[0] + 1, sum(numbers)),
        any_rank=True,
        refused=((0,), (13,), (15,), (2, 7, 2), (4, 0, 3)),
    ),
    "Softmax": Case(
        "Softmax",
        (((12, 5), (4, 3)), ((1248, 10), (13, 12, 8)), *TOTALS_SIZES),
        lambda numbers, _: (2 * numbers[0] + 4 * numbers[1],) * 2,
        any_rank=True,
        refused=((0,), (11,), (13,), (4, 3, 2), (4, 0, 3)),
    ),
}
LEARNING = [name for name, case in CASES.items() if case.learns]


def every_case(names=tuple(CASES)):
    """Parametrise a test over `case`."""
    return pytest.mark.parametrize("case", [pytest.param(CASES[name], id=name) for name in names])


def assert_refused(layer, call, error, message):
    """Assert that `call` raises `error` with `message` and changes no bit of the layer's parameters."""
    before = {name: values.copy() for name, values in parameters(layer).items()}
    with pytest.raises(error, match=message):
        call()
    for name, values in before.items():
        assert_same_bits(parameters(layer)[name], values)
