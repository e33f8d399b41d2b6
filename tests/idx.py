"""IDX files to read and to damage."""

import struct
import tracemalloc

import numpy as np

PARTS = ("train_images", "train_labels", "test_images", "test_labels")


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


GOOD = header((2, 3)) + bytes(6)
