"""cnnx beside its peers, in one run: `python benchmarks/peers/run.py --data FOLDER`.

Four networks: the article's, at batch size 1 by plain gradient descent; Keras's MNIST convnet, on batches of 128 by
Adam; this one with a batch normalisation after each convolution, on batches of 64; and a smaller convnet on 32x32 noise
in colour. Training begins from the same parameters and sees the same images in the same order.

Every contender is a process of its own. It is verified first, against `cnnx.reference` in float64 under its own rule
for ties; one that differs is reported and not timed. Then all of a table take turns, and medians over the rounds count.
Scaling images beforehand and compiling are not timed. Memory is the process's peak above the import, images included.

Peers are found by `--peers PYTHON`, or beside cnnx (`pip install -r benchmarks/peers/requirements.txt`). What is not
installed is listed as missing. The exit code is 1 when a contender fails or is not verified.
"""

import os
import shlex
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import turns
from machine import Peak, cpu_name
from networks import (
    ARTICLE,
    CLASSES,
    COLOUR,
    CONVNET,
    NORMALISED,
    Array,
    Case,
    Problem,
    multiplications,
    rounding_of_norms,
)
from peers import ours
from turns import TOLERANCE, line, number, spread
from twin import EverySecond, Twin
from worker import Contender

import cnnx

DIGITS, MANY = 60_000, 10_000
SLOWER_NUMPY = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they force numpy's kernels for an older CPU


class Row(NamedTuple):
    """A contender: a class of a module in `peers/`, its options, and the problem that it solves.

    It is compared with the first row of cnnx that has the same `beside`. A turn has at least `least` repetitions.
    """

    name: str
    module: str
    options: dict[str, Any]
    problem: str
    beside: str
    dtype: str = "float32"
    least: int = 1


def steps(name: str, module: str, kind: str = "Training", ties: str = "first", **options: Any) -> Row:
    """Return a row that trains the article's network."""
    return Row(f"{name}, ties={ties}", module, {"kind": kind, **options}, ties, ties)


def engine(dtype: str, ties: str, noise: bool = False) -> Row:
    """Return a row that trains the article's network by cnnx."""
    row = steps(f"cnnx, {dtype}{', noise for digits' * noise}", "ours", ties=ties)
    options = row.options | {"dtype": dtype, "ties": ties}
    return row._replace(options=options, dtype=dtype, problem=f"{'noise, ' * noise}{ties}")


def batches(name: str, module: str, threads: int, **options: Any) -> Row:
    """Return a row that trains a convnet."""
    kind = {"kind": "Training", "threads": threads}
    return Row(f"{name}, threads: {threads}", module, kind | options, "first", str(threads))


def predicts(name: str, module: str, images: int, **options: Any) -> Row:
    kind = {"kind": "Prediction", "images": images}
    return Row(f"{name}, {images:,} at once", module, kind | options, "trained", str(images))


EITHER = ("all", "first")
CONVNET_ROWS = [
    *(batches("cnnx", "ours", threads) for threads in (1, 2)),
    *(batches("PyTorch, channels first", "pytorch", threads) for threads in (1, 2)),
    *(batches("PyTorch, channels last", "pytorch", threads, channels_last=True) for threads in (1, 2)),
]
TABLES: dict[str, tuple[Case, list[Row]]] = {
    "The article's network, training": (
        ARTICLE,
        [
            *(engine(dtype, ties) for dtype in TOLERANCE for ties in EITHER),
            *(engine("float32", ties, noise=True) for ties in EITHER),
            steps("cnnx, layer by layer from Python, float32", "ours", "ByHand", "all"),
            steps("the article's numpy", "article", ties="all")._replace(dtype="float64"),
            steps("PyTorch, eager", "pytorch"),
            steps("JAX, the whole epoch in one jitted scan", "jax_scan"),
            # Starting `fit` takes 50 ms, which only many steps make as small as it is in a whole epoch.
            steps("Keras, as in the article", "keras_fit")._replace(least=2000),
            Row(
                "nn-engine-core (no pooling, a quarter of the convolution)",
                "nn_engine",
                {"kind": "Training"},
                "strided",
                "all",
            ),
        ],
    ),
    "The article's network, prediction": (
        ARTICLE,
        [
            predicts("cnnx", "ours", 1),
            predicts("cnnx", "ours", MANY),
            predicts("cnnx, threads: 2", "ours", MANY, threads=2),
            predicts("onnxruntime", "onnx_runtime", 1, chunk=1),
            *(predicts(f"onnxruntime, {chunk:,} a run", "onnx_runtime", MANY, chunk=chunk) for chunk in (64, MANY)),
        ],
    ),
    "Keras's convnet, training": (CONVNET, CONVNET_ROWS),
    "Keras's convnet with batch normalisation, training": (NORMALISED, CONVNET_ROWS),
    "Colour images, training": (COLOUR, CONVNET_ROWS),
    "Keras's convnet, prediction": (
        CONVNET,
        [
            predicts("cnnx", "ours", MANY),
            *(predicts(f"onnxruntime, {chunk} a run", "onnx_runtime", MANY, chunk=chunk) for chunk in (16, 64, 256)),
        ],
    ),
}


