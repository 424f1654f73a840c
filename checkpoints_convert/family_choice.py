"""Tells the family of a checkpoint by its keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from checkpoints_convert.check import plan_assignments
from checkpoints_convert.errors import ConversionError, show_value
from checkpoints_convert.families import FAMILIES, Family
from checkpoints_convert.rules import matches, strip_prefix
from checkpoints_convert.sources import Source
from checkpoints_convert.wrappers import find_part

# Below this share of known keys a source is not of the family, and faults key by key would say nothing.
_KNOWN_SHARE: Final = 0.5
# Models have some hundred kinds of keys; a file with thousands is none, and asking nine families for each takes long.
_MOST_KINDS: Final = 2000
_LAYER: Final = re.compile(r"(?<=[._/])[0-9]+(?=[./])")


def choose_family(source: Source, name: str | None) -> Family:
    """Finds the family of a checkpoint by its keys.

    Args:
      source: the opened checkpoint.
      name: a key of `FAMILIES` that overrides what the keys say.

    Returns:
      The family.

    Raises:
      ConversionError: there is no such family, or the keys tell none, or several alike.
    """
    if name is not None:
        if name not in FAMILIES:
            raise ConversionError(f"families are {', '.join(FAMILIES)}; got {name!r}; choose one.")
        return FAMILIES[name]
    keys = list(source.tensors)
    kinds = _count_kinds(keys)
    shares = {family.name: _measure_share(kinds, family) for family in FAMILIES.values()}
    fitting = sorted((share, known) for known, share in shares.items() if _is_signed(kinds, known, share))
    if len(fitting) == 1 or (fitting and fitting[-1][0] > fitting[-2][0]):
        return FAMILIES[fitting[-1][1]]
    examples = ", ".join(show_value(key)[1:-1] for key in keys[:4])
    counts = ", ".join(f"{known} {share:.0%}" for known, share in shares.items())
    others = f" (the file also holds {', '.join(source.other_entries)})" if source.other_entries else ""
    part = find_part(keys, lambda names: rate_keys(names, None))
    advice = "name the family, or convert one of these kinds"
    if part is not None:
        advice = f"the names below {show_value(part)} are a family's; take them with --weights {show_value(part)[1:-1]}"
    raise ConversionError(
        f"the family is told by the keys; of {source.name} the families know: {counts}; its keys "
        f"are like {examples}{others}; {advice}."
    )


def rate_keys(keys: Sequence[str], name: str | None) -> float:
    """Returns which share of keys a family knows.

    Args:
      keys: of a checkpoint.
      name: the family; None for the one that knows most.

    Returns:
      The share; 0 where the family does not find its own marks, or knows no more than half.
    """
    families = [name] if name in FAMILIES else list(FAMILIES)
    kinds = _count_kinds(keys)
    shares = {known: _measure_share(kinds, FAMILIES[known]) for known in families}
    return max((share for known, share in shares.items() if _is_signed(kinds, known, share)), default=0.0)


def _count_kinds(keys: Sequence[str]) -> Counter[str]:
    """Counts the keys that differ in a layer's number alone, under the name of the first; of the first few kinds."""
    firsts: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for key in keys:
        kind = _LAYER.sub("#", key)
        if kind in firsts or len(firsts) < _MOST_KINDS:
            counts[firsts.setdefault(kind, key)] += 1
    return counts


def _measure_share(kinds: Counter[str], family: Family) -> float:
    _, _, unknown = plan_assignments(list(kinds), family.rules, prefixes=family.prefixes, leave_out=family.leave_out)
    return 1 - sum(kinds[key] for key in unknown) / max(kinds.total(), 1)


def _is_signed(kinds: Counter[str], name: str, share: float) -> bool:
    """Tells whether a family knows most keys and those that it is recognised by are there."""
    if share <= _KNOWN_SHARE:
        return False
    family = FAMILIES[name]
    bare = [strip_prefix(key, family.prefixes) for key in kinds]
    return all(any(matches(key, mark) for key in bare) for mark in family.signature)
