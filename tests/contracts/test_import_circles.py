"""No module imports one that imports it, also where the import waits inside a function."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("vidtldr_jax", "checkpoints_convert", "benchmarks", "scripts", "configs", "examples", "colab", "docs")


def find_modules(root):
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def walk(node):
    """Yields what runs; imports under TYPE_CHECKING are for type checkers alone."""
    yield node
    is_typing = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    for child in node.orelse if is_typing else ast.iter_child_nodes(node):
        yield from walk(child)


def find_imported(source, modules):
    """Returns the modules that a file imports; `from a import b` is a.b where that is a module, else a."""
    found = set()
    for node in walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & modules or {node.module}
    return found & modules


def find_circle(root):
    """Returns the modules of one circle, or nothing."""
    modules = dict(find_modules(root))
    graph = {name: find_imported(path.read_text(), modules.keys()) for name, path in modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_module_is_in_a_circle_of_imports():
    names = {name for name, _ in find_modules(ROOT)}
    assert {"vidtldr_jax", "vidtldr_jax.ops.saliency", "benchmarks.fidelity", "scripts.fuzz.campaign"} <= names
    assert find_circle(ROOT) == []


@pytest.mark.parametrize(
    ("one", "other", "is_circle"),
    [
        ("import scripts.other", "from scripts.one import f", True),
        ("from scripts import other", "from scripts import one", True),
        ("from scripts import other", "def f():\n    from scripts.one import g", True),
        ("from scripts import other", "import numpy", False),
        ("from scripts import other", "if TYPE_CHECKING:\n    from scripts.one import f", False),
        ("import scripts.other", "if TYPE_CHECKING:\n    import json\nelse:\n    import scripts.one", True),
    ],
)
def test_a_circle_is_found_and_what_only_looks_like_one_is_not(one, other, is_circle, tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "one.py").write_text(one)
    (tmp_path / "scripts" / "other.py").write_text(other)
    assert bool(find_circle(tmp_path)) == is_circle
