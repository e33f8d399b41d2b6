"""onnxruntime: the same network as an ONNX graph, run on float images that are scaled beforehand."""

import numpy as np
import onnxruntime
from networks import CLASSES, Array, Problem, walk
from onnx import TensorProto, helper, numpy_helper


def graph(problem: Problem) -> bytes:
    """Return a model from `images` to probabilities, in float32."""
    case, side = problem.case, problem.case.side
    constants = [numpy_helper.from_array(array, f"p{at}") for at, array in enumerate(problem.channels_first())]
    names, nodes, value = iter(constants), [], "images"

    def add(operation: str, parameters: int = 0, **attributes: list[int]) -> None:
        nonlocal value
        inputs = [value, *(next(names).name for _ in range(parameters))]
        value = f"v{len(nodes)}"
        nodes.append(helper.make_node(operation, inputs, [value], **attributes))

    for kind, *_ in walk(case):
        if kind == "conv":
            add("Conv", 1 + case.bias)
        elif kind == "pool":
            add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        elif kind == "relu":
            add("Relu")
        elif kind == "dense":
            add("Flatten")
            add("Gemm", 2)
    add("Softmax")
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 1, side, side])
    out = helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", CLASSES])
    whole = helper.make_graph(nodes, "network", [images], [out], constants)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


class Prediction:
    """`images` a repetition, `chunk` of them a run of the session, for whatever number serves it best."""

    version = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, problem: Problem, images: int, chunk: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(graph(problem), options, providers=["CPUExecutionProvider"])
        self.batch = problem.case.batch
        self.images = problem.scaled()[:, np.newaxis]
        self.feeds = [{"images": self.images[i : min(i + chunk, images)]} for i in range(0, images, chunk)]

    def prepare(self, count: int) -> None:
        pass

    def run(self, count: int) -> None:
        for _ in range(count):
            for feed in self.feeds:
                self.session.run(None, feed)

    def answer(self, count: int) -> Array:
        return np.asarray(self.session.run(None, {"images": self.images[: count * self.batch]})[0])
