"""All contenders: what runs, on what, against which oracle, and what the table must say about it."""

from dataclasses import dataclass, field
from typing import Any

import cnnx

ENGINE = f"cnnx engine, {cnnx.active_target()}"
NOISE = f"{ENGINE}, noise"
LAYERS = "cnnx layer API"
REFERENCE = "cnnx.reference (numpy)"
ARTICLE = "the article's numpy"
TORCH = "PyTorch eager"
JAX = "JAX scan"
KERAS = "Keras, the article's script"
KERAS_LEAN = "Keras, quiet, one thread"
NN_ENGINE = "nn-engine-core"
ONE_IMAGE, MANY_IMAGES, MANY = "one image", "10,000 images", 10_000

SAME_DIGITS = "floats scaled beforehand"


STEPS = 60_000  # an epoch of MNIST; the sample is repeated up to here
ANY_NUMBER = 10**9


@dataclass(frozen=True)
class Entry:
    """One row of a table, and the worker that it comes from.

    `images` is the number of images that one timed call handles; a turn has at `least` and at `most` so many calls.
    """

    name: str
    module: str
    dtype: str = "float32"
    ties: str = "—"
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    problem: str = "digits"
    oracle: str = "losses"
    images: int = 1
    least: int = 1
    most: int = STEPS
    peer: bool = False
    notes: str = ""

    @property
    def key(self) -> str:
        """Return the name by which a goal finds this row."""
        return f"{self.name} {self.dtype} {self.ties}"

    @property
    def predicts(self) -> bool:
        """Return whether this is inference, which has a table of its own."""
        return self.oracle == "probabilities"


def training() -> list[Entry]:
    """Return the contenders that train, cnnx on every CPU target of this machine first."""
    engines = [
        engine(f"cnnx engine, {target}", dtype, ties, environment={"CNNX_TARGET": target})
        for target in cnnx.targets()
        for dtype in ("float32", "float64")
        for ties in ("all", "first")
    ]
    noise = [
        engine(NOISE, dtype, ties, problem="noise", notes="uniform noise for images: nothing to skip")
        for dtype in ("float32", "float64")
        for ties in ("all", "first")
    ]
    return [
        *engines,
        *noise,
        layers(LAYERS, "cnnx", "float32", notes="a Python loop over layers, each call checked"),
        layers(REFERENCE, "cnnx.reference", "float64", notes="also computes the gradient of the image"),
        Entry(
            ARTICLE,
            "article_numpy",
            "float64",
            "all",
            {"dtype": "float64"},
            notes="Python loops over regions, as the article does",
        ),
        Entry(TORCH, "torch_eager", ties="first", peer=True, notes=SAME_DIGITS),
        Entry(JAX, "jax_scan", ties="first", peer=True, notes=f"{SAME_DIGITS}; compiling is not timed"),
        keras(KERAS, as_in_article=True, notes="with its progress bar, its metrics and TensorFlow's own threads"),
        keras(KERAS_LEAN, as_in_article=False, notes=SAME_DIGITS),
        Entry(
            NN_ENGINE,
            "nn_engine",
            oracle="strided losses",
            peer=True,
            notes=f"NOT the same work: no pooling, a convolution of stride 2 with biases (a quarter of the "
            f"convolution); held against that network in numpy; {SAME_DIGITS}",
        ),
    ]


def predicting() -> list[Entry]:
    """Return the contenders that only look at digits: one a call, and 10,000 a call."""
    return [
        prediction(f"cnnx predict, {ONE_IMAGE}", 1, threads=1),
        prediction(f"cnnx predict, {MANY_IMAGES}, 1 thread", MANY, threads=1),
        prediction(f"cnnx predict, {MANY_IMAGES}, 2 threads", MANY, threads=2),
        session(f"onnxruntime, {ONE_IMAGE}", 1, chunk=1),
        session(f"onnxruntime, {MANY_IMAGES}, in one run", MANY, chunk=MANY),
        session(f"onnxruntime, {MANY_IMAGES}, 64 a run", MANY, chunk=64),
    ]


def engine(name: str, dtype: str, ties: str, **rest: Any) -> Entry:
    return Entry(name, "cnnx_engine", dtype, ties, {"dtype": dtype, "ties": ties}, **rest)


def layers(name: str, module: str, dtype: str, notes: str) -> Entry:
    options = {"module": module, "dtype": dtype, "ties": "all"}
    return Entry(name, "cnnx_layers", dtype, "all", options, notes=notes)


def keras(name: str, as_in_article: bool, notes: str) -> Entry:
    options = {"as_in_article": as_in_article}
    # Starting `fit` takes 50 ms, which only many steps make as small as it is in a whole epoch.
    return Entry(name, "keras_fit", ties="first", options=options, least=2_000, peer=True, notes=notes)


def prediction(name: str, batch: int, threads: int) -> Entry:
    options = {"dtype": "float32", "batch": batch, "threads": threads}
    return Entry(
        name,
        "cnnx_predict",
        options=options,
        problem="trained",
        oracle="probabilities",
        images=batch,
        most=ANY_NUMBER,
    )


def session(name: str, batch: int, chunk: int) -> Entry:
    return Entry(
        name,
        "onnx_session",
        options={"batch": batch, "chunk": chunk, "threads": 1},
        problem="trained",
        oracle="probabilities",
        images=batch,
        most=ANY_NUMBER,
        peer=True,
        notes=SAME_DIGITS,
    )
