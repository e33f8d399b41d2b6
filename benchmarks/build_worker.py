"""One build of cnnx in a process of its own: a line of JSON comes in, a line goes out, until the input ends.

`{"make": row}` builds what a row needs and answers with numbers that any build should give, `{"repetitions": row}` with
how many fill SECONDS, and `{"time": row, "count": n}` with the microseconds that each item of n repetitions took.
Whatever a build cannot do is answered with a `problem`. The first line out says which build this is. `builds.py` starts
this file, with the folder of the digits as its argument.
"""

import json
import math
import platform
import sys
from typing import Any

import numpy as np
from build_tasks import Task, rows
from machine import cpu_name

import cnnx

SECONDS = 0.05  # at least so long a turn


def repetitions(task: Task) -> int:
    """Return how many fill SECONDS, which also warms the task up."""
    count, taken = 1, task.run(1)
    while taken < SECONDS:
        count = math.ceil(count * min(10.0, 1.2 * SECONDS / taken))
        taken = task.run(count)
    return count


def respond(request: dict[str, Any], tasks: dict[str, Task]) -> Any:
    if "make" in request:
        task = tasks[request["make"]] = rows()[request["make"]]()
        return np.asarray(task.answer(), np.float64).ravel().tolist()
    if "repetitions" in request:
        return repetitions(tasks[request["repetitions"]])
    task = tasks[request["time"]]
    return task.run(request["count"]) / request["count"] / task.items * 1e6


def main() -> None:
    about = f"cnnx {cnnx.__version__}, target {cnnx.active_target()}, numpy {np.__version__}"
    about += f", Python {platform.python_version()}"
    print(json.dumps({"about": about, "cpu": cpu_name(), "rows": list(rows())}), flush=True)
    tasks: dict[str, Task] = {}
    for line in sys.stdin:
        try:
            reply = {"reply": respond(json.loads(line), tasks)}
        except Exception as error:
            reply = {"problem": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


main()
