"""Every CPU target computes the same: to the bit with fused multiply-add, to rounding without.

That each computes what the reference does is said by the tests that ask for the fixture `target`. This file, run as a
script, writes what another process computes on its target.
"""

import functools
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from cases import CASES
from networks import IMAGES, three_layers
from stacks import IMAGE, STACKS, stack
from tolerances import assert_agree, assert_same_bits
from twins import DTYPES, computing_on, parameters, uniform

import cnnx
from cnnx import Conv3x3, MaxPool2, Sequential, Softmax, _core

KNOWN = ("baseline", "avx2", "avx512")
# The numbers of nodes, which come last, are cut into groups of all sizes.
NETWORK_SIZES = [
    (4, 5, 3, 1),
    (5, 6, 5, 13),
    (5, 4, 4, 4),
    (6, 9, 17, 33),
    (7, 10, 7, 8),
    (9, 6, 8, 12),
    (28, 28, 8, 10),
    (28, 28, 8, 31),
]


def layer_results(dtype):
    """Yield (name, rounding terms, array) of a forward and a backward pass of every layer over all its sizes."""
    for name, case in CASES.items():
        for size in case.sizes:
            rng = np.random.default_rng(1)
            layer, _ = case.twins(dtype, rng, size)
            of_output, of_gradient = case.terms(*size)
            output = layer.forward(np.asarray(case.draws[-1](rng, size[1], dtype), dtype))
            yield f"{name} {size}", of_output, output
            d_L_d_out = np.asarray(uniform(rng, output.shape), dtype)
            yield f"{name} {size} d_L_d_input", of_gradient, case.backprop(layer, d_L_d_out)
            for parameter, values in parameters(layer).items():
                yield f"{name} {size} {parameter}", of_gradient, values


def network_results(dtype):
    """Yield the same of training and predicting, over bytes and floats with and without constant patches."""
    for size in NETWORK_SIZES:
        for kind in ("blocks of bytes", "few pixels", "random float64"):
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
    for names in [*STACKS[::2], "same:24 relu pool:first same:9 relu same:40 pool softmax:5"]:
        rng = np.random.default_rng(5)
        nodes = int(names.rpartition(":")[2])
        network = Sequential(stack(cnnx, names, dtype))
        images, labels = rng.integers(0, 256, (12, *IMAGE), np.uint8), rng.integers(0, nodes, 12)
        history = network.fit(images, labels, epochs=1, learn_rate=0.02, batch_size=4, shuffle=False)
        yield f"{names} losses", 4000, history.losses.astype(dtype)
        yield f"{names} parameters", 4000, network.parameters
        yield f"{names} predict", 4000, network.predict(images)


def results(target, dtypes=DTYPES):
    """Return {name: (rounding terms, array)} of everything."""
    with computing_on(target):
        return {
            f"{np.dtype(dtype)} {name}": (terms, array.copy())
            for dtype in dtypes
            for compute in (layer_results, network_results, stack_results)
            for name, terms, array in compute(dtype)
        }


@pytest.fixture(scope="module")
def results_of():
    """Give a function from a target to what it computes, name by name."""
    return functools.cache(results)


@pytest.mark.parametrize("target", [target for target in cnnx.targets() if target != cnnx.active_target()])
def test_every_target_computes_the_same_to_rounding(results_of, target):
    here, there = results_of(cnnx.active_target()), results_of(target)
    assert there.keys() == here.keys()
    for name, (terms, expected) in here.items():
        assert_agree(there[name][1], expected, terms)


def test_a_target_computes_the_same_bits_in_every_process(tmp_path, results_of):
    run = python(__file__, tmp_path / "results.npz", target=cnnx.active_target())
    assert run.returncode == 0, run.stderr
    here = results_of(cnnx.active_target())
    with np.load(tmp_path / "results.npz") as there:
        assert set(there.files) == {name for name in here if name.startswith("float32")}
        for name in there.files:
            assert_same_bits(there[name], here[name][1])


@pytest.mark.skipif(not {"avx2", "avx512"} <= set(cnnx.targets()), reason="this CPU lacks AVX2 or AVX-512")
def test_targets_with_fused_multiply_add_agree_to_the_bit(results_of):
    avx2, avx512 = results_of("avx2"), results_of("avx512")
    differing = [name for name in avx2 if avx2[name][1].tobytes() != avx512[name][1].tobytes()]
    assert differing == []


def python(*arguments, target):
    """Run an interpreter whose cnnx reads `CNNX_TARGET` as it is imported."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CNNX_TARGET": target, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


ASK = "import cnnx; print(cnnx.active_target(), *cnnx.targets())"


def test_the_environment_chooses_the_target():
    assert python("-c", ASK, target="baseline").stdout.split() == ["baseline", *cnnx.targets()]


UNKNOWN = ["sse9", "AVX2", "avx2 ", " ", "baseline,avx2", "neon!", *({*KNOWN} - {*cnnx.targets()})]


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 63, 64, 65, 300, 700_000])
def test_the_range_of_an_array_has_each_of_its_numbers(dtype, rng, count, threads):
    values = rng.uniform(-0.5, 0.5, count).astype(dtype)
    for place in {0, count // 3, count // 2, count - 1}:
        for extreme in (-7, 8):
            changed = values.copy()
            changed[place] = extreme
            assert _core.range_of(changed, threads) == (changed.min(), changed.max())
        for bad in (np.nan, np.inf, -np.inf):
            changed[place] = bad
            assert np.isnan(_core.range_of(changed, threads)).all()


def test_an_empty_array_has_no_range():
    with pytest.raises(ValueError, match=r"^array: expected at least one number$"):
        _core.range_of(np.zeros(0), 1)


@pytest.mark.parametrize("target", UNKNOWN)
def test_an_unknown_target_is_refused_with_those_there_are(target):
    message = rf"^CNNX_TARGET: expected one of {', '.join(cnnx.targets())} on this CPU, got '{re.escape(target)}'$"
    before = cnnx.active_target()
    with pytest.raises(RuntimeError, match=message):
        _core._use_target(target)
    assert cnnx.active_target() == before


def test_an_unknown_target_is_an_import_error_that_names_the_variable():
    process = python("-c", ASK, target="AVX2")
    assert (process.returncode, process.stdout) == (1, "")
    last = process.stderr.splitlines()[-1]
    assert last == f"ImportError: CNNX_TARGET: expected one of {', '.join(cnnx.targets())} on this CPU, got 'AVX2'"


def test_an_empty_name_means_the_best_target():
    assert python("-c", ASK, target="").stdout.split() == [cnnx.targets()[-1], *cnnx.targets()]


@pytest.mark.smoke
def test_the_baseline_is_always_there():
    assert cnnx.targets()[0] == "baseline"
    assert set(cnnx.targets()) <= set(KNOWN)
    assert cnnx.active_target() == (os.environ.get("CNNX_TARGET") or cnnx.targets()[-1])


if __name__ == "__main__":
    np.savez(sys.argv[1], **{name: array for name, (_, array) in results(cnnx.active_target(), [np.float32]).items()})
