"""The table of predicted and measured times."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_latency_table(result: dict[str, Any]) -> str:
    """Writes how far predictions are from what was measured, one line for each model and batch."""
    lines = [
        "| model | clips a run | plain, ms | schedules | predicted, ms | measured, ms | off by at most "
        "| relative to plain | drift | tries | pieces timed in, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for setting in result["settings"]:
        plain, *rows = setting["rows"]
        cells = [
            setting["name"],
            str(setting["batch_size"]),
            _span([plain["lower_quartile_seconds"]]),
            str(len(rows)),
            _span([row["predicted_seconds"] for row in rows]),
            _span([row["lower_quartile_seconds"] for row in rows]),
            f"{max(abs(row['error']) for row in rows):.1%}",
            f"{max(abs(row['relative_error']) for row in rows):.1%}",
            f"{setting['drift']:.1%}",
            str(setting["tries"]),
            f"{setting['table_seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "*Drift*: of the plain model, which is no prediction, between timing the pieces and running the schedules; "
        "above 5 % both were tried again, three times at most, and the try with the least drift is shown"
        f"{_describe_other_tries(result)}. "
        "Schedules of several shapes with two thirds of the plain model's multiply-accumulates; *relative to plain*: "
        f"of the time in units of the plain model's, run beside them. {result['dtype']}, lower quartiles of at least "
        f"{result['repeats']} alternating runs, {name_origin(result, 'benchmarks/latency.py')}",
    ]
    return "\n".join(lines)


def _describe_other_tries(result: dict[str, Any]) -> str:
    """Writes how far off the schedules of tries were that the table does not show."""
    tries = [one["errors"] for setting in result["settings"] for one in setting["other_tries"]]
    if not tries:
        return ""
    most = max(abs(error) for _plain, *errors in tries for error in errors)
    return f" (the other{'s' if len(tries) > 1 else ''}: off by {most:.1%} at most)"


def _span(seconds: list[float]) -> str:
    """Writes the least and the most in milliseconds."""
    least, most = (f"{float(f'{1000 * one:.3g}'):g}" for one in (min(seconds), max(seconds)))
    return least if least == most else f"{least} to {most}"
