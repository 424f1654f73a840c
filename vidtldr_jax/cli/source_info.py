"""What `vidtldr info` says of a checkpoint that is not converted yet."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from checkpoints_convert.errors import ConversionError
from checkpoints_convert.plan import ConversionPlan, plan_conversion
from checkpoints_convert.sources import Source, open_source
from vidtldr_jax.cli.output import format_bytes, print_json, print_line, print_table, show_progress
from vidtldr_jax.inference.checkpoint import CONFIG_NAME, is_checkpoint
from vidtldr_jax.inference.hub import SCHEME, download_file, parse_place
from vidtldr_jax.trust.faults import shorten
from vidtldr_jax.trust.limits import get_limit

_LAYER: Final = re.compile(r"(?<=\.)\d+(?=\.)|(?<=block_)\d+(?=/)")
_MOST_KEYS: Final = 5


def is_source(name: str) -> bool:
    """Tells whether a name stands for something to convert: a file, or a folder or repository of somebody else's."""
    if name.startswith(SCHEME):
        address = parse_place(name)
        path = None if address.file else download_file(address, CONFIG_NAME)
        return path is None or not is_checkpoint(path.parent)
    place = Path(name)
    if place.is_file():
        return True
    return place.is_dir() and any(place.iterdir()) and not is_checkpoint(place)


def show_source(name: str, *, weights: str | None, settings: Mapping[str, str], as_json: bool, **options: Any) -> None:
    """Prints what is in a source and what a conversion would do with it.

    Args:
      name: file, folder or hf://owner/name.
      weights: which of several states of weights in a file; None for the usual one.
      settings: as for a conversion.
      as_json: print JSON and nothing else.
      **options: family, allow_missing and ignore, as for a conversion.

    Raises:
      ConversionError: the source can't be read, or its family can't be told.
    """
    with show_progress("reading"):
        source = open_source(name, weights=weights)
    facts = _describe_source(source)
    try:
        plan = plan_conversion(source, settings=settings, **options)
    except ConversionError:
        if not as_json:
            _print_source(facts)
        raise
    if as_json:
        print_json({**facts, **_describe_plan(plan.source, plan)})
        return
    _print_source(facts)
    _print_plan(plan)
    print_line()
    _print_keys(plan.source, plan)


def _describe_source(source: Source) -> dict[str, Any]:
    tensors = source.tensors.values()
    return {
        "name": source.name,
        "kind": "source",
        "files": dict(source.digests),
        "num_keys": len(source.tensors),
        "num_numbers": sum(math.prod(tensor.shape) for tensor in tensors),
        "bytes": sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors),
        "dtypes": dict(Counter(str(tensor.dtype) for tensor in tensors)),
        "entry": source.entry,
        "other_entries": list(source.other_entries),
        "has_config": source.config is not None,
        "has_preprocessor": source.preprocessor is not None,
    }


def _describe_plan(source: Source, plan: ConversionPlan) -> dict[str, Any]:
    targets = {assignment.key: list(assignment.targets) for assignment in plan.assignments}
    return {
        "stripped": source.stripped,
        "family": plan.family.name,
        "is_convertible": not plan.missing and not plan.faults,
        "facts": {name: {"value": fact.value, "origin": fact.origin} for name, fact in plan.facts.items()},
        "architecture": None if plan.config is None else plan.config.to_dict(),
        "preprocessing": None if plan.preprocessing is None else plan.preprocessing.to_dict(),
        "labels": plan.labels,
        "missing": list(plan.missing),
        "faults": list(plan.faults),
        "notes": list(plan.notes),
        "keys": {
            key: {"shape": list(tensor.shape), "dtype": str(tensor.dtype), "targets": targets.get(key, [])}
            for key, tensor in source.tensors.items()
        },
        "left_out": list(plan.left_out),
        "ignored": list(plan.ignored),
        "initialised": list(plan.fresh),
    }


def _print_source(facts: Mapping[str, Any]) -> None:
    dtypes = ", ".join(f"{count} {name}" for name, count in facts["dtypes"].items())
    files = [f"{name} (SHA-256 {digest[:12]}...)" for name, digest in facts["files"].items()]
    beside = [word for word in ("config", "preprocessor") if facts[f"has_{word}"]]
    entries = [f"{facts['entry']!r} of the file"] if facts["entry"] else []
    entries += [f"--weights {name} takes {name!r}" for name in facts["other_entries"][:_MOST_KEYS]]
    _print_rows(
        [
            ("source", f"{facts['name']}, not converted"),
            ("files", ", ".join(files)),
            *([("weights", "; ".join(entries))] if entries else []),
            ("keys", f"{facts['num_keys']:,} ({dtypes})"),
            ("numbers", f"{facts['num_numbers']:,}, {format_bytes(facts['bytes'])}"),
            ("comes with", " and ".join(beside) or "nothing beside the weights"),
        ]
    )


def _print_plan(plan: ConversionPlan) -> None:
    by_origin: dict[str, list[str]] = {}
    for name, fact in plan.facts.items():
        by_origin.setdefault(fact.origin, []).append(f"{name} {_format_value(fact.value)}")
    rows = [("family", f"{plan.family.name}: {plan.family.title}")]
    rows += [("names", f"without {plan.source.stripped!r}, which wrappers had added")] if plan.source.stripped else []
    rows += [(f"from {origin}", ", ".join(facts)) for origin, facts in by_origin.items()]
    for title, names in (("left out by name", plan.left_out), ("ignored", plan.ignored), ("initialised", plan.fresh)):
        if names:
            rows.append((title, _shorten(names)))
    rows += [("note", note) for note in plan.notes]
    rows += [("missing", fault) for fault in plan.missing]
    most = get_limit("faults")
    rows += [("fault", shorten(fault)) for fault in plan.faults[:most]]
    rows += [("faults", f"... and {len(plan.faults) - most:,} more")] if len(plan.faults) > most else []
    if not plan.missing and not plan.faults:
        rows.append(("result", f"can be converted: {len(plan.assignments)} keys fill every parameter once"))
    _print_rows(rows)


def _format_value(value: Any) -> str:
    return "/".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)


def _shorten(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_KEYS} more" if len(names) > _MOST_KEYS else ""
    return f"{len(names)}: {', '.join(names[:_MOST_KEYS])}{more}"


def _print_rows(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print_line(f"{name.ljust(width)}  {value}")


def _print_keys(source: Source, plan: ConversionPlan) -> None:
    """Prints keys of all layers as one line."""
    targets = {assignment.key: assignment.targets for assignment in plan.assignments}
    lines: dict[tuple[str, ...], int] = {}
    for key, tensor in source.tensors.items():
        shape = " x ".join(map(str, tensor.shape)) or "one number"
        where = _join_targets([_LAYER.sub("{i}", target) for target in targets.get(key, ())])
        line = (f"{_LAYER.sub('{i}', key)} -> {where or 'nothing'}", shape, str(tensor.dtype))
        lines[line] = lines.get(line, 0) + 1
    print_table(
        ("key -> what it fills", "times", "shape", "dtype"),
        [(key, str(count), shape, dtype) for (key, shape, dtype), count in lines.items()],
    )


def _join_targets(targets: list[str]) -> str:
    """Writes a/query/b and a/key/b as a/{query,key}/b."""
    columns = [dict.fromkeys(parts) for parts in zip(*(target.split("/") for target in targets))]
    return "/".join(next(iter(parts)) if len(parts) == 1 else "{" + ",".join(parts) + "}" for parts in columns)
