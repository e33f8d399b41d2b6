"""What `builds.py` times, in the Python of one build: `build_tasks.py FOLDER`, with the digits' folder."""

import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from machine import cpu_name
from turns import serve

import cnnx

CHECKED = 200  # digits that the builds are compared on
LEARN_RATE = 0.005
IMPORT = "import numpy, time; start = time.perf_counter(); import cnnx; print(time.perf_counter() - start)"
images, labels, *_ = cnnx.data.load(sys.argv[1])


class Task(NamedTuple):
    """A row: `run(count)` returns the seconds of so many repetitions of `items` each."""

    items: int
    run: Callable[[int], float]
    answer: Callable[[], Any] = list


def made(name: str, dtype: str = "float32", **options: Any) -> cnnx.Sequential:
    return getattr(cnnx.models, name)(dtype=dtype, rng=np.random.default_rng(0), **options)


def without_dropout(network: cnnx.Sequential) -> cnnx.Sequential:
    return cnnx.Sequential(layer for layer in network.layers if not isinstance(layer, cnnx.Dropout))


def trained(name: str) -> cnnx.Sequential:
    """Return a network that tells digits apart, so that its probabilities say something."""
    network = made(name)
    without_dropout(network).fit(images[:1000], labels[:1000], epochs=1, learn_rate=LEARN_RATE, shuffle=False)
    return network


def restorer(network: cnnx.Sequential) -> Callable[[], None]:
    """Return a function that goes back to the parameters of now."""
    kept = [(array, array.copy()) for layer in network.layers for array in layer.parameters().values()]

    def restore() -> None:
        for array, values in kept:
            array[...] = values

    return restore


def repeated(step: Callable[[int], Any], count: int) -> float:
    start = time.perf_counter()
    for turn in range(count):
        step(turn)
    return time.perf_counter() - start


def training(count: int, batch: int, optimizer: Callable[[], Any], name: str, **options: Any) -> Task:
    """Train on one thread, `count` digits a repetition; every turn begins from the initial parameters."""
    network = made(name, **options)
    restore = restorer(network)

    def fit(which: cnnx.Sequential, count: int, follow: Any, **order: Any) -> Any:
        order |= {"epochs": 1, "batch_size": batch, "optimizer": follow, "threads": 1}
        return which.fit(images[:count], labels[:count], **order).losses

    def run(times: int) -> float:
        restore()
        follow, rng = optimizer(), np.random.default_rng(0)
        return repeated(lambda _: fit(network, count, follow, rng=rng), times)

    return Task(count, run, lambda: fit(without_dropout(made(name, **options)), CHECKED, optimizer(), shuffle=False))


def predicting(name: str, count: int) -> Task:
    network, some = trained(name), images[0] if count == 1 else images[:count]
    run = partial(repeated, lambda _: network.predict(some, threads=1))
    return Task(count, run, lambda: network.predict(images[:CHECKED], threads=1))


def by_hand(dtype: str) -> Task:
    """Take the article's steps with the layers' own methods."""
    network = made("article_cnn", dtype)
    restore, (conv, pool, softmax) = restorer(network), network.layers
    scaled, known = (images[:1000] / 255 - 0.5).astype(dtype), labels[:1000].tolist()

    def step(turn: int) -> float:
        out = softmax.forward(pool.forward(conv.forward(scaled[turn % 1000])))
        loss, gradient = cnnx.cross_entropy(out, known[turn % 1000])
        conv.backprop(pool.backprop(softmax.backprop(gradient, LEARN_RATE)), LEARN_RATE)
        return loss

    def run(times: int) -> float:
        restore()
        return repeated(step, times)

    return Task(1, run, lambda: [step(turn) for turn in range(CHECKED)])


def in_threads(name: str, networks: int) -> Task:
    """Predict in eight Python threads that share the networks, in each ten calls a repetition with `threads=1`."""
    threads, calls, count = 8, 10, 64
    shared = [trained(name) for _ in range(networks)]

    def run(times: int) -> float:
        ready, clocks = threading.Barrier(threads), []

        def work(network: cnnx.Sequential) -> None:
            ready.wait()
            start = time.perf_counter()
            for _ in range(calls * times):
                network.predict(images[:count], threads=1)
            clocks.extend((start, time.perf_counter()))

        workers = [threading.Thread(target=work, args=(shared[i % networks],)) for i in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return max(clocks) - min(clocks)

    return Task(threads * calls * count, run)


def importing(times: int) -> float:
    command = [sys.executable, "-I", "-c", IMPORT]
    return sum(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(times))


def rows() -> dict[str, Callable[[], Task]]:
    """Return how each row is made, by its name."""
    sgd, adam = partial(cnnx.SGD, LEARN_RATE), partial(cnnx.Adam, 0.001)
    article = partial(training, 10_000, 1, sgd, "article_cnn")
    found: dict[str, Callable[[], Task]] = {}
    for dtype in ("float32", "float64"):
        for ties in ("all", "first"):
            found[f'article step, {dtype}, ties="{ties}"'] = partial(article, dtype=dtype, ties=ties)
        found[f"layer API step, {dtype}"] = partial(by_hand, dtype)
    found["keras_convnet, batch size 64, Adam"] = partial(training, 256, 64, adam, "keras_convnet")
    for name, count in (("keras_convnet", 1000), ("article_cnn", 1), ("article_cnn", 10_000)):
        found[f"{name}, predict {count:,}"] = partial(predicting, name, count)
    found["import cnnx, after numpy"] = lambda: Task(1, importing)
    for name in ("article_cnn", "keras_convnet"):
        for shared, networks in (("ONE network", 1), ("EIGHT networks", 8)):
            found[f"{name}, 8 threads, {shared}"] = partial(in_threads, name, networks)
    return found


class Build:
    """What the process serves: tasks by their rows' names."""

    def __init__(self) -> None:
        self.rows = rows()
        self.tasks: dict[str, Task] = {}

    def about(self) -> dict[str, Any]:
        build = f"cnnx {cnnx.__version__}, target {cnnx.active_target()}, numpy {np.__version__}"
        return {"build": f"{build}, Python {platform.python_version()}", "cpu": cpu_name(), "rows": list(self.rows)}

    def items(self, row: str) -> int:
        self.tasks[row] = self.rows[row]()
        return self.tasks[row].items

    def answer(self, row: str) -> Any:
        if row not in self.tasks:
            self.items(row)
        return np.asarray(self.tasks[row].answer(), np.float64).tolist()

    def clock(self, row: str, count: int) -> float:
        return self.tasks[row].run(count)


serve(Build)
