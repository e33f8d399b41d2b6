"""PyTorch, eager: a `Sequential`, `cross_entropy`, an optimizer, and the usual Python loop over slices of floats."""

import numpy as np
import torch
from networks import Array, Problem, walk
from torch import nn


class Training:
    """Its pooling gives the gradient to the first maximum."""

    version = f"PyTorch {torch.__version__}"

    def __init__(self, problem: Problem, threads: int = 1, channels_last: bool = False) -> None:
        torch.set_num_threads(threads)
        self.problem = problem
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        images = torch.from_numpy(problem.scaled().reshape(len(problem.images), *[problem.case.side] * 2, -1))
        images = images.permute(0, 3, 1, 2)
        self.batches = images.contiguous(memory_format=self.format).split(problem.case.batch)
        self.labels = torch.from_numpy(problem.labels.astype("int64")).split(problem.case.batch)

    def prepare(self, count: int) -> None:
        case, layers = self.problem.case, []
        for kind, number, taken, _ in walk(case):
            if kind in ("conv", "same"):
                layers.append(nn.Conv2d(taken[2], number, 3, padding=int(kind == "same"), bias=case.bias))
            elif kind == "dense":
                layers += [nn.Flatten(), nn.Linear(int(np.prod(taken)), number)]
            elif kind == "norm":
                layers.append(nn.BatchNorm2d(taken[2]))
            else:
                layers.append({"pool": nn.MaxPool2d(2), "relu": nn.ReLU(), "dropout": nn.Dropout(0.5)}[kind])
        network = nn.Sequential(*layers)
        with torch.no_grad():
            for parameter, values in zip(network.parameters(), self.problem.channels_first(), strict=True):
                parameter[...] = torch.from_numpy(values.T if values.ndim == 2 else values)
        self.network = network.to(memory_format=self.format)
        kind = torch.optim.Adam if case.adam else torch.optim.SGD
        self.optimizer = kind(self.network.parameters(), lr=case.learn_rate)

    def run(self, count: int) -> list[float]:
        losses = []
        for images, labels in zip(self.batches[:count], self.labels[:count], strict=True):
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.network(images), labels)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses

    def answer(self, count: int) -> Array:
        self.prepare(count)
        return np.array(self.run(count))


class Prediction(Training):
    """Probabilities of one batch after the other."""

    def __init__(self, problem: Problem, images: int, threads: int = 1) -> None:
        super().__init__(problem, threads)
        super().prepare(0)
        self.network.eval()
        self.chosen = self.batches[: images // problem.case.batch]

    def prepare(self, count: int) -> None:
        pass

    def run(self, count: int) -> None:
        with torch.no_grad():
            for _ in range(count):
                for images in self.chosen:
                    self.network(images).softmax(1)

    def answer(self, count: int) -> Array:
        with torch.no_grad():
            return torch.cat([self.network(images).softmax(1) for images in self.batches[:count]]).numpy()
