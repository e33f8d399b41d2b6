"""Keras's MNIST convnet, cnnx beside PyTorch and onnxruntime, in one run: `python benchmarks/convnet.py --data FOLDER`.

Two convolutions with 32 and 64 filters, each with ReLU and pooling, dropout of one half, a softmax over ten classes:
34,826 parameters, trained in float32 on batches of 128 by Adam at 1e-3, and the forward pass alone on trained ones.

As in `run.py`, which explains the options, every contender is a process that stays alive, its number of threads fixed
when it starts; it is verified, then all take turns, and the median over the rounds counts. The exit code is 1 when a
contender fails or is not verified.

Verified: from the same parameters, and without dropout, whose random numbers differ, the mean losses of the first 20
batches agree with cnnx's in float64, and so do the probabilities of 200 images by trained parameters. They may differ
by `oracle.tolerance`, a random walk of one float32 rounding for each of the dense layer's 1,600 inputs in each of 20
steps: 2e-5. Both libraries stay below 1e-6. Ten times Adam's epsilon is 3e-4 away, a first beta of 0.91 instead of 0.9
is 2e-2, and the other rule for ties in the pooling 3e-2.

Memory: what the process held at its peak, above what it held after the import, images included, of which cnnx keeps
bytes and PyTorch the floats that it was given. In brackets what training alone took, above the images too.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine
import numpy as np
from contenders import cnnx_convnet, cnnx_convnet_predict
from convnet_problem import BATCH, CHANNELS, CHECKED_STEPS, POOLED, Problem
from entries import ANY_NUMBER, MANY, SAME_DIGITS, STEPS, Entry
from goals import Goal, Ratio, compared, times_by_key
from problem import CHECKED
from report import goals_table, number
from run import Task, Worker, arguments, exit_code, rounds, take_turns

import cnnx
from cnnx.data import load
from cnnx.models import keras_convnet

TRAINED = 100  # batches before the parameters of the forward pass
ROWS = {1: "1 thread", 2: "2 threads"}
FORWARD = {"oracle": "probabilities", "problem": "trained", "images": MANY, "most": ANY_NUMBER}

RATIOS: list[Ratio] = [
    ("training, 1 thread: PyTorch ÷ cnnx", "≥", 3, "PyTorch, 1 thread", "cnnx, 1 thread"),
    ("training, 2 threads: PyTorch ÷ cnnx", "≥", 3, "PyTorch, 2 threads", "cnnx, 2 threads"),
    ("training, cnnx: 1 thread ÷ 2", "≥", 1.8, "cnnx, 1 thread", "cnnx, 2 threads"),
    ("forward, 1 thread: onnxruntime's best ÷ cnnx", "≥", 1.2, "onnxruntime", "cnnx predict"),
    ("memory, 1 thread: PyTorch ÷ cnnx", "≥", 3, "memory of PyTorch, 1 thread", "memory of cnnx, 1 thread"),
    ("memory, 2 threads: PyTorch ÷ cnnx", "≥", 3, "memory of PyTorch, 2 threads", "memory of cnnx, 2 threads"),
]


def entries() -> list[Entry]:
    """Return the contenders, those that train first."""
    return [
        *(cnnx_training(threads) for threads in ROWS),
        *(torch_training(threads, channels_last) for threads in ROWS for channels_last in (False, True)),
        Entry(
            f"cnnx predict, 1 thread, {MANY:,} images",
            "cnnx_convnet_predict",
            options={"dtype": "float32", "batch": MANY, "threads": 1},
            **FORWARD,
        ),
        *(onnx_forward(chunk) for chunk in (16, 64, 256, 1_000)),
    ]


def cnnx_training(threads: int) -> Entry:
    options = {"dtype": "float32", "threads": threads}
    return Entry(f"cnnx, {ROWS[threads]}", "cnnx_convnet", options=options, images=BATCH, most=STEPS // BATCH)


def torch_training(threads: int, channels_last: bool) -> Entry:
    return Entry(
        f"PyTorch, {ROWS[threads]}, channels {'last' if channels_last else 'first'}",
        "torch_convnet",
        options={"threads": threads, "channels_last": channels_last},
        environment={"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        images=BATCH,
        most=STEPS // BATCH,
        peer=True,
        notes=SAME_DIGITS,
    )


def onnx_forward(chunk: int) -> Entry:
    return Entry(
        f"onnxruntime, 1 thread, {chunk:,} images a run",
        "onnx_convnet",
        options={"batch": MANY, "chunk": chunk, "threads": 1},
        peer=True,
        notes=SAME_DIGITS,
        **FORWARD,
    )


def tasks(data: str, folder: Path) -> dict[str, Task]:
    """Write both problems and return them, with cnnx's answers in float64, by oracle."""
    loaded = load(data)
    order = np.arange(STEPS) % len(loaded.train_images)
    images, labels = loaded.train_images[order], loaded.train_labels[order]
    network = keras_convnet(dtype=np.float32, rng=np.random.default_rng(0))

    def task(name: str, contender: Any, count: int, **options: Any) -> Task:
        arrays = (array for layer in network.layers for array in layer.parameters().values())
        problem = Problem(images, labels, *arrays)
        path = folder / f"{name}.npz"
        problem.save(path)
        answers = contender(problem, dtype="float64", threads=1, **options).answer(count)
        return Task(path, answers, inputs=POOLED * POOLED * CHANNELS, steps=CHECKED_STEPS)

    losses = task("initial", cnnx_convnet.Contender, CHECKED_STEPS)
    some = slice(TRAINED * BATCH)
    rng = np.random.default_rng(1)
    network.fit(images[some], labels[some], epochs=1, batch_size=BATCH, optimizer=cnnx.Adam(1e-3), rng=rng)
    probabilities = task("trained", cnnx_convnet_predict.Contender, CHECKED, batch=CHECKED)
    return {"losses": losses, "probabilities": probabilities}


