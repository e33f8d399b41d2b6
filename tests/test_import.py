"""`import cnnx` is all that a program needs to import, and it brings no more than it must."""

import subprocess
import sys

import pytest


def printed(program):
    """Return what a program prints in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["reference", "storage", "train", "data", "models", "schedules", "layers", "loss"])
def test_every_module_is_there_after_import_cnnx(name):
    assert printed(f"import cnnx; print(cnnx.{name}.__name__)") == f"cnnx.{name}\n"


def test_what_few_need_is_imported_at_its_first_use():
    program = """
import sys, cnnx
names = "reference", "storage", "train"
print([name for name in names if f"cnnx.{name}" in sys.modules], [name in dir(cnnx) for name in names])
cnnx.reference
print([name for name in names if f"cnnx.{name}" in sys.modules])
"""
    assert printed(program) == "[] [True, True, True]\n['reference']\n"


def test_a_name_that_is_not_there_is_an_attribute_error():
    program = "import cnnx\ntry: cnnx.referense\nexcept AttributeError as error: print(error)"
    assert printed(program) == "module 'cnnx' has no attribute 'referense'\n"
