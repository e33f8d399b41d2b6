"""What cnnx promises, as ratios of two rows of one run, and what that run says about each promise."""

from typing import Any, NamedTuple

from entries import ARTICLE, ENGINE, JAX, KERAS, LAYERS, MANY_IMAGES, NN_ENGINE, NOISE, ONE_IMAGE, TORCH

FLOOR = "floor float32"
CNNX_ONE, CNNX_MANY = f"cnnx predict, {ONE_IMAGE}", f"cnnx predict, {MANY_IMAGES}"
ONNX_ONE, ONNX_MANY = f"onnxruntime, {ONE_IMAGE}", f"onnxruntime, {MANY_IMAGES}"

# name, bound, wanted, the row above and the row below (rows by the beginning of their keys; the fastest counts)
Ratio = tuple[str, str, float, str, str]
RATIOS: list[Ratio] = [
    ("ties=all ÷ floor", "≤", 1.3, f"{ENGINE} float32 all", FLOOR),
    ("ties=first ÷ floor", "≤", 1.2, f"{ENGINE} float32 first", FLOOR),
    ("noise, ties=all ÷ floor", "≤", 1.8, f"{NOISE} float32 all", FLOOR),
    ("noise, ties=first ÷ floor", "≤", 1.8, f"{NOISE} float32 first", FLOOR),
    ("float64 ÷ float32, ties=all", "≤", 2.2, f"{ENGINE} float64 all", f"{ENGINE} float32 all"),
    ("float64 ÷ float32, ties=first", "≤", 2.2, f"{ENGINE} float64 first", f"{ENGINE} float32 first"),
    ("JAX ÷ cnnx, ties=first", "≥", 50, JAX, f"{ENGINE} float32 first"),
    ("PyTorch eager ÷ cnnx, ties=first", "≥", 100, TORCH, f"{ENGINE} float32 first"),
    ("Keras, the article's script ÷ cnnx, ties=first", "≥", 900, KERAS, f"{ENGINE} float32 first"),
    ("nn-engine-core ÷ cnnx, ties=all", "≥", 6, NN_ENGINE, f"{ENGINE} float32 all"),
    ("the article's numpy ÷ cnnx, ties=all", "≥", 8_000, ARTICLE, f"{ENGINE} float32 all"),
    ("PyTorch eager ÷ cnnx layer API", "≥", 10, TORCH, LAYERS),
    ("predict one image: cnnx ÷ onnxruntime", "≤", 0.5, CNNX_ONE, ONNX_ONE),
    ("predict 10,000: onnxruntime's best ÷ cnnx", "≥", 5, ONNX_MANY, f"{CNNX_MANY}, 1 thread"),
    ("predict 10,000: 1 thread ÷ 2", "≥", 1.8, f"{CNNX_MANY}, 1 thread", f"{CNNX_MANY}, 2 threads"),
]


class Goal(NamedTuple):
    """A figure that cnnx promises, at most or at least `wanted`, and what was measured."""

    name: str
    bound: str
    wanted: float
    got: float

    @property
    def met(self) -> bool:
        """Return whether the promise is kept."""
        return self.got <= self.wanted if self.bound == "≤" else self.got >= self.wanted


def times_by_key(results: dict[str, Any]) -> dict[str, float]:
    """Return the microseconds of every contender that was timed."""
    return {row["key"]: row["microseconds"] for row in results["rows"] if "microseconds" in row}


def measured(results: dict[str, Any]) -> tuple[list[Goal], list[str]]:
    """Return the promises that this run could test, and the names of the others."""
    times = times_by_key(results)
    times |= {f"floor {dtype}": floor for dtype, floor in results["floor"].items()}
    found, missing = compared(RATIOS, times)
    return found + [Goal(*goal) for goal in results.get("whole", {}).get("goals", [])], missing


def compared(ratios: list[Ratio], figures: dict[str, float]) -> tuple[list[Goal], list[str]]:
    """Return the ratios of which both figures are there, the smallest with each beginning, and the others' names."""

    def smallest(beginning: str) -> float | None:
        return min((figure for name, figure in figures.items() if name.startswith(beginning)), default=None)

    found, missing = [], []
    for name, bound, wanted, above, below in ratios:
        over, under = smallest(above), smallest(below)
        if over is None or under is None:
            missing.append(name)
        else:
            found.append(Goal(name, bound, wanted, over / under))
    return found, missing
