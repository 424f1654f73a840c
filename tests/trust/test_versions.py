"""Versions of the libraries that this package hangs on: refused, noted, and stated the same everywhere."""

import importlib.metadata
import logging
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.make_tables import fill_tables
from vidtldr_jax.trust import versions
from vidtldr_jax.trust.versions import TESTED, VersionError, require_version

ROOT = Path(__file__).resolve().parent.parent.parent
# What imports it -> what must be there in a version that was tested.
ROOMS = {"ops": "jax", "models": "flax", "data": "av", "train": "orbax-checkpoint"}
# A process in which a library says that it is of another version.
PRETEND = """
import importlib.metadata, sys
real, name, found = importlib.metadata.version, *sys.argv[1:3]
del sys.argv[1:3]
importlib.metadata.version = lambda asked: found if asked == name else real(asked)
"""
COMMAND_LINE = f"{PRETEND}\nfrom vidtldr_jax.cli.main import main\nmain()"


@pytest.fixture
def installed(monkeypatch):
    """Lets a library be of another version."""
    monkeypatch.setattr(versions, "NOTES", [])
    return lambda version: monkeypatch.setattr(importlib.metadata, "version", lambda name: version)


@pytest.mark.parametrize("version", ["0.6.9", "0.6", "0.4.38", "0.6.99.dev0"])
def test_an_older_version_is_refused_with_what_to_install(installed, version):
    installed(version)
    with pytest.raises(VersionError) as caught:
        require_version("jax")
    assert str(caught.value) == f"jax 0.7.0 or newer is needed; got {version}; pip install -U 'jax>=0.7.0'"
    assert isinstance(caught.value, ImportError)


@pytest.mark.parametrize("version", ["0.7.0", "0.7", "0.10.2", "0.12.0.1", "0.12.0.dev20260101", "0.9.1+cuda12"])
def test_a_tested_version_passes_without_a_word(installed, caplog, version):
    installed(version)
    with caplog.at_level(logging.DEBUG):
        require_version("jax")
    assert caplog.messages == versions.NOTES == []


@pytest.mark.parametrize("version", ["0.12.1", "0.13", "1.0.0rc1", "10.0"])
def test_a_newer_version_is_noted_in_one_line(installed, caplog, version):
    installed(version)
    with caplog.at_level(logging.INFO, "vidtldr_jax"):
        require_version("jax")
    assert caplog.messages == [f"jax {version} is newer than {TESTED['jax'][1]}, the newest version that was tested"]
    assert caplog.messages == versions.NOTES


@pytest.mark.parametrize("version", [None, "", "unknown"])
def test_a_version_that_is_no_number_is_let_through(installed, version):
    installed(version)
    require_version("jax")


def test_what_is_not_installed_is_left_to_its_import(monkeypatch):
    def find_none(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", find_none)
    require_version("orbax-checkpoint")


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_checks_before_it_imports(room):
    """The library itself is not loaded before: an older one might not even be importable."""
    module = ROOMS[room].replace("-checkpoint", "")
    code = f"""{PRETEND}
sys.modules[{module!r}] = None  # to import it is an error
try:
    import vidtldr_jax.{room}
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = run_python(code, ROOMS[room], "0.0.1")
    oldest = TESTED[ROOMS[room]][0]
    assert done.stdout.startswith(f"VersionError {ROOMS[room]} {oldest} or newer is needed; got 0.0.1;"), done.stderr


def test_the_command_line_says_it_in_one_line():
    done = run_python(COMMAND_LINE, "flax", "0.10.0", "info")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: flax 0.11.0 or newer is needed; got 0.10.0; pip install -U 'flax>=0.11.0'\n"


def test_the_command_line_notes_a_newer_version_with_v_alone():
    quiet, told = (run_python(COMMAND_LINE, "flax", "99", "info", *words) for words in ((), ("-v",)))
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert told.stderr.count("vidtldr_jax: flax 99 is newer than") == 1


def run_python(code, *words):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment)


def test_the_package_demands_what_is_the_oldest():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    demands = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for name, (oldest, _) in TESTED.items():
        assert [one for one in demands if one.split(">=")[0] == name] == [f"{name}>={oldest}"]


@pytest.mark.parametrize("document", ["README.md", "SECURITY.md"])
def test_documents_state_what_the_code_enforces(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert fill_tables(document, text) == text, "run python scripts/make_tables.py"
