"""A saved network comes back as it was, and a file that holds none is refused with one sentence that names it."""

import contextlib
import errno
import json
import os
import pickle
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from networks import bits, small_problem
from tolerances import assert_same_bits
from twins import parameters

import cnnx
from cnnx import Conv3x3, MaxPool2, Sequential, Softmax
from cnnx.models import article_cnn
from cnnx.storage import check_writable

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


@pytest.fixture
def saved(tmp_path):
    """Save a trained network and return it with its file."""
    network, images, labels = small_problem()
    network.fit(images, labels, epochs=1, learn_rate=0.1)
    network.save(tmp_path / "saved.cnnx")
    return network, tmp_path / "saved.cnnx"


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


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


def save(path):
    small_problem()[0].save(path)


@pytest.mark.parametrize("write", [save, check_writable], ids=["save", "check_writable"])
class TestWhatCannotBeWritten:
    """The error is `save`'s and that of the check before a long training; it names the path that was given."""

    def refuse(self, write, path, error, reason):
        before = listing(path.parent) if path.parent.is_dir() else None
        with pytest.raises(OSError, match=reason) as caught:
            write(path)
        assert type(caught.value) is error
        assert str(path) in str(caught.value)
        assert ".cnnx-" not in str(caught.value)
        assert before is None or listing(path.parent) == before

    def test_a_folder_that_is_not_there(self, tmp_path, write):
        self.refuse(write, tmp_path / "absent" / "file", FileNotFoundError, "No such file")

    def test_a_folder_that_is_a_file(self, saved, write):
        self.refuse(write, saved[1] / "file", NotADirectoryError, "Not a directory")

    def test_a_folder(self, tmp_path, write):
        (tmp_path / "folder").mkdir()
        self.refuse(write, tmp_path / "folder", IsADirectoryError, "Is a directory")

    def test_too_long_a_name(self, tmp_path, write):
        self.refuse(write, tmp_path / ("n" * 256), OSError, "name too long")

    def test_links_in_a_circle(self, tmp_path, write):
        (tmp_path / "link").symlink_to("link")
        self.refuse(write, tmp_path / "link", OSError, "symbolic links")

    def test_a_socket(self, tmp_path, write, monkeypatch):
        monkeypatch.chdir(tmp_path)  # its name may have 108 bytes
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
        self.refuse(write, tmp_path / "socket", OSError, "expected a file, got a socket")
        assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)

    def test_a_write_protected_file(self, write):
        with a_user_s_folder() as folder:
            path = folder / "file"
            path.write_bytes(b"old")
            path.chmod(0o444)
            self.refuse(write, path, PermissionError, "Permission denied")
            assert (path.read_bytes(), mode_of(path)) == (b"old", 0o444)

    def test_a_write_protected_folder(self, write):
        with a_user_s_folder() as folder:
            (folder / "folder").mkdir(mode=0o555)
            self.refuse(write, folder / "folder" / "file", PermissionError, "Permission denied")


@contextlib.contextmanager
def a_user_s_folder():
    """Give a folder of somebody whom a mode can stop, and be that user: 65534 in place of root."""
    with tempfile.TemporaryDirectory() as folder:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if is_root:
                os.seteuid(0)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_check_before_training_changes_nothing_and_leaves_nothing(saved, is_there):
    _, path = saved
    if not is_there:
        path.unlink()
    before = [(path.name, path.stat()) for path in path.parent.iterdir()]
    check_writable(path)
    assert [(path.name, path.stat()) for path in path.parent.iterdir()] == before


