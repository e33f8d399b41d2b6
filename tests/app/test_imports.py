"""`import cnnx` is all that a program needs to import, and it brings no more than it must."""

import os
import subprocess
import sys

import pytest

import cnnx


def printed(program):
    """Return what a program prints in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_every_module_is_there_after_import_cnnx():
    """Each name is looked up in a process of its own, so no earlier import helps."""
    names = [
        "convert",
        "reference",
        "storage",
        "train",
        "data",
        "models",
        "plot",
        "progress",
        "schedules",
        "layers",
        "loss",
    ]
    program = f"""
import os, cnnx
for name in {names}:
    if os.fork() == 0:
        print(getattr(cnnx, name).__name__, flush=True)
        os._exit(0)
    os.wait()
"""
    assert printed(program).split() == [f"cnnx.{name}" for name in names]


AT_FIRST_USE = [
    "convert",
    "data",
    "models",
    "plot",
    "progress",
    "reference",
    "storage",
    "train",
]  # and the training loop, at the first `fit`


def test_what_few_need_is_imported_at_its_first_use():
    program = f"""
import sys, numpy
before = "numpy.ma" in sys.modules  # some versions of numpy import it themselves
import cnnx
def imported():
    return [name for name in {[*AT_FIRST_USE, "_training"]} if f"cnnx.{{name}}" in sys.modules]
print(imported(), set({AT_FIRST_USE}) <= set(dir(cnnx)))
cnnx.reference
print(imported())
network = cnnx.Sequential([cnnx.Softmax(4, 2)])
images = cnnx.layers.base.np.zeros((1, 2, 2))
network.predict(images)
print(imported())
network.fit(images, images[0, 0, :1].astype(int), epochs=1, learn_rate=0.1)
print(imported(), ("numpy.ma" in sys.modules) == before)
"""
    lines = ["[] True", "['reference']", "['reference']", "['reference', '_training'] True"]
    assert printed(program).splitlines() == lines


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'cnnx' has no attribute 'referense'$"):
        _ = cnnx.referense


def test_importing_runs_nothing():
    command = [sys.executable, "-c", "import cnnx.train, cnnx; print(cnnx.active_target())"]
    process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (process.stdout, process.stderr) == (f"{cnnx.active_target()}\n", "")
