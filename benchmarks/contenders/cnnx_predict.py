"""`cnnx.Sequential.predict`: uint8 images in, probabilities out."""

from problem import FloatArray, Problem

import cnnx
from contenders import cnnx_engine


class Contender:
    """`batch` images a call; one image is the latency that a Python caller sees."""

    version = f"cnnx {cnnx.__version__}"

    def __init__(self, problem: Problem, dtype: str, batch: int, threads: int) -> None:
        self.predict, self.threads = self.network(problem, dtype).predict, threads
        self.images = problem.images
        self.batch = problem.images[:batch] if batch > 1 else problem.images[0]

    def network(self, problem: Problem, dtype: str) -> cnnx.Sequential:
        engine = cnnx_engine.Contender(problem, dtype, ties="all")
        engine.prepare(0)
        return engine.network

    def prepare(self, count: int) -> None:
        pass

    def run(self, count: int) -> None:
        for _ in range(count):
            self.predict(self.batch, threads=self.threads)

    def answer(self, count: int) -> FloatArray:
        return self.predict(self.images[:count], threads=self.threads)
