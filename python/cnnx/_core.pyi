from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._checks import FloatArray

__version__: str

def targets() -> list[str]:
    """The CPU targets that this CPU can run, the best one last."""

def active_target() -> str:
    """The CPU target in use; the environment variable CNNX_TARGET forces one."""

def conv3x3_forward(input: FloatArray, filters: FloatArray, biases: FloatArray | None, same: bool) -> FloatArray: ...
def conv3x3_backprop(
    d_L_d_out: FloatArray,
    input: FloatArray,
    filters: FloatArray,
    biases: FloatArray | None,
    same: bool,
    learn_rate: float,
) -> FloatArray: ...
def max_pool2_forward(input: FloatArray) -> FloatArray: ...
def max_pool2_backprop(d_L_d_out: FloatArray, input: FloatArray, first_tie_only: bool) -> FloatArray: ...
def relu_forward(input: FloatArray) -> FloatArray: ...
def relu_backprop(d_L_d_out: FloatArray, input: FloatArray) -> FloatArray: ...
def dense_forward(input: FloatArray, weights: FloatArray, biases: FloatArray) -> FloatArray: ...
def softmax_forward(input: FloatArray, weights: FloatArray, biases: FloatArray) -> tuple[FloatArray, FloatArray]: ...
def dense_backprop(
    d_L_d_out: FloatArray,
    input: FloatArray,
    weights: FloatArray,
    biases: FloatArray,
    totals: FloatArray | None,
    input_shape: tuple[int, ...],
    learn_rate: float,
) -> FloatArray: ...

class NetworkFloat32:
    """Layers as tuples (kind, setting or arrays...), whose arrays it borrows; images float32 or uint8."""

    def __init__(self, layers: list[tuple[Any, ...]], height: int, width: int) -> None: ...
    @property
    def parameter_count(self) -> int: ...
    def train(
        self,
        images: NDArray[Any],
        labels: NDArray[np.int32],
        order: NDArray[np.int64],
        batch_size: int,
        learn_rates: NDArray[np.float64],
        optimizer: tuple[Any, ...],
        maps: NDArray[np.float64] | None,
        seed: int,
        samples_before: int,
        threads: int,
        losses: NDArray[np.float64],
        correct: NDArray[np.bool_],
    ) -> None: ...
    def gradient(
        self,
        images: NDArray[Any],
        labels: NDArray[np.int32],
        order: NDArray[np.int64],
        seed: int,
        samples_before: int,
        threads: int,
        gradient: FloatArray,
        losses: NDArray[np.float64],
        correct: NDArray[np.bool_],
    ) -> None: ...
    def apply(self, gradient: FloatArray, optimizer: tuple[Any, ...], learn_rate: float) -> None: ...
    def predict(self, images: NDArray[Any], threads: int) -> FloatArray: ...
    def evaluate(
        self, images: NDArray[Any], labels: NDArray[np.int32], threads: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]: ...

class NetworkFloat64(NetworkFloat32):
    """The same for float64."""
