"""Files of saved networks, written by hand, and the error of those that hold none."""

import json
import zipfile

import numpy as np
import pytest


def refusal(path, reason="expected a network saved by cnnx"):
    """Expect the one error of a file that is no network."""
    return pytest.raises(ValueError, match=rf"^{path}: {reason}[^\n]*$")


def rewrite(path, change_description=lambda _: None, **arrays):
    """Write a saved network anew with another description, and arrays replaced (None: left out)."""
    with np.load(path) as archive:
        kept = {name: archive[name] for name in archive.files}
    description = json.loads(str(kept["network"]))
    description = change_description(description) or description
    kept = {**kept, "network": np.array(json.dumps(description)), **arrays}
    with path.open("wb") as file:
        np.savez(file, **{name: array for name, array in kept.items() if array is not None})


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


SMALL_LAYER = described(layer="Softmax", input_len=2, nodes=3)