def pictures(case: Case, source: str) -> tuple[Array, Array]:
    """Return a case's images and labels: digits, or noise in colour."""
    if case.channels > 1:
        rng = np.random.default_rng(0)
        shape = (DIGITS, case.side, case.side, case.channels)
        return rng.integers(0, 256, shape, np.uint8), rng.integers(0, CLASSES, DIGITS, np.uint8)
    loaded = cnnx.data.load(source)
    order = np.arange(DIGITS) % len(loaded.train_images)
    return loaded.train_images[order], loaded.train_labels[order]


def problem(name: str, case: Case, images: Array, labels: Array) -> tuple[Problem, Array]:
    """Return a problem and the right answers to it, by `cnnx.reference`: the first losses, or probabilities.

    Its name says which rule for ties holds; "noise" has no background and no ties; "strided" is the network of a peer
    that cannot pool; "trained" has parameters that tell digits apart, and is for predictions.
    """
    if name.startswith("noise"):
        images = np.random.default_rng(1).integers(0, 256, images.shape, dtype=np.uint8)
    case = case._replace(bias=case.bias or name == "strided")
    easy = case.to_verify()
    ties = "all" if name.endswith("all") else "first"
    network = ours.network(easy, ties=ties, rng=np.random.default_rng(0))
    some = slice(easy.checked * easy.batch)
    checked, optimizer = (images[some], labels[some]), ours.optimizer(case)
    if name == "trained":
        network.fit(*checked, epochs=3, batch_size=easy.batch, optimizer=optimizer, shuffle=False)
    found = Problem(case, images, labels, ours.parameters(network))
    twin = Twin(network)
    if name == "trained":
        return found, twin.probabilities(checked[0])
    if name == "strided":
        twin.layers[1] = EverySecond()
    losses = twin.losses(*checked, easy.batch, optimizer)
    return found, losses.reshape(easy.checked, -1).mean(axis=1)


def cells(contender: Contender, base: Contender | None) -> list[str]:
    """Return the row of the table, beside cnnx's."""
    if contender.problem:
        return [contender.name, "—", "—", "—", "—", contender.problem]
    ratio = number(statistics.median(contender.times(base))) if base else "—"
    megabytes = number(contender.about()[1])
    speed = number(1e6 / contender.median)
    return [contender.name, spread(contender.rounds), speed, ratio, megabytes, contender.verified]


def measure(case: Case, rows: list[Row], args: Any, folder: Path) -> list[Contender]:
    """Verify and time a table's contenders."""
    given_images = pictures(case, args.data)
    solved: dict[str, Array] = {}
    contenders = []
    for row in rows:
        saved = folder / f"{row.problem}.npz"
        if row.problem not in solved:
            given, solved[row.problem] = problem(row.problem, case, *given_images)
            given.save(saved)
        python = sys.executable if row.module in ("ours", "article") else args.peers
        contender = Contender(row.name, python, row.module, row.options, saved)
        contender.verify(solved[row.problem], max(TOLERANCE[row.dtype], rounding_of_norms(case.to_verify())))
        images = row.options.get("images")
        contender.items = images or case.batch
        contender.fill(args.seconds, row.least, 10**9 if images else DIGITS // case.batch)
        contenders.append(contender)
    turns.take_turns(contenders, args.rounds)
    return contenders


def main() -> int:
    parser = turns.options(__doc__, rounds=5, seconds=1)
    parser.add_argument("--data", default="sample", metavar="FOLDER", help="a folder of MNIST's IDX files")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="the peers' Python")
    args = parser.parse_args()
    wanted = turns.wanted([f"{title}: {row.name}" for title, (_, rows) in TABLES.items() for row in rows], args.only)
    for name in SLOWER_NUMPY:
        os.environ.pop(name, None)
    print(f"- {cpu_name()}; `python {shlex.join(sys.argv)}`; medians (smallest–largest) of {args.rounds} rounds")
    failed, peak = False, Peak(cnnx.active_target())
    for title, (case, rows) in TABLES.items():
        named = [row for row in rows if f"{title}: {row.name}" in wanted]
        cases = {row.beside for row in named}  # by cnnx, too
        chosen = [row for row in rows if row in named or (row.module == "ours" and row.beside in cases)]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            contenders = measure(case, chosen, args, Path(folder))
        flop = 2 * multiplications(case)["training" in title]
        print(f"\n{title}. All multiplications at the peak of one core: {number(flop / peak.measure())} µs a digit.\n")
        turns.table("contender", ">µs a digit", ">digits a second", ">× cnnx", ">memory, MB", "verified")
        bases: dict[str, Contender] = {}
        for row, contender in zip(chosen, contenders, strict=True):
            if row.module == "ours" and not contender.problem:
                bases.setdefault(row.beside, contender)
            line(*cells(contender, bases.get(row.beside)))
        versions = {it.about()[0] for it in contenders if not it.problem}
        print(f"\nVersions: {', '.join(sorted(versions))}.")
        for contender in contenders:
            contender.process.close()
        failed |= any(it.problem and not it.problem.startswith("ModuleNotFoundError") for it in contenders)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
