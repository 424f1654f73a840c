"""The README tells the truth: its commands exist, its links lead somewhere; test_code_blocks.py runs its code."""

import glob
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_method_of_ones_own_in_the_docs_runs():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "methods.md").read_text(), flags=re.DOTALL)
    names = {}
    exec(compile(block, "docs/methods.md", "exec"), names)
    assert names["model"].schedule.title == "100,40 by longest"


def test_the_docs_list_every_method():
    from vidtldr_jax.reduction import METHODS

    text = (ROOT / "docs" / "methods.md").read_text()
    assert re.findall(r"^\| `(\w+)`", text, flags=re.MULTILINE) == list(METHODS)


def test_the_first_example_names_the_motion_in_both_forms(capsys):
    names = {}
    exec(compile(PYTHON_BLOCKS[0], "README example 0", "exec"), names)
    described, merged, plain = capsys.readouterr().out.splitlines()
    assert re.match(r"r = 100,40: 288 -> 148 tokens over 4 layers", described)
    assert merged.startswith(plain)
    exec(compile(PYTHON_BLOCKS[1], "README example 1", "exec"), names)
    np.testing.assert_allclose(names["logits"], names["out"].logits, atol=1e-4)


def test_the_examples_are_as_short_as_promised():
    assert len(PYTHON_BLOCKS) == 3
    assert len([line for line in PYTHON_BLOCKS[0].splitlines() if line.strip()]) <= 15


FOLDERS = ("docs", "colab", "scripts/moving_objects")
DOCUMENTS = ["README.md", "CONTRIBUTING.md"]
DOCUMENTS += [f"{folder}/{path.name}" for folder in FOLDERS for path in (ROOT / folder).glob("*.md")]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_to_a_file(document):
    text = (ROOT / document).read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []
    if document == "README.md":
        assert links


def test_every_script_that_is_named_exists():
    text = "".join((ROOT / document).read_text() for document in DOCUMENTS)
    scripts = set(re.findall(r"(?:python |`)((?:scripts|benchmarks|\.ci)/[\w/.]+)", text))
    assert scripts
    assert [script for script in scripts if not (ROOT / script).exists()] == []


def test_every_command_that_is_named_exists():
    from vidtldr_jax.cli.main import cli

    text = "".join((ROOT / document).read_text() for document in DOCUMENTS)
    named = set(re.findall(r"vidtldr ([a-z]+)", text))
    assert named >= {"demo", "classify", "convert", "info", "benchmark"}
    assert named <= set(cli.commands)


def test_every_path_of_the_table_of_development_is_there():
    words = re.findall(
        r"\b(?:tests|benchmarks|scripts|docs)/[-\w./*{},]+", (ROOT / "docs" / "development.md").read_text()
    )
    paths = [path for word in words for path in _spread(word.rstrip(".,"))]
    assert len(paths) > 60
    is_made = re.compile("docs/_build/.*")  # by scripts/build_docs, which a fresh clone has not run
    assert [path for path in paths if not is_made.fullmatch(path) and not glob.glob(path, root_dir=ROOT)] == []


def _spread(word):
    """A shell's braces: a/test_{b,c}.py -> a/test_b.py, a/test_c.py."""
    found = re.fullmatch(r"(.*)\{(.*)\}(.*)", word)
    return [word] if found is None else [found[1] + part + found[3] for part in found[2].split(",")]
