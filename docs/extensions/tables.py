"""Marks short cells of tables, so that a number and its spread stay on one line; `static/site.css` says the rest."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_SHORT = 16


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the mark."""
    app.connect("doctree-read", mark_short_cells)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def mark_short_cells(app: Sphinx, document: nodes.document) -> None:
    """Gives cells of few letters the class "short"."""
    for cell in document.findall(nodes.entry):
        if len(cell.astext()) <= _SHORT:
            cell["classes"].append("short")
