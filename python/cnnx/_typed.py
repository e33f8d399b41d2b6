"""Digits as fonts have them, drawn from strokes. MNIST's are handwritten, and some typed digits look different.

No font is read. Each digit is a few strokes in a square from (0, 0), which is at the upper left, to (1, 1). The strokes
of one digit vary as fonts do: the flag and the foot of the 1, the tail of the 6, serifs, round or square bowls. A pen
follows them. Its width, how much thinner it is in one direction, and the digit's proportions and slant vary, too. The
result is placed as MNIST's makers placed theirs: 20 pixels high or wide, the centre of mass in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _checks
from ._ink import centred
from ._random import Rng, own_generator

Points: TypeAlias = NDArray[np.float64]  # (n, 2): x to the right and y down

_BOX = 20  # pixels: the height or the width of a digit


@dataclass(frozen=True)
class _Strokes:
    """Draws the strokes of one font. `power` of bowls: 2 for ellipses, more for squarer ones."""

    rng: np.random.Generator
    has_serifs: bool
    power: float

    def between(self, least: float, most: float) -> float:
        return float(self.rng.uniform(least, most))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def arc(self, centre: tuple[float, float], radii: tuple[float, float], start: float, end: float) -> Points:
        """Return points of an ellipse or a superellipse, from one angle to another: 0 is right, 90 is down."""
        angles = np.radians(np.linspace(start, end, 3 + round(abs(end - start) / 18)))
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return np.asarray(centre + np.array(radii) * np.sign(circle) * np.abs(circle) ** (2 / self.power))

    def serif(self, *points: tuple[float, float]) -> list[Points]:
        return [np.array(points)] if self.has_serifs and self.chance(0.7) else []

    def strokes(self, digit: int) -> list[Points]:
        make = (self.zero, self.one, self.two, self.three, self.four, self.five, self.six, self.seven, self.eight)
        if digit == 9:
            return [1 - stroke for stroke in self.six()]
        return make[digit]()

    def zero(self) -> list[Points]:
        marks = [[], [[(0.25, 0.75), (0.75, 0.25)]], [[(0.5, 0.42), (0.5, 0.58)]]]  # none, a slash, a dot
        marked = marks[int(self.rng.choice(3, p=[0.9, 0.05, 0.05]))]
        return [self.arc((0.5, 0.5), (0.5, 0.5), 0, 360), *(np.array(mark) for mark in marked)]

    def one(self) -> list[Points]:
        wide = self.between(0.3, 0.9)
        low = max(self.between(0.1, 0.32), 0.15 * wide)  # a lower flag would make it a 7
        bend = (-0.5 * wide, low * self.between(0.4, 0.9))
        result = [np.array([(0, 1), (0, 0), bend, (-wide, low)])]
        if self.chance(0.8 if self.has_serifs else 0.35):
            foot = self.between(0.2, 0.6)
            result.append(np.array([(-foot, 1), (foot, 1)]))
        return result

    def two(self) -> list[Points]:
        low = self.between(0.24, 0.32)
        top = self.arc((0.5, low), (0.47, low), self.between(165, 200), self.between(370, 400))
        base = np.array([(0.02, 1), (self.between(0.3, 0.7), self.between(0.93, 1)), (1, 1)])
        return [np.concatenate([top, base]), *self.serif((1, 1), (1, self.between(0.84, 0.94)))]

    def three(self) -> list[Points]:
        waist = self.between(0.42, 0.52)
        lower = self.arc((0.46, (1 + waist) / 2), (0.5, (1 - waist) / 2), -90, self.between(125, 165))
        if self.chance(0.2):
            return [np.concatenate([[(0.08, 0), (0.92, 0), (0.42, waist)], lower])]
        upper = self.arc((0.46, waist / 2), (0.44, waist / 2), self.between(-165, -130), 90)
        return [upper, lower, np.array([(self.between(0.25, 0.45), waist), (0.46, waist)])]

    def four(self) -> list[Points]:
        stem, bar = self.between(0.6, 0.8), self.between(0.62, 0.78)
        return [
            np.array([(stem, 1), (stem, 0), (0, bar), (1, bar)]),
            *self.serif((stem - 0.2, 1), (stem + 0.2, 1)),
        ]

    def five(self) -> list[Points]:
        centre = self.between(0.64, 0.7)
        bowl = self.arc((0.46, centre), (0.5, 1 - centre), self.between(-150, -115), self.between(130, 165))
        neck = (self.between(0.06, 0.14), bowl[0, 1] + self.between(-0.02, 0.06))
        return [np.concatenate([[(0.9, 0), (0.18, 0), neck], bowl])]

    def six(self) -> list[Points]:
        centre = self.between(0.62, 0.7)
        bowl = self.arc((0.5, centre), (0.49, 1 - centre), 0, 360)
        if self.chance(0.2):
            return [bowl, np.array([(0.06, centre - 0.1), (self.between(0.5, 0.75), 0)])]
        middle, high = (0.52, self.between(0.3, centre)) if self.chance(0.7) else (self.between(0.75, 0.95), centre)
        end = self.between(285, 335) if middle == 0.52 else self.between(255, 275)
        tail = self.arc((middle, high), (middle - 0.01, high), 180, end)
        return [bowl, np.concatenate([[(0.01, centre)], tail])]

    def seven(self) -> list[Points]:
        foot = self.between(0.15, 0.42)
        along = np.linspace(0, 1, 9)[:, np.newaxis]
        bend = np.array([(1 + foot) / 2, 0.5]) + self.between(0, 1) * np.array([self.between(-0.25, 0), -0.15])
        stem = np.array([1, 0]) * (1 - along) ** 2 + 2 * along * (1 - along) * bend + along**2 * np.array([foot, 1])
        return [np.concatenate([[(0, 0)], stem]), *self.serif((0, 0), (0, self.between(0.06, 0.15)))]

    def eight(self) -> list[Points]:
        waist = self.between(0.42, 0.5)
        return [
            self.arc((0.5, waist / 2), (self.between(0.38, 0.5), waist / 2), 0, 360),
            self.arc((0.5, (1 + waist) / 2), (0.5, (1 - waist) / 2), 0, 360),
        ]


def typed(count: int, *, rng: Rng = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw digits as fonts have them, for a network that shall read typed digits, too.

    MNIST's digits are handwritten. Hardly a 1 among them has a flag, and the tail of a 6 is seldom curled, so a network
    that was trained on MNIST alone reads some typed digits wrongly. No font is read here: each digit is drawn from
    strokes in a style of its own, with or without serifs, thin or bold, upright or slanted.

    Args:
        count: how many digits, at least 1. The classes take turns from 0 to 9.
        rng: draws the fonts: a Generator, a seed, or None for numpy's global one.

    Returns:
        The images, uint8 (count, 28, 28), from 0 for paper to 255 for ink, placed as MNIST's makers placed theirs; and
        the labels, uint8 (count,).

    Raises:
        TypeError: `count` is not an integer.
        ValueError: `count` is less than 1.
    """
    count, rng = _checks.positive_integer("count", count), own_generator(rng)
    labels = np.arange(count) % 10
    return np.stack([_draw(int(digit), rng) for digit in labels]), labels.astype(np.uint8)


