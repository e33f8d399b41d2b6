"""One contender in a process of its own, which answers requests until its input ends.

A line of JSON comes in, a line goes out: `{"check": n}` gives the first n losses or probabilities,
`{"time": n}` the seconds that n calls take from the initial parameters. The contender stays alive between
requests, so that the contenders can be timed in turns. `run.py` starts this file; a contender's module in
`contenders/` imports the `Problem` that it solves and has a class `Contender(problem, **options)` with

- `version`: of the package that does the work,
- `prepare(count)`: whatever need not be timed, such as going back to the initial parameters,
- `run(count)`: what is timed,
- `answer(count)`: an array to hold against the oracle.

The first line out has the version, and the megabytes that the process held once the package was `imported` and once the
contender was `loaded` with its images, as far as the system can tell.
"""

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from memory import forget_peak, peak_megabytes


def respond(contender: Any, request: dict[str, int]) -> dict[str, Any]:
    if "check" in request:
        return {"answer": contender.answer(request["check"]).tolist()}
    count = request["time"]
    contender.prepare(count)
    start = time.perf_counter()
    contender.run(count)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "megabytes": peak_megabytes()}


def held_megabytes() -> float:
    forget_peak()
    return peak_megabytes()


def main() -> None:
    module, problem, options = sys.argv[1:]
    # Frameworks print as they please: the replies keep standard output to themselves.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def reply(answer: dict[str, Any]) -> None:
        replies.write(json.dumps(answer) + "\n")

    try:
        contenders = importlib.import_module(f"contenders.{module}")
        imported = held_megabytes()
        contender = contenders.Contender(contenders.Problem.load(Path(problem)), **json.loads(options))
        reply({"version": contender.version, "imported": imported, "loaded": held_megabytes()})
        for line in sys.stdin:
            reply(respond(contender, json.loads(line)))
    except ModuleNotFoundError as error:
        reply({"missing": f"{error.name} is not installed"})
    except Exception as error:
        traceback.print_exc()
        reply({"error": f"{type(error).__name__}: {error}"})


main()
