"""The two-way check: every key goes somewhere, every parameter is filled once, shapes agree; all faults at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from checkpoints_convert.rules import (
    Assignment,
    Rule,
    RuleFinder,
    apply_transform,
    assign_key,
    is_left_out,
    strip_prefix,
)
from vidtldr_jax.trust.nearest import find_nearest

Shape = tuple[int, ...]


def plan_assignments(
    keys: Sequence[str], rules: Sequence[Rule], *, prefixes: Sequence[str], leave_out: Sequence[str]
) -> tuple[list[Assignment], list[str], list[str]]:
    """Sorts keys into those with a rule, those that are left out by name, and the rest.

    Args:
      keys: of the source.
      rules: the family's.
      prefixes: what may stand before the keys that the rules name.
      leave_out: the family's patterns of keys that no parameter needs.

    Returns:
      The assignments, the keys left out, the unknown keys.
    """
    assignments, left_out, unknown = [], [], []
    finder = RuleFinder(rules, prefixes)
    for key in keys:
        assignment = finder.find(key)
        if assignment is not None:
            assignments.append(assignment)
        elif is_left_out(key, leave_out) or is_left_out(strip_prefix(key, prefixes), leave_out):
            left_out.append(key)
        else:
            unknown.append(key)
    return assignments, left_out, unknown


def find_faults(
    assignments: Sequence[Assignment],
    unknown: Sequence[str],
    *,
    source_shapes: Mapping[str, Shape],
    target_shapes: Mapping[str, Shape],
    rules: Sequence[Rule],
) -> list[str]:
    """Checks a plan both ways without reading a number.

    Args:
      assignments: what goes where.
      unknown: keys that no rule knows.
      source_shapes: shape of every key.
      target_shapes: shape of every parameter.
      rules: the family's, to say which key a missing parameter comes from.

    Returns:
      One line for each fault; empty if all is well.
    """
    filled: dict[str, list[str]] = defaultdict(list)
    faults = []
    for assignment in assignments:
        for target in assignment.targets:
            filled[target].append(assignment.key)
        faults += _check_shapes(assignment, source_shapes[assignment.key], target_shapes)
    wanted = {target: name_sources(target, rules) for target in target_shapes if target not in filled}
    all_wanted = [name for names in wanted.values() for name in names]
    near = find_nearest(unknown, all_wanted)
    faults += [f"unknown key {key}{_show_nearest(near, key)}" for key in unknown]
    near = find_nearest([names[0] if names else target for target, names in wanted.items()], unknown)
    for target, names in wanted.items():
        shown = _show_nearest(near, names[0] if names else target)
        faults.append(f"nothing fills {target}; it comes from {' or '.join(names) or 'no key of this family'}{shown}")
    faults += [f"{target} is filled by {' and '.join(keys)}" for target, keys in filled.items() if len(keys) > 1]
    return faults


def _check_shapes(assignment: Assignment, shape: Shape, target_shapes: Mapping[str, Shape]) -> list[str]:
    empty = np.broadcast_to(np.zeros((), np.int8), shape)  # a shape without memory
    try:
        made = apply_transform(assignment, empty)
    except ValueError:
        return [f"{assignment.key} has shape {shape}, which {assignment.transform} can't turn"]
    faults = [
        f"{assignment.key} {shape} gives {target} {values.shape}, which should be {target_shapes[target]}"
        for target, values in made.items()
        if target in target_shapes and values.shape != target_shapes[target]
    ]
    return faults + [
        f"{assignment.key} gives {target}, which this architecture does not have"
        for target in made
        if target not in target_shapes
    ]


def name_sources(target: str, rules: Sequence[Rule]) -> list[str]:
    """Names the keys from which a parameter would come, without prefixes.

    Args:
      target: a parameter's path.
      rules: the family's.

    Returns:
      The keys; empty if no rule fills the parameter.
    """
    names = []
    for rule in rules:
        for pattern in rule.targets:
            reverse = assign_key(target, [Rule(pattern, (rule.source,))])
            if reverse is not None:
                names.append(reverse.targets[0])
    return names


def _show_nearest(near: Mapping[str, str], name: str) -> str:
    return f" (nearest: {near[name]})" if name in near else ""
