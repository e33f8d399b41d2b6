"""JAX: the whole epoch as one `lax.scan` in one jitted function, compiled before it is timed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from problem import LEARN_RATE, FloatArray, Problem


def loss(parameters: tuple[jax.Array, ...], image: jax.Array, label: jax.Array) -> jax.Array:
    filters, weights, biases = parameters
    convolved = lax.conv_general_dilated(
        image[jnp.newaxis], filters, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    pooled = lax.reduce_window(convolved, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return -jax.nn.log_softmax(pooled.ravel() @ weights + biases)[label]


def step(parameters: tuple[jax.Array, ...], digit: tuple[jax.Array, jax.Array]) -> Any:
    value, gradients = jax.value_and_grad(loss)(parameters, *digit)
    return tuple(p - LEARN_RATE * g for p, g in zip(parameters, gradients, strict=True)), value


@jax.jit
def epoch(parameters: tuple[jax.Array, ...], images: jax.Array, labels: jax.Array) -> Any:
    return lax.scan(step, parameters, (images, labels))


class Contender:
    """`reduce_window`'s gradient is a select-and-scatter: it goes to the first maximum."""

    version = f"JAX {jax.__version__}"

    def __init__(self, problem: Problem) -> None:
        self.images, self.labels = problem.scaled("float32")[..., np.newaxis], problem.labels.astype("int32")
        filters = problem.filters.transpose(1, 2, 0)[:, :, np.newaxis]
        self.initial = tuple(jnp.asarray(p, "float32") for p in (filters, problem.weights, problem.biases))
        self.compiled: dict[int, Any] = {}

    def prepare(self, count: int) -> None:
        self.digits = jnp.asarray(self.images[:count]), jnp.asarray(self.labels[:count])
        if count not in self.compiled:
            self.compiled[count] = epoch.lower(self.initial, *self.digits).compile()

    def run(self, count: int) -> FloatArray:
        _, losses = self.compiled[count](self.initial, *self.digits)
        return np.asarray(losses)

    def answer(self, count: int) -> FloatArray:
        self.prepare(count)
        return self.run(count)
