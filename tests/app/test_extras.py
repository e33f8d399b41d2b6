"""A module whose extra is not installed says in one line what to install."""

import subprocess
import sys

import pytest

EXTRAS = {
    "onnx": ("onnx", "onnx"),
    "pictures": ("PIL", "Pillow 10.1 or newer"),
    "plot": ("matplotlib", "matplotlib 3.8 or newer"),
    "sklearn": ("sklearn", "scikit-learn 1.6 or newer"),
}


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_package_is_named(module):
    package, name = EXTRAS[module]
    use = "cnnx.plot.filters(cnnx.models.article_cnn())" if module == "plot" else ""  # imports when it draws
    program = f"import sys; sys.modules[{package!r}] = None; import cnnx.{module}; {use}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    line = f"ImportError: cnnx.{module} needs {name}, which is not installed (pip install 'cnnx[{module}]')"
    assert ended.stderr.splitlines()[-1] == line


@pytest.mark.parametrize("module", EXTRAS)
def test_plain_cnnx_imports_no_extra(module):
    package, _ = EXTRAS[module]
    program = f"import sys, cnnx, cnnx.train, cnnx.data, cnnx.models, cnnx.storage; print({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"


def test_missing_mpi_is_named():
    program = "import sys; sys.modules['mpi4py'] = None; from cnnx.train import main; sys.exit(main(['--mpi']))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    line = "--mpi needs mpi4py with an MPI library, which is not installed (pip install 'cnnx[mpi]')"
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"cnnx.train: error: {line}\n"
