"""A network is saved whole or not at all, at exactly the path that was given, whatever is there."""

import errno
import json
import sys
import zipfile

import numpy as np
import pytest
from idx import listing
from networks import bits, small_problem
from networks import save_a_network as save
from tolerances import assert_same_bits

import cnnx
from cnnx import MaxPool2, Sequential


@pytest.mark.parametrize("name", ["network.npz", "network", ".hidden", "with.dots.txt", "with space", "ünïcode"])
@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_the_file_has_exactly_the_name_given(tmp_path, name, as_path):
    network, images, _ = small_problem()
    network.save(as_path(tmp_path / name))
    assert listing(tmp_path) == [name]
    assert_same_bits(cnnx.load(as_path(tmp_path / name)).predict(images), network.predict(images))


def test_a_relative_name_is_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_problem()[0].save("network")
    assert listing(tmp_path) == ["network"]


def test_the_file_is_an_npz_that_needs_no_pickle(saved):
    network, path = saved
    with np.load(path, allow_pickle=False) as archive:
        description = json.loads(str(archive["network"]))
        arrays = {name: archive[name] for name in archive.files if name != "network"}
    assert description["version"] == 1
    assert [entry["layer"] for entry in description["layers"]] == ["Conv3x3", "MaxPool2", "Softmax"]
    assert sorted(arrays) == ["0.filters", "2.biases", "2.weights"]
    assert_same_bits(arrays["2.weights"], network.layers[2].weights)


@pytest.mark.smoke
@pytest.mark.parametrize("broken", ["numpy.savez", "os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(saved, monkeypatch, broken, error):
    network, path = saved
    old = path.read_bytes()

    def fail(*_, **__):
        raise error("broken on purpose")

    network.layers[0].filters *= 2
    with monkeypatch.context() as patched:
        patched.setattr(broken, fail)
        with pytest.raises(error, match="on purpose"):
            network.save(path)
    assert path.read_bytes() == old
    assert listing(path.parent) == [path.name]
    network.save(path)
    assert bits(cnnx.load(path)) == bits(network)
    assert listing(path.parent) == [path.name]


@pytest.mark.parametrize("broken", ["numpy.savez", "os.fsync", "pathlib.Path.replace"])
def test_an_error_names_the_file_and_not_the_scratch_file(saved, monkeypatch, broken):
    network, path = saved

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", ".scratch")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(OSError, match=rf"^\[Errno {errno.ENOSPC}\] No space left on device: '{path}'$"):
        network.save(path)


def test_only_the_network_s_arrays_are_saved(saved):
    _, path = saved
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["0.filters.npy", "2.biases.npy", "2.weights.npy", "network.npy"]


def test_savez_gets_no_options_which_an_older_numpy_would_save(tmp_path, monkeypatch):
    names, savez = [], np.savez
    monkeypatch.setattr("numpy.savez", lambda file, **arrays: names.extend(arrays) or savez(file, **arrays))
    save(tmp_path / "file")
    assert "allow_pickle" not in names


def test_a_network_too_long_to_describe_is_refused_before_anything_is_written(tmp_path):
    network = Sequential([MaxPool2() for _ in range(10_000)])
    with pytest.raises(ValueError, match=r"^network: expected layers that 262144 characters describe, got 3"):
        network.save(tmp_path / "file")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("method", ["save", "load"])
def test_loading_and_saving_leave_numpy_s_global_generator_alone(saved, method):
    network, path = saved
    np.random.seed(4)
    expected = np.random.random(3)
    np.random.seed(4)
    network.save(path) if method == "save" else cnnx.load(path)
    np.testing.assert_array_equal(np.random.random(3), expected)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="CPython itself crashes where a generator gets no memory")
@pytest.mark.skipif(np.__version__ < "2", reason="numpy 1 itself crashes: it frees a MemoryError twice")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of zipfile's destructor
@pytest.mark.parametrize("call", ["save", "load"])
def test_any_allocation_may_fail(saved, call):
    testcapi = pytest.importorskip("_testcapi")
    network, path = saved
    whole, call = path.read_bytes(), {"save": lambda: network.save(path), "load": lambda: cnnx.load(path)}[call]
    outcomes = set()
    for k in range(0, 3000, 7):
        error = None
        testcapi.set_nomemory(k, k + 1)
        try:
            call()
        except Exception as raised:
            error = raised
        finally:
            testcapi.remove_mem_hooks()
        outcomes.add(type(error))
        assert listing(path.parent) == [path.name]
        assert path.read_bytes() == whole
        assert "damaged" not in str(error) or "allocate" in str(error), error
    assert {type(None), MemoryError} <= outcomes
