"""Draw `results.json` as bars of microseconds a step on a logarithmic scale: `chart.py RESULTS`.

A program of its own, so that matplotlib may live in the peers' environment.
"""

import json
import sys
from pathlib import Path

try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
except ModuleNotFoundError:
    sys.exit("no picture: matplotlib is not installed")

OURS, THEIRS = "#1b6ca8", "#b0b7bf"


def draw(results: dict, picture: Path) -> None:
    rows = [row for row in results["rows"] if "microseconds" in row and not row["predicts"]]
    rows.sort(key=lambda row: row["microseconds"], reverse=True)
    names = [f"{row['name']}, {row['dtype']}, ties {row['ties']}".replace(", ties —", "") for row in rows]
    times = [row["microseconds"] for row in rows]
    colors = [OURS if row["name"].startswith("cnnx") else THEIRS for row in rows]
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(rows) + 1.2), layout="constrained")
    bars = axes.barh(names, times, color=colors)
    for bar, row in zip(bars, rows, strict=True):
        bar.set(hatch="" if row["same"] else "//", edgecolor="white")
    axes.bar_label(bars, [f"{time:,.0f}" if time >= 100 else f"{time:.3g}" for time in times], padding=3)
    floor = results["floor"]["float32"]
    axes.axvline(floor, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(
        "multiply-add floor, float32",
        (floor, 1),
        (4, 4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="bottom",
        fontsize=8,
    )
    axes.set_xscale("log")
    axes.set_xlim(floor / 2, max(times) * 4)
    axes.set_xlabel("microseconds a training step, batch size 1, one thread\n(shorter is better; hatched: other work)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.01)
    for kind in (".svg", ".png"):
        figure.savefig(picture.with_suffix(kind), dpi=150)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    draw(json.loads(path.read_text()), path)
