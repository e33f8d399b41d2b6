"""A loaded network is the one that was saved, and goes on as that would."""

import errno
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from networks import bits, small_problem
from saved_files import rewrite
from tolerances import assert_same_bits
from twins import parameters

import cnnx
from cnnx import Conv3x3, MaxPool2, Sequential, Softmax
from cnnx.models import article_cnn

ROWS = {
    "the article's": lambda **options: [Conv3x3(5, **options), MaxPool2(), Softmax(30, 4, **options)],
    "first ties, then all": lambda **options: [
        Conv3x3(5, **options),
        MaxPool2(ties="first"),
        MaxPool2(ties="all"),
        Softmax(5, 4, **options),
    ],
    "Softmax alone": lambda **options: [Softmax(56, 4, **options)],
    "no layers": lambda **_: [],
}


@pytest.mark.parametrize("row", ROWS)
def test_a_loaded_network_has_the_same_layers_and_bits(tmp_path, dtype, row):
    network = Sequential(ROWS[row](dtype=dtype))
    network.save(tmp_path / "file")
    loaded = cnnx.load(tmp_path / "file")
    assert type(loaded) is Sequential
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in network.layers]
    for layer, original in zip(loaded.layers, network.layers, strict=True):
        assert layer.settings() == original.settings()
        for name, values in parameters(original).items():
            assert_same_bits(getattr(layer, name), values)


@pytest.mark.smoke
def test_a_loaded_network_goes_on_as_the_saved_one(saved):
    network, path = saved
    loaded = cnnx.load(path)
    _, images, labels = small_problem()
    assert_same_bits(loaded.predict(images), network.predict(images))
    for either in (network, loaded):
        either.fit(images, labels, epochs=1, learn_rate=0.1, shuffle=False)
    assert bits(loaded) == bits(network)


def test_a_loaded_network_knows_the_images_it_was_trained_on(saved):
    network, path = saved
    loaded = cnnx.load(path)
    assert loaded.image_shape == network.image_shape == (7, 8)
    assert network.pixels is not None
    assert loaded.pixels == network.pixels


def test_a_loaded_network_warns_of_images_on_another_scale(tmp_path):
    images, labels = cnnx.data.load("sample")[:2]
    network = article_cnn()
    network.fit(images[:50], labels[:50], epochs=1, learn_rate=0.005)
    network.save(tmp_path / "file")
    with pytest.warns(UserWarning, match="expected pixels as in the training"):
        cnnx.load(tmp_path / "file").predict(images[:50].astype(float))


@pytest.mark.parametrize("are_left_out", [True, False])
def test_a_file_that_does_not_know_its_images_is_loaded(saved, are_left_out):
    network, path = saved
    images = {} if are_left_out else {"image_shape": None, "pixels": None}  # cnnx 0.1 left them out
    rewrite(path, lambda d: {"format": d["format"], "version": d["version"], "layers": d["layers"], **images})
    loaded = cnnx.load(path)
    assert (loaded.image_shape, loaded.pixels) == (None, None)
    assert bits(loaded) == bits(network)


def test_extreme_values_survive(tmp_path, dtype):
    network, _, _ = small_problem(dtype)
    network.layers[0].filters.flat[:6] = [np.nan, np.inf, -np.inf, -0.0, np.finfo(dtype).smallest_subnormal, 1e-30]
    network.save(tmp_path / "file")
    assert bits(cnnx.load(tmp_path / "file")) == bits(network)


def test_more_arrays_than_the_network_has_are_ignored(saved):
    network, path = saved
    rewrite(path, allow_pickle=np.array(False))  # numpy 1.26 has saved its own option
    assert bits(cnnx.load(path)) == bits(network)


def test_a_file_that_was_compressed_again_is_read(saved):
    network, path = saved
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
    assert bits(cnnx.load(path)) == bits(network)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        cnnx.load(tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        cnnx.load(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    code = "import sys, cnnx; cnnx.load(sys.argv[1])"
    command = [sys.executable, "-c", code, tmp_path / "pipe"]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert process.stderr.endswith(f"ValueError: {tmp_path}/pipe: expected a regular file, got a pipe\n")


def test_a_device_is_refused():
    with pytest.raises(ValueError, match=r"^/dev/null: expected a regular file, got a device$"):
        cnnx.load("/dev/null")


TOO_LITTLE_MEMORY = r"""
import re, resource, sys, cnnx
used = int(re.search(r"VmSize:\s+(\d+)", open("/proc/self/status").read())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (40 << 20), -1))
cnnx.load(sys.argv[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no limit to the address space")
def test_a_network_beyond_memory_is_not_called_damaged(tmp_path):
    path = tmp_path / "network"
    Sequential([Softmax(800_000, 10, rng=np.random.default_rng(0))]).save(path)
    command = [sys.executable, "-c", TOO_LITTLE_MEMORY, path]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    name, _, _ = process.stderr.splitlines()[-1].partition(":")
    assert name.endswith("MemoryError")


def test_loading_takes_little_more_than_the_network(tmp_path):
    network = Sequential([Softmax(100_000, 10)])
    network.save(tmp_path / "file")
    tracemalloc.start()
    try:
        loaded = cnnx.load(tmp_path / "file")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bits(loaded) == bits(network)
    assert peak < 2 * network.layers[0].weights.nbytes + (4 << 20)  # the layer's arrays move into the network's


def test_a_disk_that_cannot_be_read_is_an_os_error_and_not_a_damaged_file(saved, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    _, path = saved
    monkeypatch.setattr("zipfile.ZipExtFile.read", fail)
    with pytest.raises(OSError, match=rf"Input/output error: '{path}'"):
        cnnx.load(path)
