"""Where the goldens lie, and how a state dict becomes a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

_GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture
def find_golden() -> Callable[[str], Path]:
    """Finds a file of the originals' numbers by its name; a missing one fails the test."""

    def find(name: str) -> Path:
        found = sorted(_GOLDENS.rglob(name))
        assert found, f"{name} is missing below {_GOLDENS}"
        return found[0]

    return find
