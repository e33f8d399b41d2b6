"""A folder of IDX files: plain, gzipped, damaged, hostile or absent."""

import gzip
import math
import os
import zlib
from contextlib import suppress
from itertools import pairwise as neighbours
from pathlib import Path

import numpy as np
import properties  # noqa: F401  # sets how many examples there are
import pytest
from hypothesis import given
from hypothesis import strategies as st
from idx import GOOD, assert_same_digits, header, idx, peak_memory, write

from cnnx.data import CANONICAL_MD5, DataError, load, read_idx


@pytest.mark.smoke
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
    with pytest.raises(DataError, match=r"digits: .*no train-images, test-labels beside t10k-im.*, train-lab"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("train-labels-idx1-ubyte", (6,), r"train-labels-idx1-ubyte: expected labels for 7 images, got 6"),
        ("t10k-labels-idx1-ubyte", (4,), r"t10k-labels-idx1-ubyte: expected labels for 3 images, got 4"),
        (
            "train-labels-idx1-ubyte",
            (7, 2),
            r"train-labels-idx1-ubyte: expected labels \(n,\), .* got .*\(7, 2\)",
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
        content = b"".join(gzip.compress(content[a:b]) for a, b in neighbours(cuts))
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
DAMAGED = {
    "empty": (b"", r"expected an IDX header with 4 more bytes, got 0"),
    "cut in its magic number": (GOOD[:3], r"expected an IDX header with 4 more bytes, got 3"),
    "cut in its sizes": (GOOD[:9], r"expected an IDX header with 8 more bytes, got 5"),
    "truncated": (GOOD[:-1], r"expected 18 bytes for uint8 of shape \(2, 3\), got 17"),
    "oversized": (GOOD + b"\0", r"expected 18 bytes for uint8 of shape \(2, 3\), got 19"),
    "not IDX": (b"<html>", r"expected an IDX file, which begins with two zero bytes, got 0x3c68"),
    "of a type that IDX lacks": (
        header((1,), item_type=0x0A) + b"1",
        r"expected items of type 0x08 .*, got type 0x0a",
    ),
    "of doubles, cut": (header((1,), item_type=0x0E) + bytes(7), r"expected 16 bytes for float64 .*, got 15"),
    "of no dimension": (header(()) + b"1", r"expected 1 to 4 dimensions, got 0"),
    "of 255 dimensions": (header((1,) * 255) + b"1", r"expected 1 to 4 dimensions, got 255"),
    "without an item": (header((0, HUGE, HUGE)), r"expected at least one item .*, got shape \(0, "),
    "overflowing": (header((HUGE,) * 3), rf"expected {HUGE**3 + 16} bytes for uint8 of shape .*, got 16"),
    "zero in 64 bits": (header((2**31, 2**31, 4)), rf"expected {2**64 + 16} bytes for uint8 of shape .*, got 16"),
    "truncated, gzipped": (gzip.compress(GOOD[:-1]), r"expected 6 bytes for uint8 of shape \(2, 3\), got 5"),
    "oversized, gzipped": (gzip.compress(GOOD + b"\0"), r"expected 6 bytes for uint8 of shape \(2, 3\), got more"),
    "a cut gzip stream": (
        gzip.compress(GOOD)[:-12],
        r"expected a whole gzip stream, got one that is cut short",
    ),
    "a gzip without its checksum": (gzip.compress(GOOD)[:-8], r"expected a whole gzip stream"),
    "a gzip with a bad checksum": (gzip.compress(GOOD)[:-5] + b"x" + bytes(4), r"incorrect data check"),
    "a gzip with a tail": (gzip.compress(GOOD) + b"tail", r"incorrect header check"),
    "overflowing, gzipped": (
        gzip.compress(header((HUGE,) * 3)),
        r"expected at most \d+ bytes in \d+ gzipped",
    ),
    "zero in 64 bits, gzipped": (gzip.compress(header((2**31, 2**31, 4))), r"expected at most \d+ bytes"),
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
        with pytest.raises(DataError, match=r"bomb: expected 7840 bytes for uint8 of shape \(10, 28, 28\), got more"):
            read_idx(path)

    assert peak_memory(read_bomb) < 1 << 20


@pytest.mark.parametrize("shape", [(1 << 27,), (60_000, 1000, 1000)])
def test_a_file_that_declares_what_it_cannot_hold_is_refused_early(tmp_path, shape):
    plain = write(tmp_path / "plain", header(shape))
    gzipped = write(tmp_path / "gzipped", gzip.compress(header(shape)))

    def read_both():
        with pytest.raises(DataError, match=rf"plain: expected {math.prod(shape) + 4 + 4 * len(shape)} bytes"):
            read_idx(plain)
        with pytest.raises(DataError, match=r"gzipped: expected at most 67108864 bytes"):
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
