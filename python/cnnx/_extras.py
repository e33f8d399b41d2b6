"""What a module says if the package of its extra is missing."""

from __future__ import annotations


def missing(module: str, extra: str, package: str) -> ImportError:
    """Return the error for a module of cnnx that needs a package which is not installed."""
    return ImportError(f"{module} needs {package}, which is not installed (pip install 'cnnx[{extra}]')")