def _draw(digit: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return uint8 (28, 28), from 0 for paper to 255 for ink: a digit from 0 to 9 in a font that `rng` makes up."""
    has_serifs = bool(rng.random() < 0.4)
    font = _Strokes(rng, has_serifs, float(rng.choice([2, 2, 2.3, 2.8, 4])))
    strokes = font.strokes(digit)

    aspect = font.between(0.48, 0.8) * (0.6 if digit == 1 else 1)
    slant = font.between(0.1, 0.3) * font.chance(1 / 3) + rng.normal(0, 0.04)
    shape = np.array([[aspect, 0], [-slant, 1]])  # leans to the right
    segments = np.concatenate([np.stack([stroke[:-1], stroke[1:]], axis=1) for stroke in strokes]) @ shape

    along = segments[:, 1] - segments[:, 0]
    contrast = font.between(0.3, 0.8) if has_serifs else font.between(0.75, 1)
    thin = -font.between(0, 0.7)  # radians: the direction in which the pen is thinnest
    across = np.abs(np.sin(np.arctan2(along[:, 1], along[:, 0]) - thin))
    thickness = np.exp(font.between(np.log(0.055), np.log(0.23)))  # of the height
    return _ink(segments, thickness * (contrast + (1 - contrast) * across))


def _ink(segments: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draw segments (n, 2, 2) with round ends and widths (n,), and place them as MNIST's makers did."""
    edge = widths[:, np.newaxis, np.newaxis] / 2
    least, most = (segments - edge).min(axis=(0, 1)), (segments + edge).max(axis=(0, 1))
    scale = _BOX / (most - least).max()
    height, width = (int(np.ceil(size * scale - 1e-6)) for size in (most - least)[::-1])
    segments = (segments - (least + most) / 2) * scale + (width / 2, height / 2)

    x, y = (np.float32(it)[:, np.newaxis, np.newaxis] for it in segments[:, 0].T)  # of the starts: (n, 1, 1)
    along_x, along_y = (np.float32(it)[:, np.newaxis, np.newaxis] for it in (segments[:, 1] - segments[:, 0]).T)
    right = np.arange(width, dtype=np.float32) + np.float32(0.5) - x  # (n, 1, width)
    down = np.arange(height, dtype=np.float32)[:, np.newaxis] + np.float32(0.5) - y  # (n, height, 1)
    length = np.maximum(along_x**2 + along_y**2, np.float32(1e-9))
    share = np.clip((right * along_x + down * along_y) / length, 0, 1)  # of the segment, to its nearest point
    distances = np.hypot(right - share * along_x, down - share * along_y)
    ink = np.clip((np.float32(widths * scale / 2)[:, np.newaxis, np.newaxis] - distances).max(axis=0) + 0.5, 0, 1)
    return centred(ink)
