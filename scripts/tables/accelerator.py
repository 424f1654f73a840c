"""Tables of what the check on a GPU or TPU found, and the goals that it is measured by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.gpu_check.goals import Goal, find_goals, group_batches, list_rows

_NONE = "No GPU and no TPU has been measured yet; `scripts/gpu_check` does it on yours."


def make_gpu_line(*results: Mapping[str, Any]) -> str:
    """Write one line for the README: the goals' figures at the largest batch size, device by device."""
    if not results:
        return _NONE
    return " ".join(_make_line(result) for result in results)


def _make_line(result: Mapping[str, Any]) -> str:
    batches = group_batches(result, "umt-l16", "bfloat16")
    if not batches:
        return f"On {result['device']} nothing was timed."
    share, dense, torch, realised = (goal.measured for goal in find_goals(result))
    size = max(share)
    figures = [f"{batches[size]['merged']['clips_per_second']:.0f} clips per second at batch {size}"]
    figures += [
        f"{found[size]:.1f} times {name}"
        for found, name in ((dense, "plain dense attention"), (torch, "torch's SDPA, plain"))
        if size in found
    ]
    figures += [f"{share[size]:.0%} of the rate of the device's own matrix product"]
    figures += [f"{realised[size]:.0%} of the saving in MACs realised"] if size in realised else []
    return f"On {result['device']}, UMT-L/16 merged in bfloat16: {', '.join(figures)}."


def make_gpu_check_tables(*results: Mapping[str, Any]) -> str:
    """Write the goals beside what was measured, then for every device what is right, how fast, and where time goes."""
    lines = ["| UMT-L/16 in bfloat16 on a GPU | goal | measured |", "|---|---|---|"]
    measured = [find_goals(result) for result in results]
    for place, goal in enumerate(find_goals(None)):
        found = [
            f"{result['device']}: {_list_values(goals[place])}" for result, goals in zip(results, measured, strict=True)
        ]
        lines.append(f"| {goal.text} | at least {goal.least} | {'; '.join(found) or 'not measured'} |")
    lines.append("")
    if not results:
        return "\n".join([*lines, _NONE])
    for result in results:
        lines += [*_describe(result), ""]
    return "\n".join(lines).rstrip()


def _list_values(goal: Goal) -> str:
    return ", ".join(f"{value:.2f} (batch {size})" for size, value in goal.measured.items()) or "not measured"


def _describe(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one device."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    yield f"**{result['device']}**, jax {machine['jax']}, {versions}, commit {result['commit']}, {result['date']}; "
    yield (
        "`scripts/gpu_check`. Random weights; medians of alternating rounds. Memory includes the weights: ours as the "
        "compiler planned it, torch's at its peak."
    )
    yield ""
    yield _describe_correctness(list_rows(result, "correctness"))
    yield ""
    yield from _make_throughput_table(list_rows(result, "throughput"))
    yield from _make_parts_table(list_rows(result, "parts"))
    yield from _make_answers_table(list_rows(result, "answers"))
    for step in result["steps"]:
        if step["state"] != "done":
            yield f"The step {step['name']}: {step['state']}."


def _describe_correctness(rows: Sequence[Mapping[str, Any]]) -> str:
    checked = [row for row in rows if "ok" in row]
    wrong = [row for row in checked if not row["ok"]]
    count = f"{len(checked) - len(wrong)} of {len(checked)}"
    text = f"Attention against the oracle and models against the originals: {count} right."
    names = [f"{row['check']}, {row['form']}, {row['dtype']} ({row.get('failed', 'too far apart')})" for row in wrong]
    return f"{text} Not right: {'; '.join(names)}." if wrong else text


def _make_throughput_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    timed = [row for row in rows if row["kind"] == "throughput" and "variant" in row]
    if not timed:
        return
    yield (
        "| model | dtype | batch | program | GMACs | clips per second | x plain dense | of the product's rate "
        "| memory, GiB |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    dense = {_name_batch(row): row.get("clips_per_second") for row in timed if row["variant"] == "plain dense"}
    for row in timed:
        name = row["variant"] + " (default)" * row.get("is_default", False)
        head = f"| {' | '.join(map(str, _name_batch(row)))} | {name} "
        if "clips_per_second" not in row:
            yield f"{head}| | {row.get('failed', row.get('left_out', '')).split(':')[0]} | | | |"
            continue
        base = dense.get(_name_batch(row))
        gain = f"{row['clips_per_second'] / base:.2f}" if base else ""
        memory = f"{row['memory_bytes'] / 2**30:.1f}" if "memory_bytes" in row else ""
        yield (
            f"{head}| {row['gmacs_per_clip']:.1f} | {row['clips_per_second']:.1f} | {gain} "
            f"| {row['of_product']:.0%} | {memory} |"
        )
    yield ""
    rates = [f"{row['dtype']} {row['flops_per_second'] / 1e12:.0f}" for row in rows if row["kind"] == "product"]
    yield f"Rate of a large matrix product in the same run, TFLOP/s: {', '.join(rates)}."
    yield ""


def _name_batch(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["preset"], row["dtype"], row["batch_size"]


def _make_parts_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    parts = [row for row in rows if row["kind"] == "part" and "milliseconds" in row]
    if not parts:
        return
    first = parts[0]
    yield f"| merged {first['preset']}, {first['dtype']}, batch {first['batch_size']} | GMACs of a clip | ms |"
    yield "|---|---|---|"
    for row in parts:
        yield f"| {row['part']} | {row['gmacs'] or ''} | {row['milliseconds']:.2f} |"
    yield ""


def _make_answers_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    found = [row for row in rows if "same" in row]
    if not found:
        return
    yield "| trained model | tokens left | metric | float32 | bfloat16 | clips with the same outcome |"
    yield "|---|---|---|---|---|---|"
    for row in found:
        yield (
            f"| {row['task']} {row['model']} | {row['budget']} % | {row['metric']} | {row['float32']:.1%} "
            f"| {row['bfloat16']:.1%} | {row['same']:.1%} of {row['clips']} |"
        )
    yield ""
