"""Makes the scripts importable the way Python sees them when they run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDERS = [Path(__file__).parents[2] / "scripts" / name for name in ("moving_objects", "captioned_objects")]


@pytest.fixture(autouse=True, scope="session")
def scripts_on_path():
    sys.path[:0] = map(str, FOLDERS)
    yield
    for folder in FOLDERS:
        sys.path.remove(str(folder))
