"""Compiled programs between calls: none of another key is ever run, and none out of a folder that others can change."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax._src import compilation_cache

from vidtldr_jax.cli.runtime import open_cache_folder, use_compilation_cache

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from vidtldr_jax.cli.runtime import use_compilation_cache
use_compilation_cache()
import jax, jax.numpy as jnp
x = jnp.arange(4.0)
print(float(jax.jit({"double": lambda x: (2 * x).sum(), "triple": lambda x: (3 * x).sum()}[sys.argv[1]])(x)))
"""
IS_POSIX = pytest.mark.skipif(os.name != "posix", reason="owners and modes are those of POSIX")


def run(name, base):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, name],
        capture_output=True, text=True, cwd=ROOT, check=True, timeout=120,
        env=os.environ | {"XDG_CACHE_HOME": str(base)},
    )  # fmt: skip
    return float(done.stdout), done.stderr


def list_entries(base):
    return {path.name for path in (base / "vidtldr-jax" / "compiled").glob("*-cache")}


@pytest.fixture
def cache(tmp_path):
    """A cache of two programs: its base, and the entry of each."""
    base = tmp_path / "cache"
    assert run("double", base) == (12.0, "")
    first = list_entries(base)
    assert run("triple", base) == (18.0, "")
    folder = base / "vidtldr-jax" / "compiled"
    (double,) = (folder / name for name in first if name.startswith("jit__lambda"))
    (triple,) = (folder / name for name in list_entries(base) - first if name.startswith("jit__lambda"))
    return base, double, triple


def test_an_entry_copied_over_another_one_is_not_run(cache):
    base, double, triple = cache
    shutil.copy(triple, double)
    number, said = run("double", base)
    assert number == 12.0
    assert said == f"note: compiled program {double} is damaged or another one's; it is removed and compiled again\n"
    assert run("double", base) == (12.0, "")
    assert run("triple", base) == (18.0, "")


def test_a_damaged_entry_is_not_run(cache):
    base, double, _ = cache
    data = double.read_bytes()
    for damaged in (data[:-1] + bytes([data[-1] ^ 1]), data[:50]):
        double.write_bytes(damaged)
        number, said = run("double", base)
        assert (number, said.count("\n"), "is damaged or another one's" in said) == (12.0, 1, True)


@IS_POSIX
def test_the_folders_are_made_for_their_owner_alone(tmp_path, monkeypatch):
    before = os.umask(0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a" / "b"))
    try:
        assert open_cache_folder("compiled", "programs") == tmp_path / "a/b/vidtldr-jax/compiled"
    finally:
        os.umask(before)
    for name in ("a", "a/b", "a/b/vidtldr-jax", "a/b/vidtldr-jax/compiled"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700


def give_away(folder):
    if os.geteuid():
        pytest.skip("only root gives folders away")
    os.chown(folder, 12345, -1)


def make_link(folder):
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")


def replace_by_file(folder):
    shutil.rmtree(folder)
    folder.write_text("")


REASONS = {
    "written by all": ("vidtldr-jax/compiled", lambda folder: folder.chmod(0o777), "has mode 0777; empty it and chmod"),
    "written by a group": ("vidtldr-jax", lambda folder: folder.chmod(0o770), "has mode 0770; empty it and chmod"),
    "of another user": ("vidtldr-jax/compiled", give_away, "belongs to user 12345; remove it"),
    "a link": ("vidtldr-jax/compiled", make_link, "is a link; remove it"),
    "a file": ("vidtldr-jax", replace_by_file, "is no folder; remove it"),
    "above written by all": ("", lambda folder: folder.chmod(0o777), "has mode 0777; choose another place"),
    "above of another user": ("", give_away, "belongs to user 12345; choose another place"),
}  # fmt: skip


@IS_POSIX
@pytest.mark.parametrize("case", REASONS)
def test_a_folder_that_others_could_change_is_not_used_and_it_is_said_why(tmp_path, monkeypatch, capsys, case):
    name, change, reason = REASONS[case]
    base = tmp_path / "cache"
    (base / "vidtldr-jax" / "compiled").mkdir(mode=0o700, parents=True)
    (base / "vidtldr-jax").chmod(0o700)
    change(base / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(base))
    before = jax.config.jax_compilation_cache_dir
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == before
    said = capsys.readouterr().err
    assert said.startswith("note: compiled programs are not kept: ")
    assert repr(str(base / name)) in said
    assert reason in said
    assert said.count("\n") == 1


@IS_POSIX
def test_a_base_that_is_a_link_and_a_folder_above_that_is_sticky_are_used(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    (tmp_path / "sticky" / "cache").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "sticky" / "cache"))
    assert open_cache_folder("latency", "times") == tmp_path / "sticky" / "cache" / "vidtldr-jax" / "latency"
    assert (tmp_path / "disk" / "vidtldr-jax" / "latency").is_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "disk"))
    assert open_cache_folder("latency", "times") == tmp_path / "disk" / ".cache" / "vidtldr-jax" / "latency"


def test_a_jax_without_a_place_for_a_cache_of_ours_keeps_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.delattr(compilation_cache, "get_file_cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    use_compilation_cache()
    assert "note: compiled programs are not kept: entries can't be checked with JAX" in capsys.readouterr().err
    assert jax.config.jax_compilation_cache_dir == before
