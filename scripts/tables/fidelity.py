"""How near each method keeps features of real videos to the unmerged ones, on trained image transformers."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin

_PLAIN = ("plain", "per_frame")


def make_fidelity_table(result: dict[str, Any]) -> str:
    """Writes a table for every encoder and length: cosine, retrieval and time of each method and budget."""
    times = {
        (row["encoder"], row["num_frames"], row["method"], row["budget"]): row
        for row in result.get("times", {}).get("rows", [])
    }
    lines = []
    for setting in result["settings"]:
        lines += _write_setting(setting, result["weights"], times)
    return "\n".join([*lines, *_write_origin(result)])


def _write_setting(setting: dict[str, Any], weights: dict[str, str], times: dict[Any, Any]) -> list[str]:
    rows = {(row["method"], row["budget"]): row for row in setting["rows"]}
    plain = rows["plain", 100]
    budgets = sorted({budget for _, budget in rows} - {100}, reverse=True)
    best = {budget: max(row["cosine"] for key, row in rows.items() if key[1] == budget) for budget in budgets}
    lines = [
        f"**{weights[setting['encoder']]}**, {setting['num_frames']} frames of {setting['image_size']} x "
        f"{setting['image_size']}: {setting['num_tokens']} tokens, {plain['gmacs']:.3g} GMACs; "
        f"{setting['num_windows']} windows of {setting['num_clips']} clips. Plain: {_format_found(plain, setting)}; "
        f"features of different clips have a mean cosine of {setting['cosine_between_clips']:.2f}.",
        "",
        f"| method | {' | '.join(f'{budget} %' for budget in budgets)} |",
        f"|---|{'---|' * len(budgets)}",
    ]
    for method in dict.fromkeys(method for method, _ in rows if method not in _PLAIN):
        cells = []
        for budget in budgets:
            row = rows[method, budget]
            time = times.get((setting["encoder"], setting["num_frames"], method, budget))
            cosine = f"{row['cosine']:.3f}"
            cells.append(
                f"{f'**{cosine}**' if row['cosine'] == best[budget] else cosine} ({row['cosine_percentile_5']:.3f}), "
                f"{_format_found(row, setting)}, {row['gmacs'] / plain['gmacs']:.2f}"
                + (f" / {time['ratio']:.2f}" if time else "")
            )
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines.append("")
    if ("per_frame", 100) in rows:
        row = rows["per_frame", 100]
        lines += [
            f"Every frame by itself, then their mean, as CLIP was trained: {_format_found(row, setting)}, "
            f"{row['gmacs'] / plain['gmacs']:.2f} of the multiply-accumulates.",
            "",
        ]
    return lines


def _format_found(row: dict[str, Any], setting: dict[str, Any]) -> str:
    return f"{round(row['found'] * setting['num_clips'])} of {setting['num_clips']}"


def _write_origin(result: dict[str, Any]) -> list[str]:
    lines = [
        "A cell: mean cosine to the unmerged feature of the same window (5th percentile), clips whose second half "
        "finds its own first half, share of the plain model's multiply-accumulates"
        + (" / of its measured time" if "times" in result else "")
        + ". Bold is the highest cosine of a column. "
        f"{len(result['clips'])} real clips, none of them trained on for this; the columns are tokens left after the "
        f"third layer. {name_origin(result, 'benchmarks/fidelity.py')}",
    ]
    if "times" in result:
        times = result["times"]
        lines += [
            "",
            f"Times: batch {times['batch']}, float32, medians of {times['repeats']} alternating rounds, "
            f"{times['machine']['processor']}, {times['machine']['cores']} cores, commit {times['commit']}, "
            f"{times['date']}.",
        ]
    return lines
