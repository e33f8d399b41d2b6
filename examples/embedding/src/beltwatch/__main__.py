"""Watches a belt of 2,000 parts: `python -m beltwatch`."""

from __future__ import annotations

import time

import numpy as np

import cnnx

from .belt import KINDS, SIDE, belt
from .costs import Costs
from .inspector import Inspector
from .lion import Lion
from .sharpness import Sharpness

LEAST_SHARPNESS = 1.8  # blurred pictures have less
COSTS = [[0, 1, 1], [3, 0, 1], [3, 1, 0]]  # to call a bad part good is worse than the other mistakes


def new_inspector(seed: int) -> Inspector:
    """Return an inspector that has seen nothing."""
    rng = np.random.default_rng(seed)
    image_shape, nodes = (SIDE, SIDE), len(KINDS)
    network = cnnx.models.small_convnet(dtype=np.float32, image_shape=image_shape, nodes=nodes, rng=rng)
    return Inspector(network, Lion(0.0005), Costs(COSTS), rng=rng)


def main(count: int = 2000, parts_a_second: float = 400, seed: int = 0) -> list[float]:
    """Watch a belt, print what was seen, and return the share of right verdicts in each fifth of the run."""
    sharpness, right, blurred = Sharpness(), [], 0
    rng = np.random.default_rng(seed)
    with new_inspector(seed) as inspector:
        for part in belt(count, rng):
            time.sleep(1 / parts_a_second)
            if sharpness(part.picture) < LEAST_SHARPNESS:
                blurred += 1
                continue
            verdict, _ = inspector.judge(part.picture)
            right.append(verdict == part.kind)
            if rng.random() < 0.5:  # a person looks at every other part
                inspector.learn(part.picture, part.kind)
    shares = [float(np.mean(fifth)) for fifth in np.array_split(right, 5)]
    print(f"{count} parts, {blurred} pictures were blurred, {inspector.steps} steps beside the belt")
    print("right verdicts:", " ".join(f"{share:.0%}" for share in shares))
    return shares


if __name__ == "__main__":
    main()
