"""How Sphinx builds these pages: `nox -s docs`."""

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
autodoc_typehints = "none"  # the docstrings give types with shapes
