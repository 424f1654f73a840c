#!/usr/bin/env python
"""Makes the notebooks in colab/ from the scripts beside them: `python scripts/make_notebooks.py [--check]`.

Each .py is in jupytext's percent format; the .ipynb made from it has no outputs, runs in a python3 kernel and opens in
Colab. `--check` writes nothing and tells which are out of step. Needs the extra `notebooks`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jupytext
import nbformat

FOLDER = Path(__file__).resolve().parents[1] / "colab"


def make_notebook(script: Path) -> str:
    """Makes the content of a notebook; the same script gives the same text.

    Args:
      script: in percent format.

    Returns:
      JSON, format 4.5.
    """
    notebook = jupytext.read(script, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell["metadata"].pop("lines_to_next_cell", None)
    notebook["metadata"] = {
        "colab": {"provenance": [], "toc_visible": True},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def find_scripts(folder: Path = FOLDER) -> list[Path]:
    """Lists the scripts that are notebooks."""
    return sorted(folder.glob("*.py"))


def find_stale(folder: Path = FOLDER) -> list[str]:
    """Lists the notebooks that are missing, out of step, or have no script.

    Args:
      folder: with scripts and notebooks.

    Returns:
      File names.
    """
    expected = {script.with_suffix(".ipynb").name: make_notebook(script) for script in find_scripts(folder)}
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.ipynb")}
    return sorted(name for name in expected.keys() | there.keys() if expected.get(name) != there.get(name))


def main() -> int:
    """Makes the notebooks, or checks them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if one is out of step")
    if parser.parse_args().check:
        stale = find_stale()
        if stale:
            print(f"out of step: {', '.join(stale)}; python scripts/make_notebooks.py makes them", file=sys.stderr)
        return 1 if stale else 0
    for script in find_scripts():
        script.with_suffix(".ipynb").write_text(make_notebook(script), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
