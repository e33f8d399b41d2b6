"""The article's way of computing: numpy for a 3×3 region at a time, Python loops over the regions."""

import numpy as np
from networks import Array, Problem


class Training:
    """Convolution, pooling and softmax; Python visits each region and each tied pixel."""

    version = f"numpy {np.__version__}"

    def __init__(self, problem: Problem) -> None:
        self.problem, self.images, self.rate = problem, problem.scaled("float64"), problem.case.learn_rate

    def prepare(self, count: int) -> None:
        filters, self.weights, self.biases = (array.astype("float64") for array in self.problem.parameters)
        self.filters = filters[..., 0]

    def run(self, count: int) -> list[float]:
        digits = zip(self.images[:count], self.problem.labels.tolist(), strict=False)
        return [self.step(image, label) for image, label in digits]

    def answer(self, count: int) -> Array:
        self.prepare(count)
        return np.array(self.run(count))

    def step(self, image: Array, label: int) -> float:
        convolved = np.zeros((image.shape[0] - 2, image.shape[1] - 2, len(self.filters)))
        for y, x in np.ndindex(convolved.shape[:2]):
            convolved[y, x] = np.sum(image[y : y + 3, x : x + 3] * self.filters, axis=(1, 2))
        pooled = np.zeros((convolved.shape[0] // 2, convolved.shape[1] // 2, len(self.filters)))
        for y, x in np.ndindex(pooled.shape[:2]):
            pooled[y, x] = np.amax(convolved[2 * y : 2 * y + 2, 2 * x : 2 * x + 2], axis=(0, 1))
        flat = pooled.ravel()
        exponentials = np.exp(flat @ self.weights + self.biases)
        out = exponentials / np.sum(exponentials)

        d_totals = out.copy()
        d_totals[label] -= 1
        d_pooled = (self.weights @ d_totals).reshape(pooled.shape)
        self.weights -= self.rate * (flat[:, np.newaxis] @ d_totals[np.newaxis])
        self.biases -= self.rate * d_totals
        d_convolved = np.zeros_like(convolved)
        for y, x, c in np.ndindex(pooled.shape):
            for i, j in np.ndindex(2, 2):
                if convolved[2 * y + i, 2 * x + j, c] == pooled[y, x, c]:
                    d_convolved[2 * y + i, 2 * x + j, c] = d_pooled[y, x, c]
        d_filters = np.zeros_like(self.filters)
        for y, x, c in np.ndindex(d_convolved.shape):
            d_filters[c] += d_convolved[y, x, c] * image[y : y + 3, x : x + 3]
        self.filters -= self.rate * d_filters
        return float(-np.log(out[label]))
