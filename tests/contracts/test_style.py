"""Files stay short; what is public says what it takes, returns and raises."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted(path for package in ("vidtldr_jax", "checkpoints_convert") for path in (ROOT / package).rglob("*.py"))
FOLDERS = ("vidtldr_jax", "checkpoints_convert", "tests", "benchmarks", "scripts", "configs", "colab", "docs")
FUNCTION_PACKAGES = ("ops", "reduction", "models")


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_longer_than_400_lines(folder):
    files = [path for path in (ROOT / folder).rglob("*.py") if "_build" not in path.parts]
    assert files
    assert [str(path) for path in files if len(path.read_text().splitlines()) >= 400] == []


def find_docstring_faults(tree):
    """Public module-level functions with parameters need Args with each of them, Returns, and Raises if they raise."""
    faults = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        text = ast.get_docstring(node) or ""
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        one_liner = "\n" not in text and len(names) <= 4 and text.endswith(".")
        if not text:
            faults.append(f"{node.name} has no docstring")
        elif not one_liner:
            faults += [f"{node.name} does not say what {name} is" for name in names if f"\n  {name}: " not in text]
            returns = node.returns is not None and not (
                isinstance(node.returns, ast.Constant) and node.returns.value is None
            )
            if returns and "\nReturns:\n" not in text:
                faults.append(f"{node.name} does not say what it returns")
        raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        if raises and "Raises:\n" not in text:
            faults.append(f"{node.name} raises and does not say so")
    return faults


@pytest.mark.parametrize("package", FUNCTION_PACKAGES)
def test_public_functions_say_what_they_take_and_return(package):
    paths = sorted((ROOT / "vidtldr_jax" / package).glob("*.py"))
    faults = {path.name: find_docstring_faults(ast.parse(path.read_text())) for path in paths}
    assert {name: found for name, found in faults.items() if found} == {}


def test_a_function_that_says_too_little_is_found():
    source = 'def f(a, b) -> int:\n  """Does.\n\n  Args:\n    a: first.\n  """\n  raise ValueError\n'
    assert find_docstring_faults(ast.parse(source)) == [
        "f does not say what b is", "f does not say what it returns", "f raises and does not say so",
    ]  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_is_no_utils(path):
    assert path.stem not in ("utils", "helpers", "common", "misc")
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_every_name_a_package_exports_exists_and_is_sorted():
    for name in FUNCTION_PACKAGES:
        package = __import__(f"vidtldr_jax.{name}", fromlist=["__all__"])
        exported = [n for n in package.__all__ if not n.isupper()]
        assert all(hasattr(package, n) for n in package.__all__)
        assert len(set(exported)) == len(exported)


def test_the_library_s_operators_do_not_jit():
    for package in ("ops", "reduction", "models"):
        for path in (ROOT / "vidtldr_jax" / package).glob("*.py"):
            # A trial on a few numbers is compiled apart from whoever asks for it; it is no operator.
            assert ("jax.jit" in path.read_text()) == (path.stem == "attention_trial"), path
