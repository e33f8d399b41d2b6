"""A file that holds no network is refused with one sentence that names it, and with little memory."""

import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from networks import bits
from saved_files import SMALL_LAYER, described, npy_header, refusal, rewrite, write_npz

import cnnx
from cnnx import Sequential, Softmax


@pytest.mark.parametrize("kept", [0, 1, 3, 4, 30, 100, 0.25, 0.5, 0.75, -300, -100, -23, -22, -2, -1])
def test_a_truncated_file_is_refused(saved, kept):
    _, path = saved
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with refusal(path):
        cnnx.load(path)


def test_a_changed_byte_is_refused_or_harmless(tmp_path):
    network, path = Sequential([Softmax(2, 3, rng=np.random.default_rng(0))]), tmp_path / "network"
    network.save(path)
    whole = path.read_bytes()
    with np.load(path) as archive:
        text = archive["network"].tobytes()  # long, and one checksum is over all of it
    start = whole.index(text)
    for place in (*range(start), *range(start, start + len(text), 16), *range(start + len(text), len(whole))):
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


def test_a_newer_file_says_so(saved):
    _, path = saved
    rewrite(path, lambda description: description.update(version=99, novelty=True))
    with refusal(path, "expected format version 2 or older, got 99"):
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


def write_claiming(path, size, is_packed):
    """Write 6 weights whose header and zip entry claim `size` bytes; if `is_packed`, the packed size is as large."""
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


HUGE = 1 << 23  # bytes that each of these files claims or unpacks to
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
