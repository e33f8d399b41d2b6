"""The digits: what each source gives, and what a damaged, hostile or absent file does."""

import errno
import gzip
import hashlib
import importlib.util
import math
import os
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import mnist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnx import data
from cnnx.data import CANONICAL_MD5, DataError, load, read_idx

SAMPLE_SHA256 = "56a0410aef5ac5ee480b50758abe1b369976adde66488b49fa4d12bc49e0e8a6"
SAMPLE = Path(data.__file__).with_name("sample.npz")
PARTS = ("train_images", "train_labels", "test_images", "test_labels")
MNIST = os.environ.get("CNNX_DATA")
needs_all_of_mnist = pytest.mark.skipif(not MNIST, reason="CNNX_DATA names no folder with all of MNIST")


def header(shape, *, zeros=0, item_type=0x08):
    return struct.pack(f">HBB{len(shape)}I", zeros, item_type, len(shape), *shape)


def idx(array):
    return header(array.shape) + array.tobytes()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def listing(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def assert_same_digits(got, expected):
    for part in PARTS:
        np.testing.assert_array_equal(getattr(got, part), expected[part])


def peak_memory(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def digits(rng):
    """Two small sets of images that are neither square nor 28 pixels wide."""
    return {
        "train_images": rng.integers(0, 256, (7, 5, 4), np.uint8),
        "train_labels": rng.integers(0, 10, 7, np.uint8),
        "test_images": rng.integers(0, 256, (3, 5, 4), np.uint8),
        "test_labels": rng.integers(0, 10, 3, np.uint8),
    }


@pytest.fixture
def folder(tmp_path, digits):
    """Write those sets as four plain IDX files."""
    for name, part in zip(CANONICAL_MD5, PARTS, strict=True):
        write(tmp_path / "digits" / name, idx(digits[part]))
    return tmp_path / "digits"


# The sample


def test_the_sample_is_the_file_that_was_reviewed():
    assert hashlib.sha256(SAMPLE.read_bytes()).hexdigest() == SAMPLE_SHA256


def test_the_sample_is_the_default_source():
    sample = load()
    assert_same_digits(load("sample"), {part: getattr(sample, part) for part in PARTS})


@pytest.mark.parametrize("part", ["train", "test"])
def test_the_sample_has_a_hundred_digits_of_each_class(part):
    images, labels = getattr(load(), f"{part}_images"), getattr(load(), f"{part}_labels")
    assert (images.shape, images.dtype) == ((1000, 28, 28), np.uint8)
    assert (labels.shape, labels.dtype) == ((1000,), np.uint8)
    assert images.flags.writeable
    assert labels.flags.writeable
    assert np.bincount(labels).tolist() == [100] * 10


@pytest.mark.parametrize("part", ["train", "test"])
def test_the_sample_is_shuffled(part):
    labels = getattr(load(), f"{part}_labels")
    for tenth in np.split(labels, 10):
        assert len(set(tenth.tolist())) == 10


def test_no_digit_of_the_sample_is_in_it_twice():
    sample = load()
    images = [image.tobytes() for image in (*sample.train_images, *sample.test_images)]
    assert len(set(images)) == 2000


@pytest.fixture(scope="module")
def make_sample():
    script = Path(__file__).parents[1] / "tools" / "make_sample.py"
    spec = importlib.util.spec_from_file_location("make_sample", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sample_s_script_chooses_disjoint_balanced_shuffled_rows(make_sample, rng):
    labels = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), 500))
    train, test = make_sample.choose(labels)
    assert not set(train.tolist()) & set(test.tolist())
    for rows in (train, test):
        assert np.bincount(labels[rows]).tolist() == [100] * 10
        assert all(len(set(tenth.tolist())) == 10 for tenth in np.split(labels[rows], 10))


def test_the_sample_s_script_writes_the_same_arrays_to_the_same_bytes(make_sample, tmp_path):
    arrays = {part: getattr(load(), part) for part in PARTS}
    make_sample.write(tmp_path / "one.npz", arrays)
    make_sample.write(tmp_path / "two.npz", {part: np.asfortranarray(arrays[part]) for part in PARTS})
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng compresses to other bytes than zlib")
def test_the_sample_s_script_writes_the_shipped_bytes(make_sample, tmp_path):
    make_sample.write(tmp_path / "again.npz", {part: getattr(load(), part) for part in PARTS})
    assert (tmp_path / "again.npz").read_bytes() == SAMPLE.read_bytes()


