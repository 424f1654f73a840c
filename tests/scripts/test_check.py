"""scripts/check runs what its options say and refuses others."""

import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parent.parent.parent / "scripts" / "check"
LINT = [
    "ruff check .",
    "ruff format --check .",
    "mypy",
    "python scripts/make_tables.py --check",
    "python scripts/make_notebooks.py --check",
]
FAST = [
    "python scripts/choose_tests.py",
    "pytest -q -m not benchmark and not once tests/contracts tests/a.py tests/b.py",
]
# Prints what it is called with; two files where tests are to be chosen.
STAND_IN = """#!/bin/sh
echo "$(basename "$0")" "$@" >>"$LOG"
case "$*" in *choose_tests*) printf 'tests/a.py\\ntests/b.py\\n' ;; esac
"""


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["--fats"], 2), (["--fast", "--lint"], 2)])
def test_options_are_explained_and_others_refused(words, code):
    done = subprocess.run([CHECK, *words], capture_output=True, text=True)
    assert done.returncode == code
    if code:
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    else:
        assert done.stdout.startswith("Usage: scripts/check [--lint | --fast]\n")
        assert done.stdout.endswith("Nothing is installed.\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], [*LINT, "sphinx-build", "pytest"]), (["--lint"], LINT), (["--fast"], [*LINT, *FAST])],
)
def test_each_form_runs_its_parts(words, expected, tmp_path):
    for name in ("ruff", "mypy", "python", "pytest", "sphinx-build"):
        (tmp_path / name).write_text(STAND_IN)
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log)}
    subprocess.run([CHECK, *words], env=environment, check=True, capture_output=True)
    lines = ["sphinx-build" if line.startswith("sphinx-build") else line for line in log.read_text().splitlines()]
    assert lines == expected
