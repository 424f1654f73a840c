"""Tables of what damaged inputs and kills end in."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_fuzz_table(result: dict[str, Any]) -> str:
    """Writes, per class of input, how many were tried and how many got the documented answer."""
    lines = [
        "| input | documented answer to damage | tried | read | refused | right | longest, s | most memory, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['answer']} | {row['tried']} | {row['counts'].get('read', 0)} "
        f"| {row['counts'].get('refused', 0)} | {row['right'] / row['tried']:.1%} | {row['most_seconds']:.1f} "
        f"| {row['most_mib']} |"
        for row in result["rows"]
    ]
    tried = sum(row["tried"] for row in result["rows"])
    right = sum(row["right"] for row in result["rows"])
    lines += [
        "",
        f"{right:,} of {tried:,} inputs got the documented answer; seed {result['seed']}; "
        f"{name_origin(result, '-m scripts.fuzz')}",
    ]
    return "\n".join(lines)


def make_kills_table(result: dict[str, Any]) -> str:
    """Writes, per command that writes, how many kills there were and what they did."""
    lines = ["| command | kills | while something was half-written | lost or left behind |", "|---|---|---|---|"]
    lines += [
        f"| `vidtldr {row['name']}` | {row['kills']} | {row['in_writing']} | {len(row['faults']) or 'nothing'} |"
        for row in result["rows"]
    ]
    kills = sum(row["kills"] for row in result["rows"])
    lines += ["", f"{kills} kills; seed {result['seed']}; {name_origin(result, '-m scripts.fuzz')}"]
    return "\n".join(lines)
