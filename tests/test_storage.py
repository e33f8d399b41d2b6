"""A saved network comes back as it was, and a file that holds none is refused with one sentence that names it."""

import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from networks import bits, small_problem
from tolerances import assert_same_bits
from twins import parameters

import cnnx
from cnnx import Conv3x3, MaxPool2, Sequential, Softmax
from cnnx.models import article_cnn

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


def test_saving_where_no_file_can_be_is_an_os_error(tmp_path):
    network, _, _ = small_problem()
    with pytest.raises(FileNotFoundError, match="absent"):
        network.save(tmp_path / "absent" / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        network.save(tmp_path / "folder")
    assert listing(tmp_path) == ["folder"]


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        cnnx.load(tmp_path / "absent")


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
    "empty": np.zeros(0),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_an_array_that_does_not_fit_its_layer_is_refused(saved, kind):
    _, path = saved
    rewrite(path, **{"0.filters": BAD_ARRAYS[kind]})
    with refusal(path):
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
