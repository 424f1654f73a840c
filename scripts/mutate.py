"""Plants known bugs one at a time in a copy of the package and demands that the tests catch each.

    python scripts/mutate.py            # all
    python scripts/mutate.py tanh size  # those whose name contains one of the words
    python scripts/mutate.py --list

The bugs are in mutations.toml. Each replaces one exact text; a text that is not in its file any more is an error, so
that the list stays true.
Exit code 1 if a bug survives or a text is stale. The tests that should notice run alone, first failure stops them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("vidtldr_jax", "checkpoints_convert", "tests", "pyproject.toml")


class Mutation(NamedTuple):
    """One planted bug.

    Attributes:
      name: what is wrong.
      file: in the package.
      before: text that is in the file exactly once.
      after: what stands there instead.
      tests: file in tests/ that must fail.
      words: pytest's -k, to run only the tests that are meant to notice.
      package: folder of the file.
    """

    name: str
    file: str
    before: str
    after: str
    tests: str
    words: str = ""
    package: str = "vidtldr_jax"


def main() -> int:
    """Runs the chosen mutations and prints a table.

    Returns:
      0 if every bug was caught, else 1.
    """
    parser = argparse.ArgumentParser(description="Plants known bugs and demands that the tests catch each.")
    parser.add_argument("words", nargs="*", default=[""], help="only mutations whose name contains one of these")
    parser.add_argument("--list", action="store_true", help="print names, run nothing")
    arguments = parser.parse_args()
    known = tomllib.loads((ROOT / "scripts" / "mutations.toml").read_text())["mutation"]
    chosen = [mutation for mutation in (Mutation(**entry) for entry in known) if is_asked(mutation, arguments.words)]
    stale = [mutation.name for mutation in chosen if count_places(mutation) != 1]
    if stale:
        print(f"mutate: the text to replace stands once in its file; not so for: {', '.join(stale)}; fix the list.")
        return 1
    if arguments.list:
        print("\n".join(mutation.name for mutation in chosen))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            copy_part(ROOT / name, copy / name)
        survivors = [mutation for mutation in chosen if not is_caught(mutation, copy)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} caught")
    return 1 if survivors or not chosen else 0


def is_asked(mutation: Mutation, words: list[str]) -> bool:
    """Whether a mutation's name contains one of the words."""
    return any(word in mutation.name for word in words)


def count_places(mutation: Mutation) -> int:
    """Says how often the text to replace stands in its file."""
    return (ROOT / mutation.package / mutation.file).read_text().count(mutation.before)


def copy_part(source: Path, destination: Path) -> None:
    """Copies a file or a folder without caches and assets."""
    if source.is_file():
        shutil.copy(source, destination)
    else:
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__", "assets", ".*"))


def is_caught(mutation: Mutation, copy: Path) -> bool:
    """Plants one bug in the copy, runs its tests, takes it out again and prints a row."""
    path = copy / mutation.package / mutation.file
    original = path.read_text()
    path.write_text(original.replace(mutation.before, mutation.after))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-n0",
        "--no-header",
        "-p",
        "no:cacheprovider",
        f"tests/{mutation.tests}",
    ]
    if mutation.words:
        command += ["-k", mutation.words]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "JAX_PLATFORMS": "cpu"}
    start = time.perf_counter()
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    path.write_text(original)
    # 1 is a test that failed; 2 to 5 are an import that broke or no test found, which prove nothing.
    caught = result.returncode == 1
    failed = [line.split(" - ")[0][7:] for line in result.stdout.splitlines() if line.startswith("FAILED ")]
    by = failed[0].split("::")[-1] if failed else f"pytest's exit code was {result.returncode}"
    seconds = time.perf_counter() - start
    print(f"{'caught' if caught else 'SURVIVED':9}{mutation.name:45}{seconds:5.0f} s  {by}", flush=True)
    return caught


if __name__ == "__main__":
    sys.exit(main())