# A folder of IDX files


@pytest.mark.parametrize("gzipped", [(), ("train-images-idx3-ubyte",), tuple(CANONICAL_MD5)], ids=len)
def test_a_folder_may_hold_gzipped_and_plain_files(folder, digits, gzipped):
    for name in gzipped:
        write(folder / f"{name}.gz", gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert_same_digits(load(folder), digits)
    assert_same_digits(load(str(folder)), digits)


def test_a_file_s_content_tells_whether_it_is_gzipped(folder, digits):
    for name in CANONICAL_MD5:
        write(folder / name, gzip.compress((folder / name).read_bytes()))
    assert_same_digits(load(folder), digits)


def test_loaded_images_belong_to_the_caller(folder, digits):
    load(folder).train_images[:] = 0
    assert_same_digits(load(folder), digits)


def test_missing_files_are_all_named(folder):
    (folder / "train-images-idx3-ubyte").unlink()
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"digits: .*no train-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz$"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("train-labels-idx1-ubyte", (6,), r"train-labels-idx1-ubyte: expected labels for 7 images, got 6"),
        ("t10k-labels-idx1-ubyte", (4,), r"t10k-labels-idx1-ubyte: expected labels for 3 images, got 4"),
        (
            "train-labels-idx1-ubyte",
            (7, 1),
            r"train-labels-idx1-ubyte: expected labels \(n,\), got .*\(7, 1\)",
        ),
        ("train-images-idx3-ubyte", (7, 20), r"train-images-idx3-ubyte: expected images .*, got .*\(7, 20\)"),
        ("t10k-images-idx3-ubyte", (3,), r"t10k-images-idx3-ubyte: expected images .*, got .*\(3,\)"),
        ("t10k-images-idx3-ubyte", (3, 4, 5), r"t10k-images-idx3-ubyte: .*size \(5, 4\), got \(4, 5\)"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(folder, name, shape, message):
    write(folder / name, idx(np.ones(shape, np.uint8)))
    with pytest.raises(DataError, match=message):
        load(folder)


@pytest.mark.parametrize("source", ["MNIST", "no/such/folder", "nul\0byte", "long" * 2000, __file__])
def test_a_source_that_is_no_folder_is_an_error(source):
    with pytest.raises(DataError, match=r"source: "):
        load(source)


@pytest.mark.parametrize("source", [None, 0, 1.5, b"sample", ["sample"], np.zeros(3)], ids=repr)
def test_a_source_of_another_type_is_a_type_error(source):
    with pytest.raises(TypeError, match=r'source: expected "sample", "mnist" or a folder, got \w+$'):
        load(source)


def test_a_pathlike_is_a_folder_even_if_it_is_called_mnist(folder, digits, monkeypatch):
    folder.rename(folder.with_name("mnist"))
    monkeypatch.chdir(folder.parent)
    assert_same_digits(load(Path("mnist")), digits)


# The IDX reader


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "file"


@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    seed=st.integers(0, 99),
    members=st.integers(0, 3),
)
def test_what_is_written_is_read(scratch, shape, seed, members):
    array = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    content = idx(array)
    if members:  # a gzip file is one or more members, one after the other
        cuts = [len(content) * part // members for part in range(members + 1)]
        content = b"".join(gzip.compress(content[a:b]) for a, b in pairwise(cuts))
    got = read_idx(write(scratch, content))
    assert got.dtype == np.uint8
    assert got.flags.owndata
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)


@given(content=st.binary(max_size=64), begin=st.sampled_from([b"", b"\0\0\x08", b"\x1f\x8b", b"\x1f\x8b\x08\0"]))
def test_any_bytes_are_an_array_or_a_data_error(scratch, content, begin):
    with suppress(DataError):
        assert read_idx(write(scratch, begin + content)).nbytes == len(begin + content) - 4 - 4 * content[0]


@given(position=st.integers(0, 200), value=st.integers(1, 255))
def test_a_damaged_gzip_file_is_never_read_as_other_data(scratch, position, value):
    array = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    content = bytearray(gzip.compress(idx(array), mtime=0))
    content[position % len(content)] ^= value
    with suppress(DataError):  # a few bytes of a gzip header mean nothing
        np.testing.assert_array_equal(read_idx(write(scratch, bytes(content))), array)


HUGE = 2**32 - 1
GOOD = header((2, 3)) + bytes(6)
DAMAGED = {
    "empty": (b"", r"expected an IDX header with 4 more bytes, got 0"),
    "cut in its magic number": (GOOD[:3], r"expected an IDX header with 4 more bytes, got 3"),
    "cut in its sizes": (GOOD[:9], r"expected an IDX header with 8 more bytes, got 5"),
    "truncated": (GOOD[:-1], r"expected 18 bytes for shape \(2, 3\), got 17"),
    "oversized": (GOOD + b"\0", r"expected 18 bytes for shape \(2, 3\), got 19"),
    "not IDX": (b"<html>", r"expected an IDX file, which begins with two zero bytes, got 0x3c68"),
    "of signed bytes": (
        header((1,), item_type=0x09) + b"1",
        r"expected items of type 0x08 .*, got type 0x09",
    ),
    "of doubles": (header((1,), item_type=0x0E) + bytes(8), r"expected items of type 0x08 .*, got type 0x0e"),
    "of no dimension": (header(()) + b"1", r"expected 1 to 3 dimensions, got 0"),
    "of 255 dimensions": (header((1,) * 255) + b"1", r"expected 1 to 3 dimensions, got 255"),
    "without an item": (header((0, HUGE, HUGE)), r"expected at least one item .*, got shape \(0, "),
    "overflowing": (header((HUGE,) * 3), rf"expected {HUGE**3 + 16} bytes for shape .*, got 16"),
    "zero in 64 bits": (header((2**31, 2**31, 4)), rf"expected {2**64 + 16} bytes for shape .*, got 16"),
    "truncated, gzipped": (gzip.compress(GOOD[:-1]), r"expected 6 items for shape \(2, 3\), got 5"),
    "oversized, gzipped": (gzip.compress(GOOD + b"\0"), r"expected 6 items for shape \(2, 3\), got more"),
    "a cut gzip stream": (
        gzip.compress(GOOD)[:-12],
        r"expected a whole gzip stream, got one that is cut short",
    ),
    "a gzip without its checksum": (gzip.compress(GOOD)[:-8], r"expected a whole gzip stream"),
    "a gzip with a bad checksum": (gzip.compress(GOOD)[:-5] + b"x" + bytes(4), r"incorrect data check"),
    "a gzip with a tail": (gzip.compress(GOOD) + b"tail", r"incorrect header check"),
    "overflowing, gzipped": (
        gzip.compress(header((HUGE,) * 3)),
        r"expected at most \d+ items in \d+ gzipped bytes",
    ),
    "zero in 64 bits, gzipped": (gzip.compress(header((2**31, 2**31, 4))), r"expected at most \d+ items"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_one_sentence_that_names_it(tmp_path, content, message):
    path = write(tmp_path / "digits-ubyte", content)
    with pytest.raises(DataError, match=message) as error:
        read_idx(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_damaged_file_in_a_folder_is_named(folder):
    path = write(folder / "t10k-labels-idx1-ubyte", GOOD[:-1])
    with pytest.raises(DataError, match=rf"^{path}: expected 18 bytes"):
        load(folder)


def test_a_gzip_bomb_is_refused_with_little_memory(tmp_path):
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    parts = [packer.compress(header((10, 28, 28)))]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(128)]
    path = write(tmp_path / "bomb", b"".join((*parts, packer.flush())))

    def read_bomb():
        with pytest.raises(DataError, match=r"bomb: expected 7840 items for shape \(10, 28, 28\), got more"):
            read_idx(path)

    assert peak_memory(read_bomb) < 1 << 20


@pytest.mark.parametrize("shape", [(1 << 27,), (60_000, 1000, 1000)])
def test_a_file_that_declares_what_it_cannot_hold_is_refused_early(tmp_path, shape):
    plain = write(tmp_path / "plain", header(shape))
    gzipped = write(tmp_path / "gzipped", gzip.compress(header(shape)))

    def read_both():
        with pytest.raises(DataError, match=rf"plain: expected {math.prod(shape) + 4 + 4 * len(shape)} bytes"):
            read_idx(plain)
        with pytest.raises(DataError, match=r"gzipped: expected at most 67108864 items"):
            read_idx(gzipped)

    assert peak_memory(read_both) < 1 << 20


def test_a_large_gzipped_file_may_unpack_to_a_hundred_times_its_size(tmp_path, rng):
    array = np.zeros((65, 1024, 1024), np.uint8)
    array[0] = rng.integers(0, 256, array[0].shape)
    path = write(tmp_path / "large", gzip.compress(idx(array), 1))
    assert array.nbytes > 1 << 26
    assert read_idx(path).tobytes() == array.tobytes()


def test_reading_takes_one_copy_of_the_data(tmp_path):
    array = np.tile(np.arange(256, dtype=np.uint8), (64, 1024))
    for content in (idx(array), gzip.compress(idx(array), 1)):
        path = write(tmp_path / "file", content)
        assert peak_memory(lambda path=path: read_idx(path)) < array.nbytes + (4 << 20)


def test_a_file_that_is_not_there_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"nothing: No such file"):
        read_idx(tmp_path / "nothing")


def test_what_is_not_a_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DataError, match=rf"^{path}: expected a regular file"):
            read_idx(path)


# MNIST through the mnist package. Mirrors are folders with file:// addresses, or servers on this machine


@pytest.fixture
def mirrors(folder, tmp_path, monkeypatch):
    """Two mirrors of the four files and their digests; yields the two folders."""
    first, second = tmp_path / "first", tmp_path / "second"
    for name in CANONICAL_MD5:
        content = (folder / name).read_bytes()
        monkeypatch.setitem(CANONICAL_MD5, name, hashlib.md5(content).hexdigest())
        write(first / f"{name}.gz", gzip.compress(content, 9))
        write(second / f"{name}.gz", gzip.compress(content, 1))
    monkeypatch.setattr(data, "MIRRORS", (f"{first.as_uri()}/", f"{second.as_uri()}/"))
    return first, second


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Let CNNX_DATA name a folder that does not exist yet."""
    monkeypatch.setenv("CNNX_DATA", str(tmp_path / "parent" / "cache"))
    return tmp_path / "parent" / "cache"


@pytest.fixture
def offline(monkeypatch):
    def urlopen(*_, **__):
        raise OSError("the network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)


@pytest.mark.usefixtures("mirrors")
def test_mnist_is_downloaded_once(cache, digits, monkeypatch):
    assert_same_digits(load("mnist"), digits)
    assert listing(cache) == sorted(f"{name}.gz" for name in CANONICAL_MD5)
    monkeypatch.setattr(data, "MIRRORS", ())
    assert_same_digits(load("mnist"), digits)


@pytest.mark.usefixtures("mirrors")
def test_mnist_is_cached_for_the_user(tmp_path, digits, monkeypatch):
    monkeypatch.delenv("CNNX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert_same_digits(load("mnist"), digits)
    assert len(listing(tmp_path / "caches" / "cnnx")) == 4
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert_same_digits(load("mnist"), digits)
    caches = "Library/Caches" if sys.platform == "darwin" else ".cache"
    assert len(listing(tmp_path / "home" / caches / "cnnx")) == 4


@pytest.mark.parametrize("damage", ["absent", "truncated", "not the canonical bytes", "a web page"])
def test_the_second_mirror_serves_when_the_first_fails(mirrors, cache, digits, damage):
    path = mirrors[0] / "train-images-idx3-ubyte.gz"
    replacement = {
        "absent": None,
        "truncated": path.read_bytes()[:-20],
        "not the canonical bytes": gzip.compress(idx(digits["train_images"] ^ 1)),
        "a web page": b"<html>Log in to this network</html>",
    }[damage]
    path.unlink() if replacement is None else path.write_bytes(replacement)
    assert_same_digits(load("mnist"), digits)
    assert (cache / path.name).read_bytes() == (mirrors[1] / path.name).read_bytes()


def test_a_corrupt_download_never_becomes_the_cache(mirrors, cache, digits):
    wrong = gzip.compress(idx(digits["test_images"] ^ 1))
    for mirror in mirrors:
        write(mirror / "t10k-images-idx3-ubyte.gz", wrong)
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz: expected MNIST's canonical bytes with MD5"):
        load("mnist")
    assert listing(cache) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
@pytest.mark.usefixtures("mirrors")
def test_an_interrupted_download_leaves_nothing(cache, monkeypatch, interruption):
    class Half(BytesIO):
        def read(self, count):
            if half := super().read(count):
                return half
            raise interruption("stop")

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Half(b"\x1f\x8b half"))
    with pytest.raises(interruption, match="stop"):
        load("mnist")
    assert listing(cache) == []


def settings_of_the_process():
    return mnist.datasets_url, mnist.temporary_dir, mnist.urlretrieve, sys.modules["mnist"], socket.getdefaulttimeout()


@pytest.fixture
def own_settings(monkeypatch):
    """Set what a user may have set, and return it."""
    monkeypatch.setattr(mnist, "datasets_url", "https://example.invalid/")
    monkeypatch.setattr(mnist, "temporary_dir", lambda: "folder")
    socket.setdefaulttimeout(7.0)
    yield settings_of_the_process()
    socket.setdefaulttimeout(None)


@pytest.mark.usefixtures("mirrors", "cache")
def test_a_download_leaves_the_process_as_it_was(own_settings):
    load("mnist")
    assert settings_of_the_process() == own_settings


@pytest.mark.usefixtures("mirrors", "cache", "offline")
def test_a_failed_download_leaves_the_process_as_it_was(own_settings):
    with pytest.raises(DataError, match="unreachable"):
        load("mnist")
    assert settings_of_the_process() == own_settings


@pytest.mark.usefixtures("mirrors", "cache")
def test_nobody_sees_a_download_s_settings_while_it_runs(own_settings, monkeypatch):
    seen, urlopen = [], urllib.request.urlopen

    def watch(*arguments, **options):
        seen.append(settings_of_the_process())
        return urlopen(*arguments, **options)

    monkeypatch.setattr("urllib.request.urlopen", watch)
    load("mnist")
    assert seen == [own_settings] * 4


@pytest.mark.usefixtures("mirrors", "cache")
def test_downloads_in_two_threads_do_not_wait_for_each_other(digits, monkeypatch):
    both_are_here, urlopen = threading.Barrier(2, timeout=20), urllib.request.urlopen

    def meet(*arguments, **options):
        both_are_here.wait()
        return urlopen(*arguments, **options)

    monkeypatch.setattr("urllib.request.urlopen", meet)
    with ThreadPoolExecutor(2) as pool:
        for loaded in pool.map(load, ["mnist"] * 2):
            assert_same_digits(loaded, digits)


@pytest.mark.usefixtures("cache")
def test_each_mirror_is_asked_and_may_not_keep_silent_for_ever(monkeypatch):
    asked = []

    def urlopen(url, *, timeout):
        asked.append((url, timeout))
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    with pytest.raises(DataError, match="timed out"):
        load("mnist")
    assert asked == [(f"{mirror}train-images-idx3-ubyte.gz", 20.0) for mirror in data.MIRRORS]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\n\x1f\x8b half"])
@pytest.mark.usefixtures("own_settings")
def test_a_mirror_that_falls_silent_is_given_up(mirrors, cache, digits, monkeypatch, answer):
    monkeypatch.setattr(data, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(data, "MIRRORS", (silent, f"{mirrors[1].as_uri()}/"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        held = []

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.sendall(answer)
                    held.append(connection)

        threading.Thread(target=serve, daemon=True).start()
        assert_same_digits(load("mnist"), digits)
        server.shutdown(socket.SHUT_RDWR)
    assert len(held) == 4
    for connection in held:
        connection.close()
    assert listing(cache) == sorted(f"{name}.gz" for name in CANONICAL_MD5)


def test_an_error_of_a_download_names_no_scratch_file(mirrors, cache):
    for mirror in mirrors:
        write(mirror / "train-images-idx3-ubyte.gz", b"<html>")
    with pytest.raises(DataError, match=r"\(train-images-idx3-ubyte.gz: expected an IDX file") as error:
        load("mnist")
    assert ".download-" not in str(error.value)
    assert listing(cache) == []


@pytest.mark.usefixtures("mirrors")
def test_a_cache_that_takes_no_file_is_named_and_no_scratch_folder(cache, monkeypatch):
    def mkdtemp(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(cache / ".download-abc"))

    monkeypatch.setattr("tempfile.mkdtemp", mkdtemp)
    with pytest.raises(DataError, match=rf"^{cache}: .*\(Permission denied\)") as error:
        load("mnist")
    assert ".download-" not in str(error.value)


@pytest.mark.usefixtures("mirrors")
def test_a_link_in_the_cache_is_never_replaced(cache):
    cache.mkdir(parents=True)
    (cache / "train-images-idx3-ubyte.gz").symlink_to("a disk that is not there")
    with pytest.raises(
        DataError, match=rf"^{cache}/train-images-idx3-ubyte.gz: expected a file or nothing, got a link"
    ):
        load("mnist")
    assert (cache / "train-images-idx3-ubyte.gz").is_symlink()


def test_the_mirrors_are_https():
    assert [address[:8] for address in data.MIRRORS] == ["https://"] * 2


@pytest.mark.usefixtures("offline")
def test_offline_the_error_names_the_files_the_folder_and_the_mirrors(cache):
    write(cache / "train-labels-idx1-ubyte", b"present")
    with pytest.raises(DataError, match="cannot be downloaded") as error:
        load("mnist")
    message = str(error.value)
    assert message.startswith(f"{cache}: ")
    assert "put train-images-idx3-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz there" in message
    assert "CNNX_DATA" in message
    for mirror in data.MIRRORS:
        assert f"{mirror} (the network is unreachable)" in message
    assert "\n" not in message


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.usefixtures("mirrors", "offline")
def test_files_that_are_already_there_are_only_read(cache, folder, digits, monkeypatch, suffix):
    for name in CANONICAL_MD5:
        content = (folder / name).read_bytes()
        write(cache / f"{name}{suffix}", gzip.compress(content) if suffix else content)
    for write_access in ("mkdir", "replace", "unlink", "touch"):
        monkeypatch.delattr(Path, write_access)
    assert_same_digits(load("mnist"), digits)
    assert listing(cache) == sorted(f"{name}{suffix}" for name in CANONICAL_MD5)


@pytest.mark.usefixtures("mirrors")
def test_another_data_set_in_the_cache_is_refused_and_kept(cache, digits):
    other = write(cache / "train-images-idx3-ubyte", idx(digits["train_images"] ^ 1))
    with pytest.raises(DataError, match=rf"^{other}: expected MNIST's canonical bytes with MD5 \w+, got MD5 \w+$"):
        load("mnist")
    assert listing(cache) == [other.name]


@pytest.mark.usefixtures("mirrors")
def test_a_cache_that_cannot_be_made_is_a_data_error(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNX_DATA", str(write(tmp_path / "file", b"") / "cache"))
    with pytest.raises(DataError, match=r"file/cache: MNIST is incomplete and cannot be downloaded"):
        load("mnist")


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.usefixtures("mirrors", "cache")
def test_progress_is_for_terminals(capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    load("mnist")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"Downloading {n}.gz from {data.MIRRORS[0]}" for n in CANONICAL_MD5 if terminal]


def test_importing_the_module_imports_nothing_to_download_with():
    code = "import sys, cnnx.data; print(*{'mnist', 'urllib.request', 'http.client'} & set(sys.modules))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert imported.stdout == "\n"


# All of MNIST, where it is at hand


@needs_all_of_mnist
@pytest.mark.parametrize("source", ["mnist", MNIST])
def test_all_of_mnist_loads_and_its_folder_is_left_alone(source):
    before = listing(Path(MNIST))
    digits = load(source)
    assert digits.train_images.shape == (60_000, 28, 28)
    assert digits.test_images.shape == (10_000, 28, 28)
    assert np.bincount(digits.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(digits.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert listing(Path(MNIST)) == before


@needs_all_of_mnist
def test_the_sample_is_from_mnist_s_training_set():
    sample, all_digits = load("sample"), load(MNIST)
    label_of = {
        image.tobytes(): label for image, label in zip(all_digits.train_images, all_digits.train_labels, strict=True)
    }
    for images, labels in (
        (sample.train_images, sample.train_labels),
        (sample.test_images, sample.test_labels),
    ):
        for image, label in zip(images, labels, strict=True):
            assert label_of[image.tobytes()] == label
