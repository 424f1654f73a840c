"""Where a benchmark's figures come from, as the last words below a table."""

from __future__ import annotations

from typing import Any


def name_origin(result: dict[str, Any], command: str) -> str:
    """Returns machine, version, commit and date of a result, and the command that makes it."""
    machine = result["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, jax {machine['jax']}, commit {result['commit']}, "
        f"{result['date']}; `python {command}`."
    )
