"""How Sphinx builds the site: `make docs`.

The source folder is the root of the repository, so that links between README.md, docs/ and weights/
are the same on the site and on GitHub.
"""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

import ticodec

project = "ticodec"
version = release = ticodec.__version__
author = "The ticodec authors"
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
include_patterns = ["*.md", "docs/*.md", "weights/*.md"]
exclude_patterns = [".*", "build", "dist", "demo", "runs", "tests", "**/__pycache__"]
root_doc = "docs/index"

html_theme = "furo"
html_title = f"ticodec {version}"
html_copy_source = False
html_show_sourcelink = False

myst_heading_anchors = 4  # links such as `results.md#effort` work, as on GitHub
nitpicky = True
# Types of other packages, and internal ones in signatures, have no page here.
nitpick_ignore_regex = [("py:class", r"(?!ticodec\.).*|ticodec\.(container|weights)\..*")]
# Pygments cannot highlight every dump and message in the documents.
suppress_warnings = ["misc.highlighting_failure"]

default_role = "code"  # docstrings write `code` as Markdown does
autodoc_type_aliases = {name: name for name in ("ImageLike", "Quality")}  # python.md explains them
maximum_signature_line_length = 80
napoleon_numpy_docstring = False


def write_first_page(app: Sphinx, error: Exception | None) -> None:
    """Let index.html at the top of the site lead to its first page, which is in docs/."""
    if error is None and app.builder.format == "html":
        page = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">\n'
        Path(app.outdir, "index.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.connect("build-finished", write_first_page)
