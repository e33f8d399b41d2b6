"""The article's way of computing: numpy for a 3×3 region at a time, Python loops over the regions."""

from collections.abc import Iterator

import numpy as np
from problem import LEARN_RATE, FloatArray, Problem


def regions(image: FloatArray, size: int, stride: int) -> Iterator[tuple[FloatArray, int, int]]:
    """Walk the (size, size) regions of an image (h, w) or (h, w, c), with the place of each in the output."""
    for y in range((image.shape[0] - size) // stride + 1):
        for x in range((image.shape[1] - size) // stride + 1):
            yield image[y * stride : y * stride + size, x * stride : x * stride + size], y, x


class Contender:
    """Convolution, pooling and softmax, each region and each tied pixel visited by Python."""

    version = f"numpy {np.__version__}"

    def __init__(self, problem: Problem, dtype: str) -> None:
        self.problem, self.dtype = problem, dtype
        self.images = problem.scaled(dtype)
        self.prepare(0)

    def prepare(self, count: int) -> None:
        self.filters, self.weights, self.biases = (array.astype(self.dtype) for array in self.problem[2:])

    def run(self, count: int) -> None:
        for image, label in zip(self.images[:count], self.problem.labels, strict=False):
            self.step(image, int(label))

    def answer(self, count: int) -> FloatArray:
        self.prepare(count)
        return np.array([self.step(self.images[i], int(self.problem.labels[i])) for i in range(count)])

    def step(self, image: FloatArray, label: int) -> float:
        convolved = self.convolve(image)
        pooled = self.pool(convolved)
        flat = pooled.flatten()
        exponentials = np.exp(flat @ self.weights + self.biases)
        out = exponentials / np.sum(exponentials)

        d_totals = out.copy()
        d_totals[label] -= 1
        d_flat = self.weights @ d_totals
        self.weights -= LEARN_RATE * (flat[:, np.newaxis] @ d_totals[np.newaxis])
        self.biases -= LEARN_RATE * d_totals
        d_convolved = self.unpool(d_flat.reshape(pooled.shape), convolved)
        self.learn_filters(d_convolved, image)
        return float(-np.log(out[label]))

    def convolve(self, image: FloatArray) -> FloatArray:
        output = np.zeros((image.shape[0] - 2, image.shape[1] - 2, len(self.filters)), self.dtype)
        for region, y, x in regions(image, 3, 1):
            output[y, x] = np.sum(region * self.filters, axis=(1, 2))
        return output

    def pool(self, image: FloatArray) -> FloatArray:
        output = np.zeros((image.shape[0] // 2, image.shape[1] // 2, image.shape[2]), self.dtype)
        for region, y, x in regions(image, 2, 2):
            output[y, x] = np.amax(region, axis=(0, 1))
        return output

    def unpool(self, d_pooled: FloatArray, image: FloatArray) -> FloatArray:
        d_image = np.zeros_like(image)
        for region, y, x in regions(image, 2, 2):
            largest = np.amax(region, axis=(0, 1))
            for i, j, c in np.ndindex(*region.shape):
                if region[i, j, c] == largest[c]:
                    d_image[2 * y + i, 2 * x + j, c] = d_pooled[y, x, c]
        return d_image

    def learn_filters(self, d_convolved: FloatArray, image: FloatArray) -> None:
        d_filters = np.zeros_like(self.filters)
        for region, y, x in regions(image, 3, 1):
            for n in range(len(self.filters)):
                d_filters[n] += d_convolved[y, x, n] * region
        self.filters -= LEARN_RATE * d_filters
