"""Runs the install cell of a notebook as it stands, and makes sure that it left JAX alone.

    python scripts/run_install_cell.py colab/quick_start.ipynb

For an environment of its own that has JAX and not this package; where pip finds the package is said by pip's own
settings, such as PIP_FIND_LINKS. Needs nothing but Python.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path


def read_install_cell(notebook: Path) -> str:
    """Returns the source of a notebook's first code cell."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "code"))


def main() -> None:
    """Runs the cell and compares JAX's versions before and after."""
    before = {name: metadata.version(name) for name in ("jax", "jaxlib")}
    exec(compile(read_install_cell(Path(sys.argv[1])), sys.argv[1], "exec"), {"__name__": "__main__"})
    after = {name: metadata.version(name) for name in before}
    if after != before:
        sys.exit(f"JAX stays as it was, {before}; it is {after} now; fix the cell.")
    print(f"installed vidtldr-jax {metadata.version('vidtldr-jax')} and left {before} alone")


if __name__ == "__main__":
    main()
