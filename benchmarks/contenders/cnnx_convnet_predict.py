"""`cnnx.Sequential.predict` on Keras's convnet."""

from convnet_problem import Problem

import cnnx
from contenders import cnnx_convnet, cnnx_predict


class Contender(cnnx_predict.Contender):
    """Many uint8 images a call. Dropout is there and does nothing, as in every prediction."""

    def network(self, problem: Problem, dtype: str) -> cnnx.Sequential:
        return cnnx_convnet.network(problem, dtype, with_dropout=True)
