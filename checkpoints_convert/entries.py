"""Which part of a file holds the weights: training scripts keep several states beside each other.

`{"model": ..., "model_ema": ..., "optimizer": ...}` has two entries of weights; one is taken, the other is offered.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from checkpoints_convert.errors import ConversionError, show_value
from checkpoints_convert.inert import Global, StandIn, read_fields
from checkpoints_convert.tensors import LazyTensor

# Where training scripts put the weights, in the order of looking; a file without any entry is a bare state dict.
_PREFERRED: Final = (
    *("model", "module", "state_dict", "model_state_dict", "model_state", "net", "network", "params"),
    *(
        "weights",
        "ema_params",
        "model_ema",
        "ema",
        "state_dict_ema",
        "ema_state_dict",
        "ema_model",
        "ema_model_state_dict",
    ),
)
# Names under which one state dict may hold two models: `model.head.weight` beside `model_ema.head.weight`.
_PARTS: Final = frozenset((*_PREFERRED, "teacher", "student", "online", "target", "ema_module", "model_avg"))
# States of training that also hold tensors by name.
_NO_WEIGHTS: Final = re.compile(r"(?i)(optim|sched|lr_|scaler|amp|loss|rng|random|callbacks|loops|metric|buffers?$).*")
_DEEPEST: Final = 3
# A pickle may hold one dict in thousands of places at no cost.
_MOST_STATES: Final = 1000
_MOST_VISITS: Final = 10**6
_SPLIT: Final = re.compile(r"[./]")


State = dict[str, LazyTensor]


class FoundWeights(NamedTuple):
    """The weights of a file.

    Attributes:
      tensors: key -> tensor.
      entry: the part of the file that they are, "" for all of it.
      others: further parts that hold weights.
    """

    tensors: State
    entry: str = ""
    others: tuple[str, ...] = ()


def list_states(saved: Any, where: str, *, needs_usual: bool = True) -> dict[str, State]:
    """Lists the states of weights in what torch.save wrote.

    Args:
      saved: the object, tensors as `LazyTensor`.
      where: the file, for messages.
      needs_usual: whether the usual place of the weights must hold some; else the user has named another.

    Returns:
      Dotted path -> state dict, "" for a file that is nothing else.

    Raises:
      ConversionError: there are none, or the usual place of the weights holds something else.
    """
    fields = read_fields(saved)
    if fields is None:
        raise ConversionError(
            f"torch checkpoints hold a dict; {where} holds a {_name_type(saved)}; save model.state_dict()."
        )
    states: dict[str, State] = {}
    _collect_states(fields, "", 0, states, {}, itertools.count())
    usual = next((name for name in _PREFERRED if isinstance(fields.get(name), dict)), None)
    is_missing = usual is not None and not any(name.split(".")[0] == usual for name in states)
    if not states or (is_missing and needs_usual):
        _refuse(fields if usual is None else fields[usual], where if usual is None else f"{usual!r} of {where}", states)
    return states


def choose_state(states: Mapping[str, State], wanted: str | None, where: str) -> FoundWeights:
    """Takes one of several states of weights.

    Args:
      states: dotted path -> state dict, "" for a file that is nothing else.
      wanted: the path or its beginning, or that of keys; None takes the usual one.
      where: the file, for messages.

    Returns:
      The state and the names of the others.

    Raises:
      ConversionError: there is no such part, or several, and none is the usual one.
    """
    split: dict[int, bool] = {}
    for state in states.values():
        split.setdefault(id(state), _has_parts(state))
    parts: dict[str, State] = {}
    for name, state in states.items():
        parts |= _split_parts(name, state) if split[id(state)] else {name: state}
    chosen = _find_usual(parts) if wanted is None else _find_named(parts, wanted)
    if chosen is not None:
        return FoundWeights(parts[chosen], chosen, tuple(name for name in parts if name != chosen))
    found = None if wanted is None else _take_prefix(states, wanted)
    if found is not None:
        return found
    names = ", ".join(show_value(name)[1:-1] for name in parts if name) or "nothing else"
    got = "none of them is the usual one" if wanted is None else f"got {show_value(wanted)}"
    raise ConversionError(
        f"one state of weights is taken from a file; {where} has {names}, and {got}; say which with --weights NAME."
    )


def _find_usual(states: Mapping[str, Any]) -> str | None:
    """Returns the only state, or the one whose names come first among the usual ones."""
    if len(states) == 1:
        return next(iter(states))
    usual = [name for name in states if set(name.split(".")) <= set(_PREFERRED)]
    return min(usual, key=lambda name: [_PREFERRED.index(part) for part in name.split(".")], default=None)


def _find_named(states: Mapping[str, Any], wanted: str) -> str | None:
    fitting = [name for name in states if name == wanted or name.startswith(f"{wanted}.")]
    return fitting[0] if len(fitting) == 1 or wanted in fitting[:1] else None


def _collect_states(
    fields: dict[Any, Any],
    path: str,
    depth: int,
    states: dict[str, State],
    seen: dict[int, bool],
    visits: Iterator[int],
) -> None:
    """Collects the dicts of nothing but tensors, by dotted path.

    Args:
      fields: where to look.
      path: of it, "" at the top.
      depth: of it.
      states: what was found, added to.
      seen: whether a dict, by identity, is a state.
      visits: counts entries that were looked at.
    """
    if id(fields) not in seen:
        seen[id(fields)] = _is_state(fields)
    if seen[id(fields)]:
        states[path] = fields
        return
    for name, value in fields.items() if depth < _DEEPEST else ():
        if len(states) > _MOST_STATES or next(visits) > _MOST_VISITS:
            raise ConversionError(
                f"a file holds up to {_MOST_STATES:,} states of weights among up to {_MOST_VISITS:,} entries; got "
                "more; save one of them alone."
            )
        if isinstance(name, str) and isinstance(value, dict) and not _NO_WEIGHTS.fullmatch(name):
            _collect_states(value, f"{path}.{name}" if path else name, depth + 1, states, seen, visits)


def _is_state(fields: Mapping[Any, Any]) -> bool:
    return bool(fields) and all(isinstance(k, str) and isinstance(v, LazyTensor) for k, v in fields.items())


def _has_parts(state: State) -> bool:
    """Tells whether a state holds two models under names of their own."""
    heads = dict.fromkeys(_SPLIT.split(key, maxsplit=1)[0] for key in state)
    return len(heads) > 1 and _PARTS.issuperset(heads) and not any(key in heads for key in state)


def _split_parts(name: str, state: State) -> dict[str, State]:
    """Splits a state that holds two models by the beginning of its keys."""
    parts: dict[str, State] = {}
    for key, tensor in state.items():
        head, rest = _SPLIT.split(key, maxsplit=1)
        parts.setdefault(f"{name}.{head}" if name else head, {})[rest] = tensor
    return parts


def _take_prefix(states: Mapping[str, State], wanted: str) -> FoundWeights | None:
    """Takes the keys that begin with a name, of the first state that has any."""
    for name, state in states.items():
        inner = wanted.removeprefix(f"{name}.") if name else wanted
        prefixes = tuple(f"{inner}{separator}" for separator in "./")
        part = {key[len(inner) + 1 :]: tensor for key, tensor in state.items() if key.startswith(prefixes)}
        if part:
            heads = dict.fromkeys(_SPLIT.split(key, maxsplit=1)[0] for key in state)
            path = f"{name}.{inner}" if name else inner
            return FoundWeights(part, path, tuple(head for head in heads if head != inner))
    return None


def _refuse(state: Mapping[Any, Any], where: str, others: Collection[str]) -> None:
    """Says what there is instead of a dict of tensors, and which other states there are."""
    tensors = {key: value for key, value in state.items() if isinstance(value, LazyTensor) and isinstance(key, str)}
    strange = [key for key in state if key not in tensors]
    named = ", ".join(f"{show_value(key)} ({_name_type(state[key])})" for key in strange[:5])
    name = next(iter(others), "")
    advice = f"take --weights {show_value(name)[1:-1]}, or " if name else ""
    raise ConversionError(
        f"weights are a dict of tensors, bare or under {', '.join(_PREFERRED[:3])}; {where} has "
        f"{len(tensors) or 'no'} tensors and {named or 'nothing else'}; {advice}save model.state_dict()."
    )


def _name_type(value: Any) -> str:
    return show_value(value.name)[1:-1] if isinstance(value, Global | StandIn) else type(value).__name__
