"""The limits and the tested versions, from the code that enforces them."""

from __future__ import annotations

from vidtldr_jax.trust.limits import LIMITS, name_variable
from vidtldr_jax.trust.versions import TESTED


def make_limits_table() -> str:
    """Makes the table of SECURITY.md."""
    rows = [f"| `{name_variable(name)}` | {default:,} | {what} |" for name, (default, what) in LIMITS.items()]
    return "\n".join(["| variable | default | counts |", "|---|---|---|", *rows])


def make_versions_table() -> str:
    """Makes the table of the README."""
    rows = [f"| {name} | {oldest} | {newest} |" for name, (oldest, newest) in TESTED.items()]
    return "\n".join(["| library | oldest | newest tested |", "|---|---|---|", *rows])
