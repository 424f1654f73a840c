"""The table of what the help of each command costs."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_start_table(result: dict[str, Any]) -> str:
    """Write the processor time of each help, and how often importing click it is."""
    lines = ["| process | CPU, ms | against importing click |", "|---|---|---|"]
    lines.append(f'| `python -c "import click"` | {1e3 * result["click_cpu_seconds"]:.0f} | 1 |')
    rows = sorted(result["rows"], key=lambda row: row["ratio"], reverse=True)
    lines += [f"| `{row['command']}` | {1e3 * row['cpu_seconds']:.0f} | {row['ratio']:.1f} |" for row in rows]
    lines += [
        "",
        f"User and system time of new processes, Python's start included; medians of {result['repeats']} runs in turn, "
        f"{name_origin(result, 'benchmarks/start.py')}",
    ]
    return "\n".join(lines)
