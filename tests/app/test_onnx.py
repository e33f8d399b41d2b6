"""`cnnx.onnx`: networks in ONNX files compute the same in onnxruntime, and come back as they were."""

import json

import numpy as np
import pytest
from networks import bits, sample

import cnnx
from cnnx import BatchNorm, Conv3x3, Dense, Dropout, GlobalAveragePool, MaxPool2, ReLU, Sequential, Softmax

pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")

import onnx
from onnx import TensorProto, helper, numpy_helper

from cnnx.onnx import export, load

CLOSE = 1e-5  # of probabilities in float32


def computed_by_onnxruntime(path, images):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (output,) = runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"images": images})
    return output


def with_random_biases(network):
    """Return the network with biases that are not zero, so that none can be forgotten."""
    rng = np.random.default_rng(4)
    for layer in network.layers:
        if layer.parameters().get("biases") is not None:
            layer.biases = rng.uniform(-0.3, 0.3, layer.biases.shape).astype(layer.dtype)
    return network


def preset(name):
    network = getattr(cnnx.models, name)(dtype=np.float32, rng=0)
    digits = sample()
    network.fit(digits.train_images[:100], digits.train_labels[:100], epochs=1, batch_size=10, learn_rate=0.01, rng=0)
    return with_random_biases(network)


def one_of_each(shape, dtype=np.float32):
    """Return a network with every layer, and every kind of convolution, for images of a shape."""
    height, width = shape[0] // 2, shape[1] // 2
    tail = [Dense(height * width * 5, 9, dtype=dtype, rng=3), ReLU(), Softmax(9, 10, dtype=dtype, rng=4)]
    layers = [
        Conv3x3(6, *shape[2:] or (1,), padding="same", use_bias=len(shape) == 2, dtype=dtype, rng=1),
        ReLU(),
        Dropout(0.3),
        Conv3x3(5, 6, padding="same", dtype=dtype, rng=2),
        MaxPool2(),
        *tail,
    ]
    network = Sequential(layers)
    network.image_shape = shape
    return with_random_biases(network)


def pooled(dtype=np.float32):
    return Sequential([Conv3x3(7, dtype=dtype, rng=1), ReLU(), GlobalAveragePool(), Softmax(7, 10, dtype=dtype, rng=2)])


