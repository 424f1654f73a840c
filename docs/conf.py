"""How Sphinx makes the site; `scripts/build_docs` is the command.

The source folder is the repository's root, so that the pages are the Markdown files as they lie and a relative link
means the same on a code host and in the site: to a page it leads there, to another file it offers it, all others fail.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

import vidtldr_jax  # noqa: E402

project = "vidtldr-jax"
author = "The vidtldr-jax authors"
copyright = "the vidtldr-jax authors, Apache-2.0"
version = release = vidtldr_jax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "public_names", "command_line", "tables"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "benchmarks/**.md", "colab/**.md", "scripts/**.md"]
exclude_patterns = ["docs/_build", ".*"]

# All that `__all__` names in these must be in the reference.
public_modules = [
    "vidtldr_jax",
    "vidtldr_jax.ops",
    "vidtldr_jax.reduction",
    "vidtldr_jax.models",
    "vidtldr_jax.data",
    "vidtldr_jax.inference",
    "vidtldr_jax.train",
    "vidtldr_jax.visualize",
    "checkpoints_convert",
]

# A missing page, anchor, image or public name is a warning, and warnings fail the build. Exceptions are types of other
# packages, whose sites are not asked so that building needs no network, and the converter's own records, which a
# `Source` and a `ConversionPlan` carry.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!vidtldr_jax|checkpoints_convert).*"),
    (r"py:class", r"checkpoints_convert\.(tensors|families\.family|facts|rules)\..*"),
]

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

autoclass_content = "both"
autodoc_member_order = "groupwise"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Reference", "Deviation"]
maximum_signature_line_length = 90
default_role = "name_or_code"
smartquotes_action = "D"  # dashes alone

html_theme = "furo"
html_title = f"vidtldr-jax {release}"
html_show_sourcelink = False
html_copy_source = False
templates_path = ["templates"]
html_additional_pages = {"index": "to_first_page.html"}
html_static_path = ["static"]
html_css_files = ["site.css"]
