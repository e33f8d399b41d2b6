"""Digits as a hand draws them: strokes of a pen, a little different each time, and distorted."""

import numpy as np

STROKES = {  # each stroke's points, from (0, 0) at the upper left to (10, 14) at the lower right
    0: [[(6, 0), (3, 1), (1, 4), (1, 9), (3, 13), (6, 14), (8, 12), (9, 8), (9, 4), (8, 1), (6, 0)]],
    1: [[(4, 2), (6, 0), (6, 14)]],
    2: [[(1, 3), (3, 1), (6, 0), (8, 2), (8, 5), (6, 8), (3, 11), (1, 14), (5, 13), (9, 14)]],
    3: [[(1, 2), (4, 0), (8, 1), (8, 4), (6, 6), (4, 7), (7, 7), (9, 10), (7, 13), (4, 14), (1, 13)]],
    4: [[(3, 0), (1, 7), (2, 8), (9, 8)], [(8, 1), (7, 14)]],
    5: [[(8, 0), (3, 0), (2, 6), (5, 5), (8, 7), (8, 11), (5, 14), (1, 13)]],
    6: [[(7, 0), (4, 3), (2, 8), (2, 12), (5, 14), (8, 12), (8, 9), (5, 7), (2, 10)]],
    7: [[(1, 1), (8, 0), (8, 2), (6, 7), (4, 14)]],
    8: [[(8, 2), (5, 0), (2, 2), (4, 6), (8, 10), (7, 13), (4, 14), (2, 11), (4, 7), (7, 4), (8, 2)]],
    9: [[(8, 3), (5, 0), (2, 3), (3, 6), (6, 6), (8, 3), (8, 8), (7, 14)]],
}


def by_hand(digit, rng):
    """Return the digit's strokes, each an array of points (n, 2), from a hand that is not steady."""
    strokes = []
    for stroke in STROKES[digit]:
        points = np.array(stroke, float) + rng.normal(0, 0.15, (len(stroke), 2))
        along = np.linspace(0, len(points) - 1, 12 * len(points))
        smooth = np.stack([np.interp(along, np.arange(len(points)), points[:, axis]) for axis in (0, 1)], axis=1)
        strokes.append(
            np.stack([np.convolve(np.pad(it, 5, "edge"), np.ones(11) / 11, "valid") for it in smooth.T], axis=1)
        )
    return strokes


def somewhere(digit, rng):
    """Return the strokes turned, slanted and scaled, somewhere on a pad from (0, 0) to (1, 1)."""
    strokes = by_hand(digit, rng)
    angle, slant = rng.uniform(-0.12, 0.12), rng.uniform(-0.1, 0.35)
    wide, tall = rng.uniform(0.75, 1.2, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[wide, -slant], [0, tall]])
    strokes = [points @ matrix.T for points in strokes]
    every = np.concatenate(strokes)
    least, extent = every.min(axis=0), np.ptp(every, axis=0)
    size = np.exp(rng.uniform(np.log(0.15), np.log(0.95)))  # of the pad's side
    room = 1 - extent / extent.max() * size
    corner = rng.uniform(0, 1, 2) * room
    return [(points - least) / extent.max() * size + corner for points in strokes]
