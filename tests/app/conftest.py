"""Digits, mirrors to download them from, and a saved network that several files of tests read."""

import gzip
import hashlib

import numpy as np
import pytest
from idx import PARTS, idx, write
from networks import small_problem

from cnnx import data
from cnnx.data import CANONICAL_MD5


@pytest.fixture(autouse=True)
def as_on_a_user_s_machine(monkeypatch):
    """Let Python buffer what programs print, even if the tests' own environment forbids it."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


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


@pytest.fixture
def saved(tmp_path):
    """Save a trained network and return it with its file."""
    network, images, labels = small_problem()
    network.fit(images, labels, epochs=1, learn_rate=0.1)
    network.save(tmp_path / "saved.cnnx")
    return network, tmp_path / "saved.cnnx"
