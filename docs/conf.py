"""Configuration of the documentation: ``python -m sphinx -W --keep-going -b html docs docs/_build/html``."""

from __future__ import annotations

import os
from typing import Any

from docutils import nodes

import sk_linear_losses

# The examples are small: a second thread of BLAS would only slow them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "sk_linear_losses"
author = "The sk_linear_losses developers"
project_copyright = author
version = release = sk_linear_losses.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # formulas without a network, for readers too
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
default_role = "literal"
smartquotes = False  # default="hinge" is code
templates_path = ["_templates"]

# Nothing is fetched: no intersphinx, no remote images, no remote scripts.
mathjax_path = "mathjax/tex-chtml.js"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings give types and shapes
numpydoc_show_class_members = False  # each class has a page that lists its methods

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf: dict[str, Any] = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "FileNameSortKey",
    "reference_url": {"sk_linear_losses": None},
    "doc_module": ("sk_linear_losses",),
    "backreferences_dir": "api/generated/backreferences",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "matplotlib_animations": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"sk_linear_losses {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_theme_options: dict[str, Any] = {
    "logo": {"text": "sk_linear_losses"},
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "secondary_sidebar_items": ["page-toc"],
}
# Pages without siblings have no use for a sidebar on the left, and the code of the examples needs its room.
html_sidebars: dict[str, list[str]] = {
    page: []
    for page in (
        "index",
        "getting_started",
        "auto_examples/*",
        "benchmarks",
        "migrating",
        "adding_a_loss",
        "changelog",
    )
}


def end_blocks_with_text(app: Any, doctree: Any) -> None:
    """Take the blank line off the end of a code block that doctest needs there."""
    for block in doctree.findall(nodes.literal_block):
        text = block.astext()
        if block.rawsource == text:
            block[:] = [nodes.Text(text.rstrip("\n"))]
            block.rawsource = text.rstrip("\n")


def setup(app: Any) -> None:
    """Connect the function above."""
    app.connect("doctree-read", end_blocks_with_text)
