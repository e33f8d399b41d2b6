"""The folder that MNIST's files are in: what is there is verified, and neither replaced nor changed."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from idx import assert_same_digits, idx, listing, write

from cnnx.data import CANONICAL_MD5, DataError, load

MNIST = os.environ.get("CNNX_DATA")
needs_all_of_mnist = pytest.mark.skipif(not MNIST, reason="CNNX_DATA names no folder with all of MNIST")


@pytest.mark.usefixtures("mirrors")
def test_a_link_in_the_cache_is_never_replaced(cache):
    cache.mkdir(parents=True)
    (cache / "train-images-idx3-ubyte.gz").symlink_to("a disk that is not there")
    with pytest.raises(
        DataError, match=rf"^{cache}/train-images-idx3-ubyte.gz: expected a file or nothing, got a link"
    ):
        load("mnist")
    assert (cache / "train-images-idx3-ubyte.gz").is_symlink()


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
