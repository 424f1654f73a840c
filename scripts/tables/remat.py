"""The table of what computing blocks again saves."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_remat_table(result: dict[str, Any]) -> str:
    """Writes the memory of a gradient step, plain and merged, with everything kept and with blocks computed again."""
    planned = {(row["is_stacked"], row["form"], row["remat"]): row["temporary_bytes"] for row in result["rows"]}
    lines = [
        "| blocks | form | `remat=False`, MiB | `remat=True`, MiB | less by |",
        "|---|---|---|---|---|",
    ]
    for is_stacked, form in dict.fromkeys((row["is_stacked"], row["form"]) for row in result["rows"]):
        kept, again = (planned[is_stacked, form, remat] for remat in (False, True))
        blocks = "stacked" if is_stacked else "one by one"
        lines.append(f"| {blocks} | {form} | {kept / 2**20:.0f} | {again / 2**20:.0f} | {kept / again:.1f} times |")
    schedules = dict.fromkeys(row["schedule"] for row in result["rows"] if row["form"] == "merged")
    merged = f"; merged by {', '.join(schedules)}" if schedules else ""
    lines += [
        "",
        f"What the compiler plans for a gradient step besides parameters, clip and gradients; {result['preset']}, "
        f"{result['frames']} frames of {result['image_size']} x {result['image_size']} ({result['tokens']} tokens), "
        f"one clip, {result['dtype']}{merged}. Compiled for this CPU, not run; "
        f"{name_origin(result, 'benchmarks/remat.py')}",
    ]
    return "\n".join(lines)