@pytest.mark.parametrize("target", ["file", "absent"])
@pytest.mark.parametrize("write", [save, check_writable], ids=["save", "check_writable"])
def test_a_link_is_followed(tmp_path, write, target):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(Path("there", target))
    (tmp_path / "link to link").symlink_to(tmp_path / "link")
    write(tmp_path / "link to link")
    assert (tmp_path / "link to link").readlink() == tmp_path / "link"
    assert (tmp_path / "link").readlink() == Path("there", target)
    assert listing(tmp_path) == ["link", "link to link", "there"]
    if write is save:
        assert listing(tmp_path / "there") == sorted({"file", target})
        assert bits(cnnx.load(tmp_path / "there" / target)) == bits(small_problem()[0])
    else:
        assert listing(tmp_path / "there") == ["file"]
        assert (tmp_path / "there" / "file").read_bytes() == b"old"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode_and_owner(saved, mode):
    network, path = saved
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    elif mode == 0o444:
        pytest.skip("only root may write it")
    path.chmod(mode)
    owner = path.stat().st_uid
    network.layers[0].filters *= 2
    network.save(path)
    assert (mode_of(path), path.stat().st_uid) == (mode, owner)
    assert bits(cnnx.load(path)) == bits(network)


def test_what_replaces_a_private_file_is_private_while_it_is_written(saved, monkeypatch):
    network, path = saved
    path.chmod(0o600)
    modes, savez = [], np.savez

    def watch(file, **arrays):
        modes.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        savez(file, **arrays)

    monkeypatch.setattr("numpy.savez", watch)
    network.save(path)
    assert modes == [0o600]


def test_a_new_file_has_the_mode_of_any_other_and_the_umask_is_not_touched(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.delattr(os, "umask")  # even to read it is to change it, for all threads
            save(tmp_path / "file")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "file") == 0o640


@pytest.fixture
def device(tmp_path):
    """Give a function from "null" and "full" to such a device; root, who could do harm, gets one of his own."""

    def named(name):
        path = Path("/dev", name)
        if not path.is_char_device():
            pytest.skip(f"no {path}")
        if os.geteuid() != 0:
            return path
        (tmp_path / "dev").mkdir()
        own = tmp_path / "dev" / name
        try:
            os.mknod(own, 0o666 | stat.S_IFCHR, path.stat().st_rdev)
            own.open("wb").close()
        except PermissionError:
            pytest.skip("no device may be made")
        return own

    return named


@pytest.mark.parametrize("write", [save, check_writable], ids=["save", "check_writable"])
def test_dev_null_takes_a_network_and_stays_a_device(tmp_path, device, write):
    null = device("null")
    (tmp_path / "link").symlink_to(null)
    write(tmp_path / "link")
    write(null)
    assert null.is_char_device()
    assert (tmp_path / "link").is_symlink()


def test_a_full_disk_is_named(tmp_path, device):
    (tmp_path / "link").symlink_to(device("full"))
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/link'"):
        save(tmp_path / "link")


def test_a_pipe_s_reader_gets_the_network(tmp_path):
    path, received = tmp_path / "pipe", []
    os.mkfifo(path)
    check_writable(path)  # does not wait
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()), daemon=True)
    reader.start()
    save(path)
    reader.join(10)
    assert path.is_fifo()
    (tmp_path / "file").write_bytes(received[0])
    assert bits(cnnx.load(tmp_path / "file")) == bits(small_problem()[0])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_an_open_file_without_a_name_is_written_into(tmp_path):
    with (tmp_path / "file").open("w+b") as file:
        (tmp_path / "file").unlink()
        save(f"/proc/self/fd/{file.fileno()}")
        (tmp_path / "copy").write_bytes(file.read())
    assert listing(tmp_path) == ["copy"]
    assert bits(cnnx.load(tmp_path / "copy")) == bits(small_problem()[0])


def test_the_longest_name_is_a_name(tmp_path):
    save(tmp_path / ("n" * 255))
    assert listing(tmp_path) == ["n" * 255]


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


@pytest.mark.parametrize("method", ["save", "load"])
def test_loading_and_saving_leave_numpy_s_global_generator_alone(saved, method):
    network, path = saved
    np.random.seed(4)
    expected = np.random.random(3)
    np.random.seed(4)
    network.save(path) if method == "save" else cnnx.load(path)
    np.testing.assert_array_equal(np.random.random(3), expected)


