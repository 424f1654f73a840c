"""Takes off what wrappers put before or into the names of keys: DDP, FSDP, torch.compile, Lightning, PEFT.

Only names that these wrappers give are ever taken off: before the keys where all keys have them, inside keys where no
two keys become one, and only where a family of checkpoints then knows more of the keys than before.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from checkpoints_convert.errors import ConversionError, show_value
from checkpoints_convert.rules import is_left_out
from checkpoints_convert.sources import Source

# Before all keys: DDP and its relatives, Lightning's attributes, averages of weights, PEFT ("base_model.model.").
_PREFIXES: Final = frozenset(
    (
        *("module", "model", "net", "network", "base_model", "_orig_mod", "_fsdp_wrapped_module", "_forward_module"),
        *("_checkpoint_wrapped_module", "ema_model", "model_ema", "ema", "online_model", "wrapped_model", "teacher"),
        *("student", "params", "state_dict"),
    )
)
# Anywhere in a key: names that no layer of a model has.
_MARKERS: Final = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"))
_MARKERS_OF_PARTS: Final = _MARKERS | {"module"}
# What a wrapper keeps of its own beside the model's keys.
_OWN_KEYS: Final = frozenset(("n_averaged", "num_updates", "decay", "initted", "step"))
_DEEPEST: Final = 8
_MOST_HEADS: Final = 3
_SEPARATOR: Final = re.compile(r"[./]")
# Parts of PEFT's layers before `merge_and_unload`, by the names of its methods.
_ADAPTER: Final = re.compile(
    r"(?:^|\.)((?:lora|vblora|randlora|delora|ia3|vera_lambda|hada|lokr|boft|oft|hra|bone|miss|shira|c3a|road|fourierft"
    r"|trainable_tokens|ln_tuning|adaption)_\w+|base_layer|modules_to_save|original_module|prompt_embeddings)(?:\.|$)"
)


class Unwrapped(NamedTuple):
    """Names without what wrappers added.

    Attributes:
      names: key in the file -> name; keys of a wrapper's own are absent.
      stripped: what was taken off, for people.
    """

    names: dict[str, str]
    stripped: str


def unwrap_source(source: Source, rate: Callable[[Sequence[str]], float], ignore: Sequence[str] = ()) -> Source:
    """Takes wrappers' names off the keys of a source where a family fits without them.

    Args:
      source: the opened checkpoint.
      rate: returns which share of keys the family knows that knows most of them; 0 for no family.
      ignore: patterns of keys that the user leaves out, which need not share the prefix of the others.

    Returns:
      The source itself, or one with other names, which `stripped` and `original_names` tell.

    Raises:
      ConversionError: the file holds adapters that are not merged into the weights.
    """
    refuse_adapters(source)
    found = find_names(list(source.tensors), rate)
    ignored: dict[str, str] = {}
    if found is None and ignore:
        ignored = {key: key for key in source.tensors if is_left_out(key, ignore)}
        found = find_names([key for key in source.tensors if key not in ignored], rate)
    if found is None:
        return source
    names = {**ignored, **found.names}
    return dataclasses.replace(
        source,
        tensors={name: source.tensors[key] for key, name in names.items()},
        stripped=found.stripped,
        original_names={name: key for key, name in found.names.items() if name != key},
        left_out=tuple(key for key in source.tensors if key not in names),
    )


def find_names(keys: Sequence[str], rate: Callable[[Sequence[str]], float]) -> Unwrapped | None:
    """Finds the names of which a family knows most, with as little taken off as possible.

    Args:
      keys: of the file.
      rate: returns which share of keys the family knows that knows most of them; 0 for no family.

    Returns:
      The names; None where nothing that wrappers add makes more keys known.
    """
    best = rate(keys) if _has_wrapper(keys) else 1.0
    found = None
    for names, stripped in _list_readings(keys) if best < 1 else ():
        share = rate(list(names.values()))
        if share > best:
            found, best = Unwrapped(names, stripped), share
    return found


def find_part(keys: Sequence[str], rate: Callable[[Sequence[str]], float], depth: int = 2) -> str | None:
    """Finds a part of the keys that a family knows by the names below it, such as "model" beside a loss's keys.

    Args:
      keys: of the file, which no family knows as they are.
      rate: returns which share of keys the family knows that knows most of them; 0 for no family.
      depth: how many parts of names are taken off at most.

    Returns:
      The dotted beginning of its keys; None where there is none, or what lies beside it belongs to a model too.
    """
    heads = Counter(_SEPARATOR.split(key, maxsplit=1)[0] for key in keys)
    for head, count in heads.most_common(_MOST_HEADS):
        names = [key[len(head) + 1 :] for key in keys if _starts(key, head)]
        others = [key for key in keys if not _starts(key, head)]
        if count < 2 or (others and rate(others) > 0):
            continue
        if rate(names) > 0 or find_names(names, rate) is not None:
            return head
        inner = find_part(names, rate, depth - 1) if depth > 1 else None
        if inner is not None:
            return f"{head}.{inner}"
    return None


def _list_readings(keys: Sequence[str]) -> Iterator[tuple[dict[str, str], str]]:
    """Yields names without what is inside them and before them, least taken off first."""
    inside = {part for key in keys for part in key.split(".")[1:]}
    groups = [frozenset[str](), *(markers for markers in (_MARKERS, _MARKERS_OF_PARTS) if markers & inside)]
    for markers in groups:
        names = {key: _remove_inside(key, markers) for key in keys}
        prefix: list[str] = []
        for _ in range(_DEEPEST):
            left = {key: name for key, name in names.items() if not prefix or name not in _OWN_KEYS}
            if len(set(left.values())) < len(left):
                break  # two keys would become one
            yield left, _describe(left, prefix, markers)
            head = _find_head(names.values())
            if head is None:
                break
            prefix.append(head)
            names = {key: name[len(head) + 1 :] if _starts(name, head) else name for key, name in names.items()}


def _starts(name: str, head: str) -> bool:
    return name.startswith((f"{head}.", f"{head}/"))


def refuse_adapters(source: Source) -> None:
    """Refuses low-rank adapters and the like beside the weights: without them the numbers are another model's.

    Args:
      source: the opened checkpoint.

    Raises:
      ConversionError: there are such keys; it says how many, and one of them.
    """
    parts = {key: match[1] for key in source.tensors if (match := _ADAPTER.search(key)) is not None}
    if parts:
        key, part = next(iter(parts.items()))
        raise ConversionError(
            f"weights are converted with adapters merged into them; {source.name} has {len(parts):,} keys of adapters "
            f"that are not merged, such as {show_value(key)} ({part}); merge them with PEFT's merge_and_unload() and "
            "save the model's state_dict()."
        )


def _has_wrapper(keys: Sequence[str]) -> bool:
    """Tells whether any key has a part that a wrapper gives; of most files none has."""
    return any(not _PREFIXES.isdisjoint(_SEPARATOR.split(key)) for key in keys)


def _find_head(names: Iterable[str]) -> str | None:
    """Returns the first part that all names share, where a wrapper gives such a name."""
    heads = {_SEPARATOR.split(name, maxsplit=1)[0] for name in names if name not in _OWN_KEYS}
    return next(iter(heads)) if len(heads) == 1 and heads <= _PREFIXES else None


def _remove_inside(key: str, markers: frozenset[str]) -> str:
    first, *rest = key.split(".")
    return ".".join([first, *(part for part in rest if part not in markers)])


def _describe(names: Mapping[str, str], prefix: Sequence[str], markers: frozenset[str]) -> str:
    """Says what was taken off: the text before the names where that is the same for all, else its parts."""
    before = {key.removesuffix(name) if key.endswith(name) else None for key, name in names.items()}
    only = next(iter(before)) if len(before) == 1 else None
    if only is not None:
        return only
    inside = dict.fromkeys(part for key in names for part in key.split(".")[1:] if part in markers)
    parts = "".join(f"{part}." for part in prefix)
    return " and ".join([*([parts] if parts else []), *(f"{part}. inside names" for part in inside)])
