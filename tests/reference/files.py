"""Where expected numbers come from, and torch for those who compare with it."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest

GOLDENS = Path(__file__).resolve().parent.parent / "goldens"


def find_golden(name):
    """Returns the path of a golden file; a missing one is a failure, never a skip."""
    path = GOLDENS / name
    if not path.is_file():
        pytest.fail(f"golden {name} is missing from tests/goldens: restore it from version control.")
    return path


def load_golden(name):
    """Returns the arrays of an .npz golden."""
    return read_arrays(find_golden(name))


def read_arrays(path):
    """Returns the arrays of an .npz file and closes it: what is left open is an error in whatever test comes later."""
    with np.load(path) as file:
        return dict(file)


def require_module(name):
    """Returns a module; without it the test is skipped, or fails where VIDTLDR_REQUIRE_PARITY is 1."""
    if os.environ.get("VIDTLDR_REQUIRE_PARITY") != "1":
        return pytest.importorskip(name, reason=f"parity is not checked: {name} is not installed")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.fail(f"VIDTLDR_REQUIRE_PARITY is 1 and {name} does not import: {error}")


def require_torch():
    """Returns torch, as `require_module` does."""
    return require_module("torch")
