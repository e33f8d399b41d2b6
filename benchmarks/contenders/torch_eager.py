"""PyTorch, eager: a `Sequential`, `cross_entropy`, `SGD`, and a Python loop over the digits."""

import numpy as np
import torch
from problem import FILTERS, LEARN_RATE, FloatArray, Problem
from torch import nn


class Contender:
    """The usual five lines of a PyTorch loop. Its pooling gives the gradient to the first maximum."""

    version = f"PyTorch {torch.__version__}"

    def __init__(self, problem: Problem) -> None:
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
        self.problem = problem
        self.images = torch.from_numpy(problem.scaled("float32")[:, np.newaxis, np.newaxis])
        self.labels = torch.from_numpy(problem.labels.astype("int64")[:, np.newaxis])

    def prepare(self, count: int) -> None:
        weights = self.problem.weights_by_channel()
        conv, dense = nn.Conv2d(1, FILTERS, 3, bias=False), nn.Linear(*weights.shape)
        with torch.no_grad():
            conv.weight[:] = torch.from_numpy(self.problem.filters[:, np.newaxis])
            dense.weight[:] = torch.from_numpy(weights.T)
            dense.bias[:] = torch.from_numpy(self.problem.biases)
        self.network = nn.Sequential(conv, nn.MaxPool2d(2), nn.Flatten(), dense)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=LEARN_RATE)

    def run(self, count: int) -> list[float]:
        losses = []
        for image, label in zip(self.images[:count], self.labels[:count], strict=True):
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.network(image), label)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses

    def answer(self, count: int) -> FloatArray:
        self.prepare(count)
        return np.array(self.run(count))
