"""Makes the scripts importable the way Python sees them when they run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "scripts" / "moving_objects"


@pytest.fixture(autouse=True, scope="session")
def scripts_on_path():
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
