"""onnxruntime: the same network as an ONNX graph, run on float images that are scaled beforehand."""

import numpy as np
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper
from problem import NODES, SIDE, FloatArray, Problem


def graph(problem: Problem) -> bytes:
    filters, weights = problem.filters[:, np.newaxis], problem.weights_by_channel()
    constants = {"filters": filters, "weights": weights, "biases": problem.biases}
    nodes = [
        helper.make_node("Conv", ["images", "filters"], ["convolved"]),
        helper.make_node("MaxPool", ["convolved"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "biases"], ["totals"]),
        helper.make_node("Softmax", ["totals"], ["out"]),
    ]
    return serialized("article_cnn", nodes, constants)


def serialized(name: str, nodes: list[NodeProto], constants: dict[str, FloatArray]) -> bytes:
    """Return a model from `images` to `out`, in float32."""
    whole = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", NODES])],
        [numpy_helper.from_array(array.astype("float32"), name) for name, array in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(whole, opset_imports=[opset], ir_version=9).SerializeToString()


class Contender:
    """One run of the session a call; `chunk` images a run, for whatever number serves it best."""

    version = f"onnxruntime {onnxruntime.__version__}"
    graph = staticmethod(graph)

    def __init__(self, problem: Problem, batch: int, chunk: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = onnxruntime.InferenceSession(self.graph(problem), options, providers=["CPUExecutionProvider"])
        self.images = problem.scaled("float32")[:, np.newaxis]
        self.feeds = [{"images": self.images[i : min(i + chunk, batch)]} for i in range(0, batch, chunk)]

    def prepare(self, count: int) -> None:
        pass

    def run(self, count: int) -> None:
        for _ in range(count):
            for feed in self.feeds:
                self.session.run(None, feed)

    def answer(self, count: int) -> FloatArray:
        return np.asarray(self.session.run(None, {"images": self.images[:count]})[0])
