"""Every CPU target computes the same: to the bit with fused multiply-add, to rounding without.

The target is chosen once, when cnnx is imported, so each runs in a process of its own: this file, run as a script,
writes what every kernel computes, over awkward sizes, to the file it is given.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import IMAGES, three_layers
from stacks import IMAGE, STACKS, stack
from tolerances import assert_close, assert_same_bits
from twins import DTYPES, LANE_EDGES, conv_twins, parameters, pool_twins, small_integers, softmax_twins, uniform

import cnnx
from cnnx import Conv3x3, MaxPool2, Sequential, Softmax

KNOWN = ("baseline", "avx2", "avx512")
KERNEL_TESTS = [
    "parity",
    "gradients",
    "properties",
    "extreme_values",
    "network",
    "predict",
    "stacked_layers",
    "batches",
    "fusion",
]
NETWORK_SIZES = [
    (4, 5, 3, 1),
    (5, 6, 5, 13),
    (9, 6, 8, 10),
    (6, 9, 17, 25),
    (7, 8, 9, 2),
    (7, 10, 7, 11),
    (10, 13, 12, 3),
    (28, 28, 8, 11),
]


def layer_results(dtype):
    """Yield (name, rounding terms, array) of a forward and a backward pass of every layer over awkward sizes."""
    rng = np.random.default_rng(1)
    sizes = [(5, 6, edge) for edge in LANE_EDGES] + [(7, edge + 2, 3) for edge in LANE_EDGES]
    for size in sizes:
        height, width, channels = size
        conv, _ = conv_twins(channels, dtype, rng)
        terms = 9 * channels + (height - 2) * (width - 2)
        yield f"conv {size}", terms, conv.forward(uniform(rng, (height, width), dtype))
        d_L_d_out = uniform(rng, (height - 2, width - 2, channels), dtype)
        yield f"conv {size} d_L_d_input", terms, conv.backprop(d_L_d_out, 0.1)
        yield f"conv {size} filters", terms, conv.filters
        for ties in ("all", "first"):
            pool, _ = pool_twins(ties)
            yield f"pool {size} {ties}", 1, pool.forward(small_integers(rng, size, dtype))
            d_L_d_out = uniform(rng, (height // 2, width // 2, channels), dtype)
            yield f"pool {size} {ties} d_L_d_input", 1, pool.backprop(d_L_d_out)
    for input_len, nodes in [(edge, 10) for edge in LANE_EDGES] + [(23, edge) for edge in LANE_EDGES]:
        soft, _ = softmax_twins(input_len, nodes, dtype, rng)
        size, terms = (input_len, nodes), 2 * input_len + 4 * nodes
        yield f"softmax {size}", terms, soft.forward(uniform(rng, input_len, dtype))
        yield f"softmax {size} d_L_d_input", terms, soft.backprop(uniform(rng, nodes, dtype), 0.1)
        yield f"softmax {size} weights", terms, soft.weights
        yield f"softmax {size} biases", terms, soft.biases


def network_results(dtype):
    """Yield the same of training and predicting, over bytes and floats with and without constant patches."""
    for size in NETWORK_SIZES:
        for kind in IMAGES:
            for ties in ("all", "first"):
                name = f"{size} {kind} {ties}"
                yield from trained(name, Sequential(three_layers(cnnx, size, dtype, ties)), size, kind)
    unusual = {"dtype": dtype, "rng": np.random.default_rng(2)}
    yield from trained("Softmax alone", Sequential([Softmax(9 * 7, 5, **unusual)]), (9, 7, 1, 5), "random bytes")
    pooled_twice = [Conv3x3(5, **unusual), MaxPool2(), MaxPool2(ties="first"), Softmax(2 * 1 * 5, 3, **unusual)]
    yield from trained("pooled twice", Sequential(pooled_twice), (11, 7, 5, 3), "blocks of bytes")


def trained(name, network, size, kind):
    height, width, filters, nodes = size
    rng = np.random.default_rng(4)
    images, labels = IMAGES[kind](rng, (12, height, width)), rng.integers(0, nodes, 12)
    terms = height * width * (filters + 1) + 4 * nodes
    for some in (slice(1), slice(12)):
        network.gradients(images[some], labels[some])
        yield f"{name} gradient {some.stop}", terms, network.gradient.copy()
    history = network.fit(images, labels, epochs=1, learn_rate=0.05, shuffle=False)
    dtype = network.layers[0].dtype
    yield f"{name} losses", terms, history.losses.astype(dtype)
    for position, layer in enumerate(network.layers):
        for parameter, values in parameters(layer).items():
            yield f"{name} {position} {parameter}", terms, values
    for count in (2, 12):  # few images and many take different kernels
        yield f"{name} predict {count}", terms, network.predict(images[:count])


def stack_results(dtype):
    """Yield the same of networks of several convolutions, trained in batches, with windows wider than a register."""
    for names in [*STACKS, "same:24 relu pool:first same:9 relu same:40 pool softmax:5"]:
        rng = np.random.default_rng(5)
        nodes = int(names.rpartition(":")[2])
        network = Sequential(stack(cnnx, names, dtype))
        images, labels = rng.integers(0, 256, (12, *IMAGE), np.uint8), rng.integers(0, nodes, 12)
        history = network.fit(images, labels, epochs=1, learn_rate=0.02, batch_size=4, shuffle=False)
        yield f"{names} losses", 4000, history.losses.astype(dtype)
        yield f"{names} parameters", 4000, network.parameters
        yield f"{names} predict", 4000, network.predict(images)


def results():
    """Return {name: (terms, array)} of everything, on this process's target."""
    return {
        f"{np.dtype(dtype)} {name}": (terms, array.copy())
        for dtype in DTYPES
        for compute in (layer_results, network_results, stack_results)
        for name, terms, array in compute(dtype)
    }


