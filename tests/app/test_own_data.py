"""Data sets under the names, and in the types and formats, that people have."""

import gzip
import struct

import numpy as np
import pytest
from idx import PARTS, assert_same_digits, idx, write

from cnnx.data import CANONICAL_MD5, DataError, load, read_idx

NAMES = {
    "dots": "{}-images.idx3-ubyte {}-labels.idx1-ubyte",
    "capitals": "{}-images-idx3-ubyte.GZ {}-labels-idx1-ubyte.GZ",
    "EMNIST": "emnist-balanced-{}-images-idx3-ubyte.gz emnist-balanced-{}-labels-idx1-ubyte.gz",
    "QMNIST": "qmnist-{}-images-idx3-ubyte.gz qmnist-{}-labels-idx2-int.gz",
    "EMNIST's archive": "gzip/emnist-mnist-{}-images-idx3-ubyte.gz gzip/emnist-mnist-{}-labels-idx1-ubyte.gz",
    "EMNIST, unpacked": "EMNIST/raw/emnist-digits-{}-images.idx3-ubyte EMNIST/raw/emnist-digits-{}-labels.idx1-ubyte",
    "torchvision": "MNIST/raw/{}-images-idx3-ubyte MNIST/raw/{}-labels-idx1-ubyte",
    "Windows": "{0}-images-idx3-ubyte/{0}-images.idx3-ubyte {0}-labels-idx1-ubyte/{0}-labels.idx1-ubyte",
}


def names_of(kind):
    last = "test" if "MNIST" in kind else "t10k"
    return [name for role in ("train", last) for name in NAMES[kind].format(role, role).split()]


def transposed(digits):
    return {part: array.swapaxes(1, 2).copy() if "images" in part else array for part, array in digits.items()}


@pytest.mark.smoke
@pytest.mark.parametrize("kind", NAMES)
def test_a_folder_may_have_the_names_that_people_have(tmp_path, digits, kind):
    stored = transposed(digits) if kind.startswith("EMNIST") else digits
    for name, part in zip(names_of(kind), PARTS, strict=True):
        content = idx(stored[part])
        write(tmp_path / name, gzip.compress(content) if name.lower().endswith(".gz") else content)
    got = load(tmp_path)
    assert_same_digits(got, digits)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in got)


def test_real_files_come_before_folders_of_the_same_name(folder, digits):
    write(folder / "train-images.idx3-ubyte" / "train-images.idx3-ubyte", b"another")
    assert_same_digits(load(folder), digits)


