"""PyTorch, eager: Keras's convnet as a `Sequential`, `cross_entropy`, `Adam`, and a Python loop over the batches."""

import numpy as np
import torch
from convnet_problem import BATCH, DROPOUT, LEARN_RATE, FloatArray, Problem
from torch import nn


class Contender:
    """The usual loop, without a DataLoader: a batch is a slice of float images that lie ready."""

    version = f"PyTorch {torch.__version__}"

    def __init__(self, problem: Problem, threads: int, channels_last: bool) -> None:
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        images = torch.from_numpy(problem.scaled("float32")[:, np.newaxis])
        self.batches = images.contiguous(memory_format=self.format).split(BATCH)
        self.labels = torch.from_numpy(problem.labels.astype("int64")).split(BATCH)
        self.parameters = problem.channels_first()
        self.parameters["weights"] = self.parameters["weights"].T

    def prepare(self, count: int, with_dropout: bool = True) -> None:
        first, second = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        dropout = [nn.Dropout(DROPOUT)] if with_dropout else []
        network = nn.Sequential(
            *(first, nn.ReLU(), nn.MaxPool2d(2)),
            *(second, nn.ReLU(), nn.MaxPool2d(2)),
            *(*dropout, nn.Flatten(), nn.Linear(*self.parameters["weights"].T.shape)),
        )
        with torch.no_grad():
            for parameter, values in zip(network.parameters(), self.parameters.values(), strict=True):
                parameter[...] = torch.from_numpy(values)
        self.network = network.to(memory_format=self.format)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARN_RATE)

    def run(self, count: int) -> list[float]:
        losses = []
        for images, labels in zip(self.batches[:count], self.labels[:count], strict=True):
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.network(images), labels)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses

    def answer(self, count: int) -> FloatArray:
        self.prepare(count, with_dropout=False)
        return np.array(self.run(count))
