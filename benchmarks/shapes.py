"""Networks of many shapes, cnnx beside PyTorch: `python benchmarks/shapes.py --torch PYTHON`.

Each row is a network on noise images, float32, trained by Adam; then its predictions. Both are verified against
`cnnx.reference` first. Times are microseconds an image, medians over the rounds, in which the contenders take turns.

"Of peak" counts the multiplications of dense arithmetic, twice: zeros that are skipped count as computed. It divides
them by the multiply-adds that one core does in the same round with the instructions of cnnx's target, times the number
of threads (peak.cpp, for which a C++ compiler is needed).

`--torch` is the Python of an environment with PyTorch and numpy; without it there is no comparison. With `--threads 2`
or more, cnnx with one thread takes turns, too.
"""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import turns
from machine import Peak
from networks import CLASSES, COLOUR, Case, Problem, multiplications
from peers import ours
from turns import TOLERANCE, line
from twin import Twin
from worker import Contender

import cnnx

BY_SIZE = {f"{n}x{n}, conv 16, relu, conv 16": Case(["conv 16", "relu", "conv 16"], n) for n in (12, 28, 56, 112, 224)}
BY_FILTERS = {f"28x28, conv {n}, relu, conv {n}": Case([f"conv {n}", "relu", f"conv {n}"]) for n in (8, 16, 32, 64)}
KERAS = ["conv 32", "relu", "pool", "conv 64", "relu", "pool"]
NETWORKS = {
    "conv 16, pool, relu, conv 32, pool, relu": Case(["conv 16", "pool", "relu", "conv 32", "pool", "relu"]),
    "the same with 17 and 33 filters": Case(["conv 17", "pool", "relu", "conv 33", "pool", "relu"]),
    "keras_convnet without dropout": Case(KERAS),
    "the same with Dense(128)": Case([*KERAS, "dense 128", "relu"]),
    '"same" 32, "same" 32, pool': Case(["same 32", "same 32", "pool"]),
    "conv 8, relu, conv 8, relu, no pooling": Case(["conv 8", "relu", "conv 8", "relu"]),
    "dense 784, 128, 10": Case(["dense 128", "relu"]),
    "32x32x3, conv 16, relu, pool, conv 32, relu, pool": COLOUR,
    '32x32x3, "same" 32, relu, "same" 32, relu, pool': Case(
        ["same 32", "relu", "same 32", "relu", "pool"], 32, channels=3
    ),
    **BY_SIZE,
    **BY_FILTERS,
}


def contenders(case: Case, kind: str, args: Any, folder: Path) -> list[Contender]:
    """Return cnnx, cnnx with one thread if that is another one, and PyTorch if there is one, verified."""
    rng = np.random.default_rng(0)
    count = max(4, 60_000_000 // multiplications(case)[1]) * case.batch  # many batches a call of fit
    shape = (count, case.side, case.side, case.channels)[: 3 + (case.channels > 1)]
    images = (rng.random(shape) - 0.5).astype(np.float32)
    labels = rng.integers(0, CLASSES, count, dtype=np.uint8)
    network = ours.network(case, rng=rng)
    Problem(case, images, labels, ours.parameters(network)).save(folder / "problem.npz")
    easy = case.to_verify()
    some, twin = slice(easy.checked * easy.batch), Twin(network)
    if kind == "Training":
        losses = twin.losses(images[some], labels[some], easy.batch, ours.optimizer(case))
        options, expected = {"kind": kind}, losses.reshape(easy.checked, -1).mean(axis=1)
    else:
        options, expected = {"kind": kind, "images": count}, twin.probabilities(images[some])
    wanted = [("ours", sys.executable, args.threads)]
    if args.threads > 1:
        wanted.append(("ours", sys.executable, 1))
    if args.torch:
        wanted.append(("pytorch", args.torch, args.threads))
    found = []
    for module, python, threads in wanted:
        name = f"{module}, {kind}, threads: {threads}"
        contender = Contender(name, python, module, options | {"threads": threads}, folder / "problem.npz")
        contender.verify(expected, TOLERANCE["float32"])
        contender.items = case.batch if kind == "Training" else count
        contender.count = count // contender.items
        found.append(contender)
    return found


def measure(name: str, task: str, args: Any, peak: Peak) -> float:
    """Print a row, and return its share of the peak of as many cores as there are threads."""
    case, kind = NETWORKS[name]._replace(batch=args.batch), {"train": "Training", "predict": "Prediction"}[task]
    count = multiplications(case)[task == "train"]
    with tempfile.TemporaryDirectory() as folder:
        found = contenders(case, kind, args, Path(folder))
        peaks = []
        for contender in found:
            contender.fill(0, contender.count)
        for _ in range(args.rounds):
            for contender in found:
                contender.turn()
            peaks.append(args.threads * peak.measure())
        for contender in found:
            contender.process.close()
    if problems := [f"{it.name}: {it.problem}" for it in found if it.problem]:
        raise SystemExit(f"{name}: {'; '.join(problems)}")
    own, *others = found
    share = statistics.median(2 * count / took / most for took, most in zip(own.rounds, peaks, strict=True))
    cells = [cell for it in others for cell in (f"{it.median:.1f}", f"{statistics.median(it.times(own)):.2f}")]
    line(name, task, f"{own.median:.1f}", f"{share:.0%}", *cells)
    return share


def print_picture(shares: dict[str, dict[str, float]]) -> None:
    """Print bars of the time that each operation takes, as multiples of the mean over the rows."""
    for task in ("predict", "train"):
        times = {row: 1 / share[task] for row, share in shares.items()}
        mean = statistics.mean(times.values())
        print(f"\n{task}: time of an operation, × the mean")
        for row, time_of_one in times.items():
            print(f"{row:34} {time_of_one / mean:4.2f} {'█' * round(20 * time_of_one / mean)}")


def main() -> None:
    parser = turns.options(__doc__, rounds=5)
    parser.add_argument("--torch", metavar="PYTHON", help="the Python of an environment with PyTorch")
    parser.add_argument("--threads", type=int, default=1, help="threads of cnnx and of PyTorch (default 1)")
    parser.add_argument("--batch", type=int, default=64, help="the batch size (default 64)")
    args = parser.parse_args()
    if min(args.threads, args.batch) < 1:
        parser.error(f"--threads, --batch: expected at least 1, got {args.threads} and {args.batch}")
    rows = turns.wanted(NETWORKS, args.only)
    peak = Peak(cnnx.active_target())
    others = [*["one thread"] * (args.threads > 1), *["PyTorch"] * bool(args.torch)]
    columns = [column for other in others for column in (f">{other}, µs", f">{other} ÷ cnnx")]
    turns.table("network", "task", ">cnnx, µs", ">of peak", *columns)
    shares = {row: {task: measure(row, task, args, peak) for task in ("predict", "train")} for row in rows}
    for growth in (BY_SIZE, BY_FILTERS):
        if growth.keys() <= shares.keys():
            print_picture({row: shares[row] for row in growth})


if __name__ == "__main__":
    main()
