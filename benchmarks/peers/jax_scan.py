"""JAX: the article's epoch as one `lax.scan` in one jitted function, compiled before it is timed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from networks import Array, Problem


def loss(parameters: tuple[jax.Array, ...], image: jax.Array, label: jax.Array) -> jax.Array:
    filters, weights, biases = parameters
    names = ("NHWC", "HWIO", "NHWC")
    convolved = lax.conv_general_dilated(image[jnp.newaxis], filters, (1, 1), "VALID", dimension_numbers=names)
    pooled = lax.reduce_window(convolved, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return -jax.nn.log_softmax(pooled.ravel() @ weights + biases)[label]


class Training:
    """`reduce_window`'s gradient is a select-and-scatter: it goes to the first maximum."""

    version = f"JAX {jax.__version__}"

    def __init__(self, problem: Problem) -> None:
        def step(parameters: tuple[jax.Array, ...], digit: tuple[jax.Array, jax.Array]) -> Any:
            value, gradients = jax.value_and_grad(loss)(parameters, *digit)
            rate = problem.case.learn_rate
            return tuple(p - rate * g for p, g in zip(parameters, gradients, strict=True)), value

        self.epoch = jax.jit(lambda parameters, *digits: lax.scan(step, parameters, digits))
        self.images, self.labels = problem.scaled()[..., np.newaxis], problem.labels.astype("int32")
        filters, weights, biases = problem.parameters
        filters = filters.transpose(1, 2, 3, 0)
        self.initial = tuple(jnp.asarray(array, "float32") for array in (filters, weights, biases))
        self.compiled: dict[int, Any] = {}

    def prepare(self, count: int) -> None:
        self.digits = jnp.asarray(self.images[:count]), jnp.asarray(self.labels[:count])
        if count not in self.compiled:
            self.compiled[count] = self.epoch.lower(self.initial, *self.digits).compile()

    def run(self, count: int) -> Array:
        return np.asarray(self.compiled[count](self.initial, *self.digits)[1])

    def answer(self, count: int) -> Array:
        self.prepare(count)
        return self.run(count)