def refusal(path, reason="expected a network saved by cnnx"):
    """Expect the one error of a file that is no network."""
    return pytest.raises(ValueError, match=rf"^{path}: {reason}[^\n]*$")


@pytest.mark.parametrize("kept", [0, 1, 3, 4, 30, 100, 0.25, 0.5, 0.75, -300, -100, -23, -22, -2, -1])
def test_a_truncated_file_is_refused(saved, kept):
    _, path = saved
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with refusal(path):
        cnnx.load(path)


def test_a_changed_byte_is_refused_or_harmless(saved):
    network, path = saved
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            loaded = cnnx.load(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017  # most changes are refused, not all
        else:
            assert bits(loaded) == bits(network)


class Exploit:
    """Would write a file if anything unpickled it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def zip_of(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("network.npy", content)


def foreign_files(proof):
    exploit = np.array([Exploit(proof)], object)
    return {
        "npz": lambda path: np.savez(path.open("wb"), weights=np.ones(3)),
        "npz with a text": lambda path: np.savez(path.open("wb"), network=np.array("no json")),
        "npz with other JSON": lambda path: np.savez(path.open("wb"), network=np.array('{"layers": []}')),
        "npz with endless JSON": lambda path: np.savez(path.open("wb"), network=np.array("[" * 100_000)),
        "npz with a number": lambda path: np.savez(path.open("wb"), network=np.array(3)),
        "npz with a pickle": lambda path: np.savez(path.open("wb"), network=exploit),
        "npy": lambda path: np.save(path.open("wb"), np.ones(3)),
        "npy with a pickle": lambda path: np.save(path.open("wb"), exploit),
        "pickle": lambda path: path.write_bytes(pickle.dumps(exploit)),
        "zip": lambda path: zip_of(path, b"no array"),
        "text": lambda path: path.write_text("A poem.\n"),
        "zeros": lambda path: path.write_bytes(bytes(1000)),
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", foreign_files("unused"))
def test_a_foreign_file_is_refused_and_nothing_in_it_runs(tmp_path, kind):
    path, proof = tmp_path / "file", tmp_path / "proof"
    foreign_files(str(proof))[kind](path)
    with refusal(path):
        cnnx.load(path)
    assert not proof.exists()


def rewrite(path, change_description=lambda _: None, **arrays):
    """Write a saved network anew with another description, and arrays replaced (None: left out)."""
    with np.load(path) as archive:
        kept = {name: archive[name] for name in archive.files}
    description = json.loads(str(kept["network"]))
    description = change_description(description) or description
    kept = {**kept, "network": np.array(json.dumps(description)), **arrays}
    with path.open("wb") as file:
        np.savez(file, **{name: array for name, array in kept.items() if array is not None})


def test_a_newer_file_says_so(saved):
    _, path = saved
    rewrite(path, lambda description: description.update(version=2, novelty=True))
    with refusal(path, "expected format version 1 or older, got 2"):
        cnnx.load(path)


BAD_DESCRIPTIONS = {
    "another format": lambda description: description.update(format="onnx"),
    "no version": lambda description: description.pop("version") and None,
    "version a text": lambda description: description.update(version="1"),
    "version zero": lambda description: description.update(version=0),
    "no layers": lambda description: description.pop("layers") and None,
    "layers a number": lambda description: description.update(layers=3),
    "layers a text": lambda description: description.update(layers="Softmax"),
    "a layer a number": lambda description: description.update(layers=[1]),
    "a layer a list": lambda description: description.update(layers=[["Softmax", 3]]),
    "a layer without a name": lambda description: description["layers"][0].pop("layer") and None,
    "an unknown layer": lambda description: description["layers"][0].update(layer="Conv5x5"),
    "a list for a name": lambda description: description["layers"][0].update(layer=["Conv3x3"]),
    "an unknown argument": lambda description: description["layers"][0].update(stride=2),
    "a missing argument": lambda description: description["layers"][0].pop("num_filters") and None,
    "a negative size": lambda description: description["layers"][0].update(num_filters=-1),
    "a size a text": lambda description: description["layers"][0].update(num_filters="5"),
    "another size": lambda description: description["layers"][0].update(num_filters=6),
    "a size beyond memory": lambda description: description["layers"][0].update(num_filters=10**15),
    "a size beyond numpy": lambda description: description["layers"][0].update(num_filters=10**30),
    "another dtype": lambda description: description["layers"][0].update(dtype="float32"),
    "an unknown dtype": lambda description: description["layers"][0].update(dtype="float8"),
    "unknown ties": lambda description: description["layers"][1].update(ties="last"),
    "a shape of one number": lambda description: description.update(image_shape=[28]),
    "a shape a text": lambda description: description.update(image_shape="28x28"),
    "pixels a list": lambda description: description.update(pixels=[1, 2]),
    "pixels without a range": lambda description: description.update(pixels={"dtype": "uint8"}),
    "pixels of an unknown dtype": lambda description: description["pixels"].update(dtype="int"),
    "a pixel a text": lambda description: description["pixels"].update(least="dark"),
    "a list of descriptions": lambda description: [description],
}


@pytest.mark.parametrize("kind", BAD_DESCRIPTIONS)
def test_a_description_that_cannot_be_is_refused(saved, kind):
    _, path = saved
    rewrite(path, BAD_DESCRIPTIONS[kind])
    with refusal(path):
        cnnx.load(path)


BAD_ARRAYS = {
    "missing": None,
    "of another shape": np.zeros((6, 3, 3)),
    "of another rank": np.zeros(45),
    "of another precision": np.zeros((5, 3, 3), np.float32),
    "of integers": np.zeros((5, 3, 3), int),
    "byte-swapped": np.zeros((5, 3, 3), np.dtype(float).newbyteorder()),
    "in Fortran order": np.zeros((5, 3, 3), order="F"),
    "empty": np.zeros(0),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_an_array_that_does_not_fit_its_layer_is_refused(saved, kind):
    _, path = saved
    rewrite(path, **{"0.filters": BAD_ARRAYS[kind]})
    with refusal(path):
        cnnx.load(path)


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


def npy_header(shape, descr="<f8"):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def write_npz(path, description, compression=zipfile.ZIP_STORED, **members):
    """Write an npz by hand: `members` are bytes, or a pair of bytes to begin with and how many zeros follow."""
    text = np.array(description if isinstance(description, str) else json.dumps(description))
    with zipfile.ZipFile(path, "w", compression) as archive:
        with archive.open("network.npy", "w") as file:
            np.save(file, text)
        for name, content in members.items():
            begin, zeros = content if isinstance(content, tuple) else (content, 0)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                file.write(begin)
                for start in range(0, zeros, 1 << 20):
                    file.write(bytes(min(1 << 20, zeros - start)))


def described(**layer):
    return {"format": "cnnx", "version": 1, "layers": [layer]}


def write_claiming(path, size, is_packed):
    """Write 6 weights whose header and zip entry claim `size` bytes; the entry also that so many are packed."""
    header = npy_header((size // 32, 4))
    write_npz(path, described(layer="Softmax", input_len=size // 32, nodes=4), **{"0.weights": header + bytes(48)})
    change_last_entry(path, len(header) + (size if is_packed else 48), len(header) + size)


def write_lzma_of_few_weights(path):
    """Write an entry that claims 6 weights and unpacks to far more."""
    header = npy_header((2, 3))
    write_npz(path, SMALL_LAYER, zipfile.ZIP_LZMA, **{"0.weights": (header, HUGE)})
    with zipfile.ZipFile(path) as archive:
        packed = archive.getinfo("0.weights.npy").compress_size
    change_last_entry(path, packed, len(header) + 48)


def change_last_entry(path, packed, unpacked):
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<2I", packed, unpacked)
    path.write_bytes(content)


HUGE = 1 << 25  # bytes that each of these files claims or unpacks to
SMALL_LAYER = described(layer="Softmax", input_len=2, nodes=3)
HUGE_LAYER = described(layer="Softmax", input_len=HUGE // 32, nodes=4)
HUGE_WEIGHTS = npy_header((HUGE // 32, 4)), HUGE
HUNGRY_FILES = {
    "an array of another size": lambda path: write_npz(path, SMALL_LAYER, **{"0.weights": HUGE_WEIGHTS}),
    "an array of another size, deflated": lambda path: write_npz(
        path, SMALL_LAYER, zipfile.ZIP_DEFLATED, **{"0.weights": HUGE_WEIGHTS}
    ),
    "an array of another dtype": lambda path: write_npz(
        path, SMALL_LAYER, **{"0.weights": (npy_header((2, 3), f"<V{HUGE // 6}"), HUGE)}
    ),
    "a layer of another size": lambda path: write_npz(
        path, HUGE_LAYER, **{"0.weights": npy_header((2, 3)) + bytes(48)}
    ),
    "a layer whose array is cut": lambda path: write_npz(
        path, HUGE_LAYER, **{"0.weights": HUGE_WEIGHTS[0] + bytes(48)}
    ),
    "a stored array longer than it is packed": lambda path: write_claiming(path, 4_000_000, False),
    "a stored array longer than the file": lambda path: write_claiming(path, 4_000_000, True),
    "a layer whose array is missing": lambda path: write_npz(path, HUGE_LAYER),
    "deflated a thousand times": lambda path: write_npz(
        path, HUGE_LAYER, zipfile.ZIP_DEFLATED, **{"0.weights": HUGE_WEIGHTS}
    ),
    "LZMA": lambda path: write_npz(path, HUGE_LAYER, zipfile.ZIP_LZMA, **{"0.weights": HUGE_WEIGHTS}),
    "BZIP2": lambda path: write_npz(path, HUGE_LAYER, zipfile.ZIP_BZIP2, **{"0.weights": HUGE_WEIGHTS}),
    "LZMA of few weights": write_lzma_of_few_weights,
    "a long description": lambda path: write_npz(path, "[" + " " * (HUGE // 4) + "]"),
    "a long description, deflated": lambda path: write_npz(path, " " * (HUGE // 4), zipfile.ZIP_DEFLATED),
    "a long header": lambda path: write_npz(
        path, SMALL_LAYER, **{"0.weights": (b"\x93NUMPY\x02\x00" + HUGE.to_bytes(4, "little"), HUGE)}
    ),
}


@pytest.mark.parametrize("kind", HUNGRY_FILES)
def test_a_file_that_claims_too_much_is_refused_with_little_memory(tmp_path, kind):
    path = tmp_path / "file"
    HUNGRY_FILES[kind](path)
    tracemalloc.start()
    try:
        with refusal(path):
            cnnx.load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 << 20


def test_nesting_in_an_array_s_header_is_no_lack_of_memory(tmp_path):
    header = npy_header("-" * 9000 + "1")  # more than Python's parser nests: MemoryError
    write_npz(tmp_path / "file", SMALL_LAYER, **{"0.weights": header})
    with refusal(tmp_path / "file"):
        cnnx.load(tmp_path / "file")


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


def test_what_the_command_line_saves_predicts_as_the_same_run(tmp_path):
    command = [sys.executable, "-m", "cnnx.train", "--quiet", "--limit", "200", "--epochs", "1", "--save"]
    printed = subprocess.run([*command, tmp_path / "file"], capture_output=True, text=True, check=True).stdout
    digits = cnnx.data.load()
    np.random.seed(0)
    network = article_cnn()
    network.fit(digits.train_images[:200], digits.train_labels[:200], epochs=1, learn_rate=0.005)
    loaded = cnnx.load(tmp_path / "file")
    assert bits(loaded) == bits(network)
    loss, accuracy = loaded.evaluate(digits.test_images[:200], digits.test_labels[:200])
    assert printed == f"Test Loss: {loss}\nTest Accuracy: {accuracy}\n"
