"""The digits that come with the package, and the script that chose them."""

import hashlib
import importlib.util
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from idx import PARTS, assert_same_digits

from cnnx import data
from cnnx.data import load
from cnnx.train import main

SAMPLE_SHA256 = "56a0410aef5ac5ee480b50758abe1b369976adde66488b49fa4d12bc49e0e8a6"
SAMPLE = Path(data.__file__).with_name("sample.npz")
MNIST = os.environ.get("CNNX_DATA")
needs_all_of_mnist = pytest.mark.skipif(not MNIST, reason="CNNX_DATA names no folder with all of MNIST")


def test_the_sample_is_the_file_that_was_reviewed():
    assert hashlib.sha256(SAMPLE.read_bytes()).hexdigest() == SAMPLE_SHA256


@pytest.mark.smoke
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


def test_a_build_without_the_sample_says_in_one_line_where_digits_are(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(data, "_SAMPLE", tmp_path / "sample.npz")
    with pytest.raises(data.DataError, match=r'expected "mnist", .* because this cnnx was built without its sample'):
        load()
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r'cnnx.train: error: --data: expected "mnist", which downloads all digits, .*\n', printed.err)


@pytest.fixture(scope="module")
def make_sample():
    script = Path(__file__).parents[2] / "tools" / "make_sample.py"
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
    arrays = {part: getattr(load(), part)[:50] for part in PARTS}
    make_sample.write(tmp_path / "one.npz", arrays)
    make_sample.write(tmp_path / "two.npz", {part: np.asfortranarray(arrays[part]) for part in PARTS})
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng compresses to other bytes than zlib")
def test_the_sample_s_script_writes_the_shipped_bytes(make_sample, tmp_path):
    make_sample.write(tmp_path / "again.npz", {part: getattr(load(), part) for part in PARTS})
    assert (tmp_path / "again.npz").read_bytes() == SAMPLE.read_bytes()


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
