"""How Sphinx builds these pages: `nox -s docs`."""

from inspect import signature
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

import cnnx

project = "cnnx"
author = "the cnnx authors"
version = release = cnnx.__version__
html_theme = "furo"
html_title = f"cnnx {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 2  # links to headings, as in article.md#the-digits
default_role = "py:obj"  # the docstrings' `Conv3x3` is a link
autodoc_member_order = "bysource"
autodoc_typehints, napoleon_attr_annotations = "none", False  # the docstrings give types, with shapes
autodoc_preserve_defaults = True


def arguments_of(_app: Sphinx, what: str, _name: str, documented: Any, *_: Any) -> tuple[str, str] | None:
    """Return a class's arguments from its `__init__`. A layer's `__new__`, where Sphinx looks first, takes any."""
    if what != "class" or "__init__" not in vars(documented):
        return None
    of_init = signature(documented.__init__)
    without_self = of_init.replace(parameters=list(of_init.parameters.values())[1:])
    return stringify_signature(without_self, show_annotation=False).replace("<class 'numpy.float64'>", "np.float64"), ""


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", arguments_of)