def test_a_tilde_is_the_home_folder(folder, digits, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert_same_digits(load("~/digits"), digits)


def test_several_sets_in_a_folder_are_named(tmp_path, digits):
    for kind in ("EMNIST", "QMNIST"):
        for name, part in zip(names_of(kind), PARTS, strict=True):
            write(tmp_path / name, idx(digits[part]))
    with pytest.raises(DataError, match=r"expected one data set, got several: emnist-balanced-\*, qmnist-\*$"):
        load(tmp_path)


def test_sets_in_several_folders_or_tables_are_named(tmp_path, digits):
    for folder in ("FashionMNIST", "MNIST"):
        for name, part in zip(CANONICAL_MD5, PARTS, strict=True):
            write(tmp_path / folder / "raw" / name, idx(digits[part]))
    with pytest.raises(DataError, match=r"expected one data set, got several, in FashionMNIST/raw, MNIST/raw$"):
        load(tmp_path)
    for name in ("fashion_train.csv", "fashion_test.csv", "mnist_train.csv"):
        write(tmp_path / "tables" / name, b"label,pixel0\n1,2")
    with pytest.raises(DataError, match=r"got several data sets: fashion_test.csv, fashion_train.csv, mnist_train"):
        load(tmp_path / "tables")


def test_an_error_lists_what_is_there(tmp_path):
    with pytest.raises(DataError, match=r"got an empty folder$"):
        load(tmp_path)
    for number in range(10):
        write(tmp_path / f"photo{number}.jpg", b"")
    with pytest.raises(DataError, match=r"got photo0.jpg, .*, photo7.jpg, 2 more$"):
        load(tmp_path)


TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("code", TYPES)
def test_every_type_of_idx_is_read(tmp_path, rng, code, gzipped):
    array = rng.normal(0, 50, (3, 2, 4)).clip(-128 if code != 8 else 0, 127).astype(TYPES[code])
    content = struct.pack(">HBB3I", 0, code, 3, *array.shape) + array.tobytes()
    got = read_idx(write(tmp_path / "file", gzip.compress(content) if gzipped else content))
    assert got.dtype == np.dtype(TYPES[code]).newbyteorder("=")
    np.testing.assert_array_equal(got, array)


def with_labels(folder, labels, code):
    for name, part in zip(("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"), labels, strict=True):
        write(folder / name, struct.pack(f">HBB{part.ndim}I", 0, code, part.ndim, *part.shape) + part.tobytes())


@pytest.mark.parametrize("columns", [1, 8])
def test_labels_may_be_a_column_or_qmnist_s_table(folder, digits, columns):
    tables = []
    for part in ("train_labels", "test_labels"):
        table = np.full((len(digits[part]), columns), 3999, ">i4")
        table[:, 0] = digits[part]
        tables.append(table)
    with_labels(folder, tables, 0x0C)
    assert_same_digits(load(folder), digits)
    assert load(folder).train_labels.dtype == np.uint8


@pytest.mark.parametrize(("value", "code", "dtype"), [(-1, 0x09, "i1"), (256, 0x0C, ">i4"), (1, 0x0E, ">f8")])
def test_labels_that_are_no_bytes_are_refused(folder, digits, value, code, dtype):
    with_labels(folder, [np.full(len(digits[part]), value, dtype) for part in ("train_labels", "test_labels")], code)
    with pytest.raises(DataError, match=r"train-labels-.*: expected labels that are integers from 0 to 255, got "):
        load(folder)


@pytest.fixture
def square(rng):
    """Two small sets of square images, as a table can hold them."""
    counts = {"train": 7, "test": 3}
    images = {f"{role}_images": rng.integers(0, 256, (count, 5, 5), np.uint8) for role, count in counts.items()}
    return images | {f"{role}_labels": rng.integers(0, 10, count, np.uint8) for role, count in counts.items()}


@pytest.mark.parametrize("has_names", [True, False])
@pytest.mark.parametrize("prefix", ["", "mnist_", "emnist-letters-"])
def test_kaggle_s_csv_files(tmp_path, square, prefix, has_names):
    stored = transposed(square) if prefix.startswith("emnist") else square
    for role in ("train", "test"):
        images, labels = stored[f"{role}_images"], stored[f"{role}_labels"]
        rows = np.column_stack([labels, images.reshape(len(images), -1)]).tolist()
        lines = [["label", *(f"pixel{number}" for number in range(25))]] * has_names + rows
        text = "\n".join(",".join(map(str, line)) for line in lines)
        write(tmp_path / f"{prefix}{role}.csv", text.encode())
    assert_same_digits(load(tmp_path), square)


@pytest.mark.parametrize("begin", ["\ufeff", '\ufeff"label","pixel0"\r\n', "pixel0, Class\n", "0,label\n"])
def test_a_table_s_mark_of_bytes_names_and_order_of_columns(tmp_path, begin):
    rows = "200,3\n100,5" if begin.startswith(("pixel0", "0")) else "3,200\n5,100"
    for role in ("train", "test"):
        write(tmp_path / f"{role}.csv", (begin + rows).encode())
    got = load(tmp_path)
    assert got.train_images.tolist() == got.test_images.tolist() == [[[200]], [[100]]]
    assert got.train_labels.tolist() == [3, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pixel0,pixel1,pixel2,pixel3\n0,0,0,0", r"got 4 columns \(there is no label\)"),
        ("a,b,c\n1,2,3", r"expected a label and the pixels of a square image, got 3 columns$"),
        ("label,pixel0\n1,300", r"expected integers from 0 to 255"),
        ("label,pixel0\n1,x", r"expected integers from 0 to 255"),
        ("-3,200\n5,100", r"expected integers from 0 to 255"),
        (",200\n5,100", r"expected integers from 0 to 255"),
        ("class,pixel0,label\n1,2,3", r'expected one column "label" or "class", got 2$'),
    ],
)
def test_a_table_that_is_no_digits_is_one_sentence(tmp_path, text, message):
    for role in ("train", "test"):
        write(tmp_path / f"{role}.csv", text.encode())
    with pytest.raises(DataError, match=rf"train.csv: .*{message}"):
        load(tmp_path)


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("training_images", "training_labels", "test_images", "test_labels"),
        PARTS,
    ],
)
def test_an_npz_file_or_a_folder_with_one(tmp_path, digits, keys):
    arrays = {key: digits[part] for key, part in zip(keys, PARTS, strict=True)}
    arrays[keys[1]] = arrays[keys[1]].astype(np.int64)[:, np.newaxis]
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert_same_digits(load(tmp_path / "mnist.npz"), digits)
    assert_same_digits(load(tmp_path), digits)


def test_an_npz_file_that_is_no_digits_is_one_sentence(tmp_path, digits):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(DataError, match=r"other.npz: expected arrays x_train, .*; got a$"):
        load(tmp_path / "other.npz")
    write(tmp_path / "broken.npz", b"PK broken")
    with pytest.raises(DataError, match=r"broken.npz: expected an npz file, got another or a damaged one"):
        load(tmp_path / "broken.npz")
    np.savez(tmp_path / "floats.npz", **{part: digits[part] / 255 for part in PARTS})
    with pytest.raises(DataError, match=r"floats.npz: expected pixels that are integers from 0 to 255, got float64"):
        load(tmp_path / "floats.npz")


def test_every_canonical_name_is_a_name_that_people_have(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(CANONICAL_MD5)
