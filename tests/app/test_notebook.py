"""The notebook for beginners runs from top to bottom, and reads as many digits as it says."""

import json
import os
import re
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra all)")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra all)")
pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra all)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plot)")

NOTEBOOK = (
    next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists()) / "examples/article.ipynb"
)
HAS_MNIST = "CNNX_DATA" in os.environ  # the folder with all of MNIST
SECONDS = 120  # for a cell, on a busy machine
pytestmark = pytest.mark.skipif(not NOTEBOOK.exists(), reason="the sdist has no examples/")


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Run all cells in an empty folder. Without MNIST, the sample takes its place as the notebook says."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if not HAS_MNIST:
        (cell,) = (cell for cell in notebook.cells if 'SOURCE = "mnist"' in cell.source)
        cell.source = cell.source.replace('SOURCE = "mnist"', 'SOURCE = "sample"')
    folder = str(tmp_path_factory.mktemp("notebook"))
    nbclient.NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}).execute()
    return notebook


def shown(notebook, kind):
    return [
        output.data[kind]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if kind in output.get("data", {})
    ]


def test_it_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert all(
        (cell["execution_count"], cell["outputs"]) == (None, []) for cell in cells if cell["cell_type"] == "code"
    )


def test_it_reaches_what_it_promises(executed):
    printed = "".join(
        output.text for cell in executed.cells for output in cell.get("outputs", ()) if output.get("name") == "stdout"
    )
    first, second = (float(share) for share in re.findall(r"([\d.]+)% of the test digits are right", printed))
    assert second > first
    assert second > (98.8 if HAS_MNIST else 96.5)  # it says about 99% and about 98%


def test_its_pictures_are_shown(executed):
    calls = sum(cell.source.startswith("plot.") for cell in executed.cells if cell.cell_type == "code")
    assert calls > 5
    assert len(shown(executed, "image/png")) == calls + 1  # and the first digits
    assert len(shown(executed, "text/html")) >= 2  # the networks


def test_it_warns_of_nothing(executed):
    errors = [
        output.text for cell in executed.cells for output in cell.get("outputs", ()) if output.get("name") == "stderr"
    ]
    assert [text for text in errors if "arning" in text] == []