def measure(args: Any, folder: Path, log: Any) -> list[dict[str, Any]]:
    prepared = tasks(args.data, folder)
    workers = []
    for entry in entries():
        if not args.only or args.only in entry.key:
            worker = Worker(entry, args.peers if entry.peer else sys.executable, prepared[entry.oracle], log)
            worker.make_ready(args.seconds)
            workers.append(worker)
    for _ in rounds(args.rounds):
        take_turns(workers)
    return [worker.close() for worker in workers]


def goals(results: dict[str, Any]) -> tuple[list[Goal], list[str]]:
    """Return the ratios that this run could measure, and the names of the others."""
    timed = [row for row in results["rows"] if "microseconds" in row]
    memory = {f"memory of {row['key']}": row["megabytes"] - row["imported"] for row in timed}
    return compared(RATIOS, times_by_key(results) | memory)


def markdown(results: dict[str, Any], count: int) -> str:
    """Return the whole report."""
    about = ", ".join(f"{name} {value}" for name, value in results.items() if isinstance(value, str))
    versions = sorted({row["version"] for row in results["rows"] if "version" in row})
    found, missing = goals(results)
    return "\n".join(
        [
            f"- {about}",
            f"- {', '.join(versions)}",
            f"- Keras's MNIST convnet in float32; training: batches of {BATCH}, Adam; forward: {MANY:,} images a call",
            f"- medians (smallest–largest) of {count} interleaved rounds",
            "- peak memory above the import; in brackets above the images too, of which cnnx keeps bytes",
            "",
            *table("training", [row for row in results["rows"] if not row["predicts"]]),
            *table("forward", [row for row in results["rows"] if row["predicts"]]),
            *goals_table(found),
            *([f"Not measured: {'; '.join(missing)}.", ""] if missing else []),
        ]
    )


def table(title: str, rows: list[dict[str, Any]]) -> list[str]:
    """Return a table of these rows, none when there are none."""
    if not rows:
        return []
    ours = [row for row in rows if row["name"].startswith("cnnx") and "microseconds" in row]
    own = {threads(row): row["microseconds"] for row in ours}
    return [
        f"| {title} | digits a second | time, × cnnx | memory, MB | verified | notes |",
        "| --- | ---: | ---: | ---: | --- | --- |",
        *("| " + " | ".join(cells(row, own.get(threads(row)))) + " |" for row in rows),
        "",
    ]


def threads(row: dict[str, Any]) -> str:
    return str(row["name"].split(", ")[1])


def cells(row: dict[str, Any], own: float | None) -> list[str]:
    """Return a row's cells; `own` is what cnnx takes on as many threads."""
    if "problem" in row:
        return [row["name"], "—", "—", "—", row["problem"], row["notes"]]
    speeds = [number(1e6 / micro) for micro in (row["microseconds"], max(row["rounds"]), min(row["rounds"]))]
    return [
        row["name"],
        f"{speeds[0]} ({speeds[1]}–{speeds[2]})",
        number(row["microseconds"] / own) if own else "—",
        f"{number(row['megabytes'] - row['imported'])} ({number(row['megabytes'] - row['loaded'])})",
        f"to {row['worst']:.0e}",
        row["notes"],
    ]


def main() -> int:
    args = arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder, (args.out / "convnet-workers.log").open("w") as log:
        rows = measure(args, Path(folder), log)
    results = machine.description() | {"rows": rows}
    results["goals"] = [goal._asdict() | {"met": goal.met} for goal in goals(results)[0]]
    text = markdown(results, args.rounds)
    print(text)
    (args.out / "convnet.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    (args.out / "convnet.md").write_text(text)
    return exit_code(rows)


if __name__ == "__main__":
    sys.exit(main())
