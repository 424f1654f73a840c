"""Every notebook runs from top to bottom in a fresh kernel, and is what its script makes of it."""

import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import vidtldr_jax
from scripts.make_notebooks import FOLDER, find_scripts, find_stale
from tests.reference.files import require_module

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["quick_start", "retrieval", "your_model", "your_weights"]
SOURCE = re.compile(r'^source = "vidtldr-jax(\[\w+\])?==(?P<version>[^"]+)"  # @param \{type:"string"\}$', re.MULTILINE)
pytestmark = pytest.mark.once


def read_notebook(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def run_notebook(notebook, folder, **environment):
    """Runs all cells in a fresh kernel, with the package that is tested; returns what each cell printed and showed."""
    install = notebook.cells[1]
    install.source, changed = SOURCE.subn('source = ""', install.source)
    assert changed == 1
    paths = {name: str(folder) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "TMPDIR")}
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute(
        env=os.environ | paths | {"PYTHONPATH": str(ROOT), **environment}
    )
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def read_text(outputs):
    return "".join(output.text for cell in outputs for output in cell if output.output_type == "stream")


def list_shown(outputs):
    """Lists the MIME types that were displayed, and the HTML."""
    shown = [output.data for cell in outputs for output in cell if output.output_type == "display_data"]
    return [kind for data in shown for kind in data if kind != "text/plain"], "".join(
        data.get("text/html", "") for data in shown
    )


def test_every_notebook_is_what_its_script_makes():
    assert [script.stem for script in find_scripts()] == NAMES
    assert find_stale() == []


def test_a_notebook_that_is_out_of_step_missing_or_without_a_script_is_found(tmp_path):
    for path in FOLDER.iterdir():
        shutil.copy(path, tmp_path)
    assert find_stale(tmp_path) == []
    (tmp_path / "quick_start.py").write_text((tmp_path / "quick_start.py").read_text() + "\n# %%\nprint(1)\n")
    (tmp_path / "retrieval.ipynb").unlink()
    (tmp_path / "your_model.py").unlink()
    assert find_stale(tmp_path) == ["quick_start.ipynb", "retrieval.ipynb", "your_model.ipynb"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_holds_no_outputs_and_opens_in_colab(name):
    notebook = read_notebook(name)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "colab" in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_the_install_cells_are_one_and_install_this_version():
    cells = [read_notebook(name).cells[1].source for name in NAMES]
    assert [SOURCE.search(cell)["version"] for cell in cells] == [vidtldr_jax.__version__] * len(NAMES)
    assert len({SOURCE.sub("", cell) for cell in cells}) == 1


def test_quick_start_compares_and_shows_a_clip(tmp_path):
    outputs = run_notebook(read_notebook("quick_start"), tmp_path)
    text = read_text(outputs)
    assert re.search(r"^plain +288 -> 288 +0\.203 +[\d.]+ +coming together", text, re.MULTILINE)
    assert re.search(r"^merged +288 -> 148 +0\.120 +[\d.]+ +coming together", text, re.MULTILINE)
    assert re.search(r"^merged runs [\d.]+ times as fast as plain here$", text, re.MULTILINE)
    kinds, html = list_shown(outputs)
    assert kinds == ["text/html", "text/html"]
    assert "data:video/mp4;base64," in html
    assert '<iframe srcdoc="' in html


@pytest.mark.parametrize(("random_model", "family"), [("VideoMAE", "videomae"), ("ViViT", "vivit")])
def test_your_weights_converts_checks_and_runs_over_devices(random_model, family, tmp_path):
    require_module("torch")
    require_module("transformers")
    notebook = read_notebook("your_weights")
    (cell,) = [cell for cell in notebook.cells if cell.source.startswith('weights = ""')]
    cell.source = cell.source.replace('random_model = "VideoMAE"', f'random_model = "{random_model}"')
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    text = read_text(run_notebook(notebook, tmp_path, XLA_FLAGS=flags, TRANSFORMERS_OFFLINE="1"))
    assert f"huggingface_{family}: " in text
    assert "same outputs" in text
    assert re.search(r"^tokens \(4, \d+, 96\) bfloat16, over 2 device\(s\)$", text, re.MULTILINE)
    assert re.search(r"^plain, bfloat16 +cosine with plain float32: (0\.999|1\.000)", text, re.MULTILINE)


def test_your_model_merges_and_learns_in_linen_and_nnx(tmp_path):
    text = read_text(run_notebook(read_notebook("your_model"), tmp_path))
    assert "tokens (2, 64, 32) -> (2, 48, 32)" in text
    losses = re.findall(r"^loss ([\d.]+) -> ([\d.]+) after one step", text, re.MULTILINE)
    assert len(losses) == 3
    assert all(float(after) < float(before) for before, after in losses)


def test_retrieval_finds_the_clip_in_python_and_on_the_command_line(tmp_path):
    outputs = run_notebook(read_notebook("retrieval"), tmp_path)
    text = read_text(outputs)
    assert "added 12, errors: none" in text
    found = re.findall(r"(\w+)\.mp4 +(?:similarity +)?-?[\d.]+ +(?:match +)?-?[\d.]+$", text, re.MULTILINE)
    assert len(found) == 6
    assert found[:3] == found[3:]  # index in Python, index on the command line
    assert found[0] == "left"
    assert list_shown(outputs)[0] == ["text/html"]
