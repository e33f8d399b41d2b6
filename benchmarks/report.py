"""The results as Markdown: training, prediction, and each goal beside what was measured."""

from typing import Any

from entries import ENGINE, MANY_IMAGES, ONE_IMAGE
from goals import Goal, measured, times_by_key
from machine import STEP_FLOP

Row = dict[str, Any]


def markdown(results: dict[str, Any]) -> str:
    """Return the whole report."""
    about = ", ".join(f"{name} {value}" for name, value in results.items() if isinstance(value, str))
    floors = " and ".join(f"{micro:.2f} µs in {dtype}" for dtype, micro in results["floor"].items())
    versions = sorted({row["version"] for row in results["rows"] if "version" in row})
    found, missing = measured(results)
    return "\n".join(
        [
            f"- {about}",
            f"- {', '.join(versions)}",
            f"- medians (smallest–largest) of {len(results['peak'])} interleaved rounds; one thread, batch size 1",
            f"- floor: {STEP_FLOP:,} FLOP at the measured multiply-add peak, {floors}",
            "- peak memory: of the process, with 60,000 images loaded, which cnnx keeps as bytes",
            "",
            *table(results, "µs a step", [row for row in results["rows"] if not row["predicts"]]),
            *table(results, "µs an image", [row for row in results["rows"] if row["predicts"]]),
            *goals_table(found),
            *([f"Not measured: {'; '.join(missing)}.", ""] if missing else []),
            *results.get("whole", {}).get("lines", []),
            "",
        ]
    )


def table(results: dict[str, Any], unit: str, rows: list[Row]) -> list[str]:
    """Return a table of these rows, none when there are none."""
    if not rows:
        return []
    times = times_by_key(results)
    return [
        f"| contender | dtype | ties | {unit} | × cnnx | × floor | peak memory, MB | verified | notes |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
        *("| " + " | ".join(cells(row, times.get(baseline(row)), results["floor"])) + " |" for row in rows),
        "",
    ]


def baseline(row: Row) -> str:
    """Return the key of the cnnx row that does the same work by the same rule for ties."""
    if row["predicts"]:
        batch = ONE_IMAGE if ONE_IMAGE in row["name"] else f"{MANY_IMAGES}, 1 thread"
        return f"cnnx predict, {batch} float32 —"
    return f"{ENGINE} float32 {'first' if row['ties'] == 'first' else 'all'}"


def cells(row: Row, own: float | None, floor: dict[str, float]) -> list[str]:
    """Return a row's cells; `own` is what cnnx takes for the same work."""
    contender = [row["name"], row["dtype"], row["ties"]]
    if "problem" in row:
        return [*contender, "—", "—", "—", "—", row["problem"], row["notes"]]
    took = row["microseconds"]
    return [
        *contender,
        f"{number(took)} ({number(min(row['rounds']))}–{number(max(row['rounds']))})",
        number(took / own) if own else "—",
        "—" if row["predicts"] else number(took / floor[row["dtype"]]),
        number(row["megabytes"]),
        f"to {row['worst']:.0e}",
        row["notes"],
    ]


def goals_table(found: list[Goal]) -> list[str]:
    """Return the goals that were measured, none when there are none."""
    if not found:
        return []
    return [
        "| goal | wanted | measured | met |",
        "| --- | ---: | ---: | --- |",
        *(
            f"| {goal.name} | {goal.bound} {goal.wanted:,} | {number(goal.got)} | {'yes' if goal.met else 'NO'} |"
            for goal in found
        ),
        "",
    ]


def number(value: float) -> str:
    """Return a figure with three digits, and no more after the point than it needs."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
