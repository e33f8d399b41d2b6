"""What users write passes type checkers: the code of the README and of docs/, `user_code.py`, and a package.

The functions on the pages have no annotations. Their calls of cnnx are checked all the same.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import NEEDED

import cnnx

HERE = Path(__file__).parent
ROOT = next(folder for folder in HERE.parents if (folder / "pyproject.toml").exists())
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]  # the sdist has no docs/
BELTWATCH = ROOT / "examples/embedding/src/beltwatch"  # the sdist has no examples/
PACKAGES = Path(cnnx.__file__).parents[1]  # the folder that cnnx is imported from


def needs(tool):
    found = importlib.util.find_spec(tool) is not None
    return pytest.mark.skipif(not found, reason=f"{tool} is not installed")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Return a folder with the code to check: a file for each page that has some."""
    folder = tmp_path_factory.mktemp("programs")
    for page in PAGES:
        if importlib.util.find_spec(NEEDED.get(page.stem, "cnnx")) is None:
            continue
        if blocks := re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE):
            (folder / f"{page.stem.replace('-', '_')}.py").write_text("\n".join(blocks), "utf-8")
    assert (folder / "README.py").exists()
    (folder / "user_code.py").write_text((HERE / "user_code.py").read_text())
    if BELTWATCH.exists():
        shutil.copytree(BELTWATCH, folder / "beltwatch")
    return folder


UNTYPED_PACKAGES = "joblib.*,mnist,onnx.*,onnxruntime.*,scipy.*,sklearn.*"
UNTYPED = "disallow_untyped_defs = False\ndisallow_untyped_calls = False\n"  # of functions without annotations


def run_mypy(folder, *files):
    pages = "".join(
        f"[mypy-{Path(file).stem}]\n{UNTYPED}"
        for file in files
        if file not in ("README.py", "beltwatch", "user_code.py")
    )
    (folder / "mypy.ini").write_text(
        f"[mypy]\nstrict = True\n[mypy-{UNTYPED_PACKAGES}]\nignore_missing_imports = True\nfollow_imports = skip\n"
        f"{pages}"
    )
    path = {} if PACKAGES.name == "site-packages" else {"MYPYPATH": str(PACKAGES)}
    cache = folder.parent / "mypy"  # of all tests here: what mypy has read of numpy, it need not read again
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache), *files]
    ended = subprocess.run(command, cwd=folder, env={**os.environ, **path}, capture_output=True, text=True)
    return ended.stdout + ended.stderr


def run_pyright(folder, *files):
    # Types of packages that declare none are not guessed from their code: a guess need not be what they promise.
    config = {"extraPaths": [str(PACKAGES)], "include": files, "useLibraryCodeForTypes": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--warnings"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return ended.stdout + ended.stderr


CHECKERS = [
    pytest.param(run_mypy, "Success: no issues found in", marks=needs("mypy"), id="mypy"),
    pytest.param(run_pyright, "0 errors, 0 warnings, 0 informations", marks=needs("pyright"), id="pyright"),
]


@pytest.mark.parametrize(("check", "success"), CHECKERS)
def test_documented_code_passes_type_checkers(programs, check, success):
    packages = [path.parent.name for path in programs.glob("*/__init__.py")]
    output = check(programs, *sorted(path.name for path in programs.glob("*.py")), *packages)
    assert success in output, output


WRONG = {
    "conv.forward('image')": "forward",
    "softmax.backprop(image)": "learn_rate",
    "cnnx.Conv3x3(8, padding='full')": "padding",
    "cnnx.Conv3x3(8, rng=0.5)": "rng",
    "network.fit(image, image)": "epochs",
    "cnnx.data.lod()": "lod",
    "cnnx.referense": "referense",
    "network.summary().shape": "shape",
}


@pytest.mark.parametrize(("check", "success"), CHECKERS)
def test_wrong_code_does_not(tmp_path, check, success):
    lines = ["import cnnx", "import numpy as np", "image = np.zeros((28, 28))", "conv = cnnx.Conv3x3(8)"]
    lines += ["softmax = cnnx.Softmax(4, 2)", "network = cnnx.Sequential([conv, softmax])"]
    (tmp_path / "wrong.py").write_text("\n".join([*lines, *WRONG]))
    output = check(tmp_path, "wrong.py")
    assert success not in output
    for number in range(len(lines) + 1, len(lines) + len(WRONG) + 1):
        assert f"wrong.py:{number}:" in output, output


def test_the_code_of_a_user_runs():
    subprocess.run([sys.executable, HERE / "user_code.py"], check=True, capture_output=True)
