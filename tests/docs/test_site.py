"""The site's build is strict: each kind of fault, planted in a small copy, fails it, and the copy without them passes.

The site itself is built by `scripts/build_docs`, which `scripts/check` runs.
"""

import importlib.util
import os
import re
import shutil
import subprocess

import pytest

from tests.docs.markdown_pages import ROOT

MODULE = '''"""A module."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float

__all__ = ["Thing", "make_thing"]


class Thing:
    """A thing."""

    def turn(self) -> None:
        """Turns."""


def make_thing(tokens: Float[Array, "B N"] | np.ndarray, *, size: Float[Array, "B *axes"] | None = None) -> Thing:
    """Makes a `Thing`."""
    return Thing()
'''
INDEX = """# Index

[a page](page.md), [an anchor](page.md#a-heading), [one here](#index), [a file](../tiny.py), ![a picture](picture.png)

```{toctree}
page
```
"""
PAGE = """# Page

## A heading

```{eval-rst}
.. automodule:: tiny
   :members:
```
"""
# What is planted: in which file, in place of what, and what the build says.
FAULTS = {
    "dead link": ("docs/index.md", "(page.md)", "(gone.md)", "'gone.md'"),
    "missing anchor": ("docs/index.md", "#a-heading", "#no-heading", "'no-heading'"),
    "missing anchor here": ("docs/index.md", "(#index)", "(#nowhere)", "'nowhere'"),
    "missing file": ("docs/index.md", "(../tiny.py)", "(../gone.py)", "'../gone.py'"),
    "missing picture": ("docs/index.md", "(picture.png)", "(gone.png)", "image file not readable: docs/gone.png"),
    "page that nothing lists": ("docs/alone.md", "", "# Alone\n", "document isn't included in any toctree"),
    "function without docstring": ("tiny.py", '    """Makes a `Thing`."""\n', "", "tiny.make_thing has no docstring"),
    "method without docstring": (
        "tiny.py",
        '        """Turns."""\n',
        "        pass\n",
        "tiny.Thing.turn has no docstring",
    ),
    "name left out": ("tiny.py", '"Thing", ', '"Thing", "SIZE", ', "leaves out the public name tiny.SIZE"),
}


@pytest.fixture(scope="module", autouse=True)
def _sphinx():
    if importlib.util.find_spec("sphinx") is None:
        message = "the site is not checked: the extra docs is not installed"
        pytest.fail(message) if os.environ.get("VIDTLDR_REQUIRE_DOCS") == "1" else pytest.skip(message)


def make_site(folder):
    docs = folder / "docs"
    shutil.copytree(ROOT / "docs" / "extensions", docs / "extensions")
    for name in ("static", "templates"):
        shutil.copytree(ROOT / "docs" / name, docs / name)
    settings = (ROOT / "docs" / "conf.py").read_text() + '\npublic_modules = ["tiny"]\n'
    for name, text in {"conf.py": settings, "index.md": INDEX, "page.md": PAGE}.items():
        (docs / name).write_text(text)
    shutil.copy(ROOT / "docs" / "images" / "operator-merging.png", docs / "picture.png")
    (folder / "tiny.py").write_text(MODULE)
    return folder


def build_site(folder):
    command = re.search(r"^(sphinx-build .*) \"\$@\"$", (ROOT / "scripts" / "build_docs").read_text(), re.MULTILINE)[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """One build with all faults at once: each takes seconds to start."""
    folder = make_site(tmp_path_factory.mktemp("faulty"))
    for page, right, wrong, _ in FAULTS.values():
        text = (folder / page).read_text() if (folder / page).exists() else ""
        assert right in text
        (folder / page).write_text(text.replace(right, wrong) if right else wrong)
    source = (folder / "tiny.py").read_text()
    (folder / "tiny.py").write_text(source + "\n\nSIZE = 3\n")
    return build_site(folder)


def test_a_site_without_faults_is_built(tmp_path):
    finished = build_site(make_site(tmp_path))
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    html = (tmp_path / "docs" / "_build" / "html" / "docs" / "page.html").read_text()
    assert 'href="#tiny.Thing"' in html  # what a docstring has in backticks leads to it
    text = " ".join(re.sub(r"<[^>]*>", "", html).replace("&#39;", "'").split())
    assert "tokens: Float[Array, 'B N'] | ndarray" in text
    assert "size: Float[Array, 'B *axes'] | None = None" in text


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_the_site(fault, faulty):
    assert faulty.returncode != 0
    assert [line for line in faulty.stderr.splitlines() if "WARNING" in line and FAULTS[fault][3] in line]


def test_every_warning_is_of_a_planted_fault(faulty):
    # What has no docstring is left out of the reference, too.
    expected = [*(message for _, _, _, message in FAULTS.values()), "leaves out the public name tiny."]
    said = [line for line in faulty.stderr.splitlines() if "WARNING" in line]
    assert [line for line in said if not any(message in line for message in expected)] == []
