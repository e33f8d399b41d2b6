"""onnxruntime: Keras's convnet as an ONNX graph, run on float images that are scaled beforehand."""

from convnet_problem import Problem
from onnx import helper

from contenders import onnx_session


def graph(problem: Problem) -> bytes:
    pooling = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["images", "first_filters", "first_biases"], ["first"]),
        helper.make_node("Relu", ["first"], ["first_rectified"]),
        helper.make_node("MaxPool", ["first_rectified"], ["first_pooled"], **pooling),
        helper.make_node("Conv", ["first_pooled", "second_filters", "second_biases"], ["second"]),
        helper.make_node("Relu", ["second"], ["second_rectified"]),
        helper.make_node("MaxPool", ["second_rectified"], ["second_pooled"], **pooling),
        helper.make_node("Flatten", ["second_pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "biases"], ["totals"]),
        helper.make_node("Softmax", ["totals"], ["out"]),
    ]
    return onnx_session.serialized("keras_convnet", nodes, problem.channels_first())


class Contender(onnx_session.Contender):
    """The same session with the other graph."""

    graph = staticmethod(graph)