def python(*arguments, target):
    environment = {**os.environ, "CNNX_TARGET": target}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=Path(__file__).parents[1],
    )


@pytest.fixture(scope="module")
def results_of(tmp_path_factory):
    """Give a function from a target to what it computes, name by name."""
    known = {}

    def compute(target):
        if target not in known:
            file = tmp_path_factory.mktemp("target") / f"{target}.npz"
            process = python(__file__, file, target=target)
            assert process.returncode == 0, process.stderr
            with np.load(file) as arrays:
                known[target] = dict(arrays)
        return known[target]

    return compute


@pytest.mark.parametrize("target", cnnx.targets())
def test_every_target_computes_the_same_to_rounding(results_of, target):
    here, there = results(), results_of(target)
    assert there.keys() == here.keys()
    for name, (terms, expected) in here.items():
        assert_close(there[name], expected, terms)


def test_a_target_computes_the_same_bits_in_every_process(results_of):
    there = results_of(cnnx.active_target())
    for name, (_, expected) in results().items():
        assert_same_bits(there[name], expected)


@pytest.mark.skipif(not {"avx2", "avx512"} <= set(cnnx.targets()), reason="this CPU lacks AVX2 or AVX-512")
def test_targets_with_fused_multiply_add_agree_to_the_bit(results_of):
    avx2, avx512 = results_of("avx2"), results_of("avx512")
    differing = [name for name in avx2 if avx2[name].tobytes() != avx512[name].tobytes()]
    assert differing == []


@pytest.mark.parametrize("target", cnnx.targets())
def test_the_tests_of_the_kernels_pass_on_every_target(target):
    if target == cnnx.active_target():
        return  # they are running here
    files = [Path(__file__).with_name(f"test_{name}.py") for name in KERNEL_TESTS]
    process = python("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, target=target)
    assert process.returncode == 0, process.stdout[-5000:]


ASK = "import cnnx; print(cnnx.active_target(), *cnnx.targets())"


@pytest.mark.parametrize("target", KNOWN)
def test_a_target_is_active_or_refused_with_those_there_are(target):
    process = python("-c", ASK, target=target)
    if target in cnnx.targets():
        assert process.stdout.split() == [target, *cnnx.targets()]
    else:
        assert f"ImportError: CNNX_TARGET: expected one of {', '.join(cnnx.targets())}" in process.stderr


@pytest.mark.parametrize("target", ["sse9", "AVX2", "avx2 ", " ", "baseline,avx2", "neon!"])
def test_an_unknown_target_is_an_import_error_that_names_the_variable(target):
    process = python("-c", ASK, target=target)
    assert (process.returncode, process.stdout) == (1, "")
    last = process.stderr.splitlines()[-1]
    assert last == f"ImportError: CNNX_TARGET: expected one of {', '.join(cnnx.targets())} on this CPU, got '{target}'"


def test_an_empty_name_means_the_best_target():
    assert python("-c", ASK, target="").stdout.split() == [cnnx.targets()[-1], *cnnx.targets()]


def test_the_baseline_is_always_there():
    assert cnnx.targets()[0] == "baseline"
    assert set(cnnx.targets()) <= set(KNOWN)
    assert cnnx.active_target() == (os.environ.get("CNNX_TARGET") or cnnx.targets()[-1])


if __name__ == "__main__":
    np.savez(sys.argv[1], **{name: array for name, (_, array) in results().items()})
