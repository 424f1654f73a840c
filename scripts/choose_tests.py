"""Prints the test files of what has changed since main, committed or not: a few, for `scripts/check --fast`.

    python scripts/choose_tests.py

A changed test file is its own; a changed module has those in the folder of tests with its room's name that are named
after it or import it. What is left out is said on standard error.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_FILES = 4  # more would take longer than a fast check may


def list_changed() -> list[Path]:
    """Returns the files that differ from where this branch left main, relative to the root, and untracked ones."""
    bases = [base for base in ("main", "origin/main") if ask_git("rev-parse", "--verify", "--quiet", base)]
    start = ask_git("merge-base", "HEAD", bases[0]) if bases else ["HEAD"]
    names = ask_git("diff", "--name-only", "--diff-filter=d", *start)
    return [Path(name) for name in [*names, *ask_git("ls-files", "--others", "--exclude-standard")]]


def ask_git(*words: str) -> list[str]:
    """Returns the lines that git prints; none where it fails."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()


def find_tests(changed: Path, root: Path = ROOT) -> list[Path]:
    """Returns the test files of one changed file, relative to the root; those that are named after it come first."""
    if changed.suffix != ".py":
        return []
    if changed.parts[0] == "tests" and changed.name.startswith("test_"):
        return [changed]
    inside = changed.parts[1:-1] if changed.parts[0] in ("vidtldr_jax", "tests") else changed.parts[:-1]
    module = ".".join(changed.with_suffix("").parts)
    package, _, name = module.rpartition(".")
    imports = re.compile(rf"\b{re.escape(module)}\b|\bfrom {re.escape(package)} import .*\b{name}\b")
    tests = sorted((root / "tests").joinpath(*inside[:1]).rglob("test_*.py"))
    named = [path for path in tests if path.stem.startswith(f"test_{name}")]
    importing = [path for path in tests if path not in named and imports.search(path.read_text(encoding="utf-8"))]
    return [path.relative_to(root) for path in (*named, *importing)]


def choose_tests(changed: Iterable[Path], root: Path = ROOT) -> tuple[list[Path], list[Path]]:
    """Returns the test files to run, the nearest one of each changed file first, and those that are left out."""
    by_file = sorted((find_tests(path, root) for path in changed), key=len)
    found = dict.fromkeys(path for turn in itertools.zip_longest(*by_file) for path in turn if path)
    tests = [path for path in found if path.parts[:2] != ("tests", "contracts")]  # those run anyway
    return tests[:MOST_FILES], tests[MOST_FILES:]


def main() -> None:
    """Prints the files, one a line."""
    tests, rest = choose_tests(list_changed())
    print(*tests, sep="\n")
    if rest:
        print(f"choose_tests: left to scripts/check are {len(rest)} files, such as {rest[0]}", file=sys.stderr)


if __name__ == "__main__":
    main()