@pytest.mark.parametrize("uint8", [False, True])
@pytest.mark.parametrize("name", cnnx.models.__all__)
def test_presets_compute_the_same_in_onnxruntime_on_1000_digits(tmp_path, name, uint8):
    network, images = preset(name), sample().test_images
    export(network, tmp_path / "network.onnx", uint8=uint8)
    given = images if uint8 else (images / 255 - 0.5).astype(np.float32)
    probabilities = computed_by_onnxruntime(tmp_path / "network.onnx", given)
    expected = network.predict(images)
    assert expected.std() > 0.01
    np.testing.assert_allclose(probabilities, expected, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(load(tmp_path / "network.onnx").predict(images), expected, atol=CLOSE, rtol=0)


@pytest.mark.smoke
@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("shape", [(6, 9), (7, 4, 3), (9, 8, 2)])
def test_every_layer_computes_the_same_for_every_number_of_images(tmp_path, rng, dtype, shape, count):
    network = one_of_each(shape, dtype)
    export(network, tmp_path / "network.onnx")
    images = rng.normal(size=(count, *shape)).astype(np.float32)
    output = computed_by_onnxruntime(tmp_path / "network.onnx", images)
    np.testing.assert_allclose(output, network.predict(images), atol=CLOSE, rtol=0)


def test_a_network_for_every_size_has_an_input_of_every_size(tmp_path, rng):
    network = pooled()
    export(network, tmp_path / "network.onnx")
    for shape in [(2, 8, 9), (3, 12, 5)]:
        images = rng.normal(size=shape).astype(np.float32)
        output = computed_by_onnxruntime(tmp_path / "network.onnx", images)
        np.testing.assert_allclose(output, network.predict(images), atol=CLOSE, rtol=0)
    assert load(tmp_path / "network.onnx").image_shape is None


def normalised():
    """Return a network with a BatchNorm after a convolution and after a dense layer, whose arrays are random."""
    rng = np.random.default_rng(6)
    norms = [BatchNorm(channels, 0.8, 1e-3, dtype=np.float32) for channels in (4, 5)]
    for norm in norms:
        for name in ("scale", "offset", "running_mean", "running_var"):
            setattr(norm, name, rng.uniform(0.5, 2, norm.channels).astype(np.float32))
    conv, dense = Conv3x3(4, 1, dtype=np.float32, rng=1), Dense(5 * 6 * 4, 5, dtype=np.float32, rng=2)
    network = Sequential([conv, norms[0], ReLU(), dense, norms[1], ReLU(), Softmax(5, 3, dtype=np.float32, rng=3)])
    network.image_shape = (7, 8)
    return network


def test_batch_norm_uses_its_running_statistics(tmp_path, rng):
    network, images = normalised(), rng.normal(size=(6, 7, 8)).astype(np.float32)
    export(network, tmp_path / "network.onnx")
    output = computed_by_onnxruntime(tmp_path / "network.onnx", images)
    np.testing.assert_allclose(output, network.predict(images), atol=CLOSE, rtol=0)
    loaded = load(tmp_path / "network.onnx")
    for layer, other in zip(network.layers, loaded.layers, strict=True):
        for name, values in layer.buffers().items():
            np.testing.assert_array_equal(other.buffers()[name], values)


NETWORKS = {name: lambda name=name: preset(name) for name in cnnx.models.__all__}
NETWORKS |= {
    "grey": lambda: one_of_each((6, 9)),
    "colour": lambda: one_of_each((7, 4, 3)),
    "pooled": pooled,
    "normalised": normalised,
}


@pytest.mark.smoke
@pytest.mark.parametrize("uint8", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_cnnx_writes_comes_back_bit_for_bit(tmp_path, name, uint8):
    network = NETWORKS[name]()
    export(network, tmp_path / "network.onnx", uint8=uint8)
    loaded = load(tmp_path / "network.onnx")
    assert [repr(layer) for layer in loaded.layers] == [repr(layer) for layer in network.layers]
    assert bits(loaded) == bits(network)
    assert (loaded.image_shape, loaded.pixels) == (network.image_shape, network.pixels)


ENDS = {
    "Dense": lambda: [Dense(7, 3, dtype=np.float32, rng=2)],
    "ReLU": lambda: [Dense(7, 3, dtype=np.float32, rng=2), ReLU()],
    "pooling": list,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_network_may_end_without_a_softmax(tmp_path, rng, end):
    network = Sequential([*pooled().layers[:-1], *ENDS[end]()])
    export(network, tmp_path / "network.onnx")
    images = rng.normal(size=(5, 6, 7)).astype(np.float32)
    output = computed_by_onnxruntime(tmp_path / "network.onnx", images)
    np.testing.assert_allclose(output, network.predict(images), atol=CLOSE, rtol=0)
    np.testing.assert_allclose(load(tmp_path / "network.onnx").predict(images), output, atol=CLOSE, rtol=0)


def test_a_layer_that_onnx_lacks_is_refused(tmp_path):
    class Doubling(ReLU):
        def forward(self, input):
            return 2 * super().forward(input)

    network = Sequential([Conv3x3(2), Doubling(), GlobalAveragePool(), Softmax(2, 3)])
    with pytest.raises(TypeError, match=r"layers\[1\] \(Doubling\): expected a layer that ONNX has"):
        export(network, tmp_path / "network.onnx")


def test_a_layer_at_two_positions_comes_back_as_one(tmp_path):
    twice = Conv3x3(4, 4, padding="same", dtype=np.float32, rng=2)
    first = Conv3x3(4, 1, dtype=np.float32, rng=1)
    network = Sequential([first, twice, ReLU(), twice, GlobalAveragePool(), Softmax(4, 3, dtype=np.float32)])
    export(network, tmp_path / "network.onnx", image_shape=(8, 8))
    loaded = load(tmp_path / "network.onnx")
    assert loaded.layers[1] is loaded.layers[3]
    assert loaded.parameters.size == network.parameters.size


def test_a_loaded_network_trains(tmp_path):
    digits = sample()
    export(preset("small_convnet"), tmp_path / "network.onnx")
    network = load(tmp_path / "network.onnx")
    before = network.evaluate(digits.test_images, digits.test_labels)[0]
    network.fit(digits.train_images, digits.train_labels, epochs=2, batch_size=10, optimizer=cnnx.Adam(0.003))
    assert network.evaluate(digits.test_images, digits.test_labels)[0] < before / 2


# ------------------------------------------------------------------------------ graphs that other libraries write


def write(path, nodes, weights, dims, elem_type=TensorProto.FLOAT, opset=17):
    """Write a graph from "x" to "y"; `weights` are its constants by name."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", elem_type, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "nodes"])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def row(*operators):
    """Return nodes in a row from "x" to "y", each (operator, constant inputs, attributes)."""
    names = ["x", *(f"v{i}" for i in range(len(operators) - 1)), "y"]
    return [
        helper.make_node(kind, [names[i], *inputs], [names[i + 1]], name=f"the {kind}", **attributes)
        for i, (kind, inputs, attributes) in enumerate(operators)
    ]


@pytest.fixture
def weights(rng):
    shapes = {"filters": (3, 2, 3, 3), "biases": (3,), "dense": (5, 3 * 2 * 4), "last": (5,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


CONV = ("Conv", ["filters", "biases"], {"pads": [1, 1, 1, 1]})
POOL = ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]})
FLATTEN = ("Flatten", [], {})
GEMM = ("Gemm", ["dense", "last"], {"transB": 1})
SOFTMAX = ("Softmax", [], {"axis": 1})


def run(path, images):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": images})[0]


FLATTENINGS = {
    "Flatten": ([FLATTEN], {}),
    "Reshape": ([("Reshape", ["shape"], {})], {"shape": np.array([0, -1])}),
    "Reshape to a number": ([("Reshape", ["shape"], {})], {"shape": np.array([-1, 24])}),
    "channels last": ([("Transpose", [], {"perm": [0, 2, 3, 1]}), FLATTEN], {}),
    "with others between": ([FLATTEN, ("Identity", [], {}), ("Relu", [], {}), ("Dropout", [], {})], {}),
}


@pytest.mark.parametrize("name", FLATTENINGS)
def test_channels_that_come_first_are_put_last(tmp_path, rng, weights, name):
    nodes, more = FLATTENINGS[name]
    path = write(tmp_path / "x.onnx", row(CONV, POOL, *nodes, GEMM, SOFTMAX), weights | more, ["n", 2, 4, 8])
    images = rng.normal(size=(3, 2, 4, 8)).astype(np.float32)
    network = load(path)
    assert network.image_shape == (4, 8, 2)
    given = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(network.predict(given), run(path, images), atol=CLOSE, rtol=0)


def test_an_input_with_the_channels_last_is_recognised(tmp_path, rng, weights):
    first = ("Transpose", [], {"perm": [0, 3, 1, 2]})
    path = write(tmp_path / "x.onnx", row(first, CONV, POOL, FLATTEN, GEMM, SOFTMAX), weights, ["n", 4, 8, 2])
    images = rng.normal(size=(3, 4, 8, 2)).astype(np.float32)
    network = load(path)
    assert network.image_shape == (4, 8, 2)
    np.testing.assert_allclose(network.predict(images), run(path, images), atol=CLOSE, rtol=0)


def test_features_are_images_one_pixel_high(tmp_path, rng, weights):
    matmul, add = ("MatMul", ["square"], {}), ("Add", ["last"], {})
    weights["square"] = weights["dense"].T[:7].copy()
    path = write(tmp_path / "x.onnx", row(matmul, add, SOFTMAX), weights, ["n", 7])
    features = rng.normal(size=(4, 7)).astype(np.float32)
    network = load(path)
    assert network.image_shape == (1, 7)
    np.testing.assert_allclose(network.predict(features), run(path, features), atol=CLOSE, rtol=0)


SCALINGS = {
    "divided": [("Div", ["255"]), ("Sub", ["half"])],
    "subtracted first": [("Sub", ["middle"]), ("Div", ["255"])],
    "multiplied": [("Mul", ["1/255"]), ("Add", ["-half"])],
}
NUMBERS = {"255": 255, "half": 0.5, "middle": 127.5, "1/255": 1 / 255, "-half": -0.5}


@pytest.mark.parametrize("name", SCALINGS)
def test_bytes_may_be_scaled_in_several_ways(tmp_path, rng, weights, name):
    scaling = [(kind, inputs, {}) for kind, inputs in SCALINGS[name]]
    cast = ("Cast", [], {"to": TensorProto.FLOAT})
    constants = weights | {key: np.float32(value) for key, value in NUMBERS.items()}
    constants["square"] = weights["dense"].T[:12].copy()
    nodes = row(cast, *scaling, FLATTEN, ("Gemm", ["square", "last"], {}), SOFTMAX)
    path = write(tmp_path / "x.onnx", nodes, constants, ["n", 3, 4], TensorProto.UINT8)
    images = rng.integers(0, 256, (5, 3, 4), np.uint8)
    np.testing.assert_allclose(load(path).predict(images), run(path, images), atol=CLOSE, rtol=0)


def test_a_mean_over_height_and_width_is_a_global_average_pool(tmp_path, rng, weights):
    weights["few"] = weights["dense"][:, :3].copy()
    mean, gemm = ("ReduceMean", [], {"axes": [2, 3], "keepdims": 0}), ("Gemm", ["few", "last"], {"transB": 1})
    path = write(tmp_path / "x.onnx", row(CONV, mean, gemm, SOFTMAX), weights, ["n", 2, "h", "w"])
    images = rng.normal(size=(3, 2, 5, 6)).astype(np.float32)
    given = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(load(path).predict(given), run(path, images), atol=CLOSE, rtol=0)


def test_a_softmax_is_added_where_the_graph_has_none(tmp_path, rng, weights):
    path = write(tmp_path / "x.onnx", row(CONV, POOL, FLATTEN, GEMM), weights, ["n", 2, 4, 8])
    images = rng.normal(size=(3, 2, 4, 8)).astype(np.float32)
    logits = run(path, images)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(load(path, softmax=True).predict(given), expected, atol=CLOSE, rtol=0)


def changed(node, **attributes):
    kind, inputs, known = node
    return kind, inputs, {**known, **attributes}


REFUSED = {
    "strides": ([changed(CONV, strides=[2, 2])], r"node 'the Conv' \(Conv\): expected strides \[1, 1\], got \[2, 2\]"),
    "groups": ([changed(CONV, group=2)], r"'the Conv' \(Conv\): expected group 1, got 2"),
    "dilations": ([changed(CONV, dilations=[2, 2])], r"'the Conv' .*dilations"),
    "pads": ([changed(CONV, pads=[1, 1, 0, 0])], r"'the Conv' .*pads"),
    "filters": ([("Conv", ["five"], {})], r"'the Conv' \(Conv\): expected filters of 3x3, got 5x5"),
    "half": ([("Conv", ["half"], {})], r"'the Conv' .*expected float32 or float64, got float16 in 'half'"),
    "pool": ([changed(POOL, kernel_shape=[3, 3])], r"'the MaxPool' .*kernel_shape \[2, 2\], got \[3, 3\]"),
    "no strides": ([("MaxPool", [], {"kernel_shape": [2, 2]})], r"'the MaxPool' .*expected strides"),
    "ceil": ([changed(POOL, ceil_mode=1)], r"'the MaxPool' .*ceil_mode 0, got 1"),
    "operator": ([CONV, ("Sigmoid", [], {})], r"node 'the Sigmoid' \(Sigmoid\): expected one of Add, .* got Sigmoid"),
    "alpha": ([FLATTEN, changed(GEMM, alpha=0.5)], r"'the Gemm' .*alpha 1.0, got 0.5"),
    "not flat": ([CONV, SOFTMAX], r"'the Softmax' .*expected a dense layer before it"),
    "axes": ([CONV, ("Transpose", [], {"perm": [0, 1, 3, 2]})], r"'the Transpose' .*got \[0, 1, 3, 2\]"),
    "shape": ([("Reshape", ["shape"], {})], r"'the Reshape' .*expected a shape that flattens each sample"),
    "arithmetic": ([CONV, ("Mul", ["two"], {})], r"'the Mul' .*expected biases after a MatMul"),
    "cast": ([("Cast", [], {"to": TensorProto.DOUBLE})], r"'the Cast' .*expected bytes that become floats"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cnnx_cannot_express_is_refused_with_the_node_s_name(tmp_path, weights, name):
    operators, message = REFUSED[name]
    weights |= {"five": np.zeros((3, 2, 5, 5), np.float32), "half": np.zeros((3, 2, 3, 3), np.float16)}
    weights |= {"two": np.float32(2), "shape": np.array([-1, 3, 4])}
    path = write(tmp_path / "x.onnx", row(*operators), weights, ["n", 2, 4, 8])
    with pytest.raises(ValueError, match=f"x.onnx: .*{message}"):
        load(path)


def test_graphs_with_branches_are_refused(tmp_path, weights):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Add", ["x", "a"], ["y"], name="skip"),
    ]
    path = write(tmp_path / "x.onnx", nodes, weights, ["n", 2, 4, 8])
    with pytest.raises(ValueError, match=r"node 'skip' \(Add\): expected one input, 'a', and .* got \['x', 'a'\]"):
        load(path)


def test_bytes_on_another_scale_are_refused(tmp_path, weights):
    nodes = row(("Cast", [], {"to": TensorProto.FLOAT}), ("Div", ["255"], {}), CONV)
    path = write(tmp_path / "x.onnx", nodes, weights | {"255": np.float32(255)}, ["n", 2, 4, 8], TensorProto.UINT8)
    with pytest.raises(ValueError, match=r"'the Conv' .*expected bytes as x / 255 - 0.5 .* got x \* 0.00392157 \+ 0"):
        load(path)


def test_files_that_are_no_models_are_refused(tmp_path):
    (tmp_path / "x.onnx").write_text(json.dumps({"no": "model"}))
    with pytest.raises(ValueError, match=r"x\.onnx: expected an ONNX model, got another or a damaged file"):
        load(tmp_path / "x.onnx")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.onnx")


@pytest.mark.parametrize("text", ["[]", "{", '{"pixels": 3}', '{"ties": 3}'])
def test_damaged_metadata_is_refused(tmp_path, text):
    export(pooled(), tmp_path / "x.onnx")
    model = onnx.load(tmp_path / "x.onnx")
    helper.set_model_props(model, {"cnnx": text})
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ValueError, match=r"x\.onnx: metadata 'cnnx': expected what cnnx writes"):
        load(tmp_path / "x.onnx")


def test_a_network_of_unknown_size_is_refused(tmp_path):
    network = Sequential([Conv3x3(2), Softmax(8, 3)])
    with pytest.raises(ValueError, match="image_shape: expected a height and a width, since the network knows none"):
        export(network, tmp_path / "x.onnx")
    export(network, tmp_path / "x.onnx", image_shape=(4, 4))
    with pytest.raises(ValueError, match=r"expected shape|layers"):
        export(network, tmp_path / "x.onnx", image_shape=(5, 5))
    with pytest.raises(TypeError, match="network: expected a Sequential, got list"):
        export(network.layers, tmp_path / "x.onnx")
