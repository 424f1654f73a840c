"""Rules as data: which key of a source becomes which parameter, and how its axes are turned."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from checkpoints_convert.errors import show_value

Transform = Callable[[np.ndarray], tuple[np.ndarray, ...]]
Inverse = Callable[[Sequence[np.ndarray]], np.ndarray]


def _split_rows(values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Splits query, key and value, stacked along the outputs, and turns each to [in, out]."""
    third = values.shape[0] // 3
    return tuple(values[n * third : (n + 1) * third].T for n in range(3))


TRANSFORMS: Final[dict[str, Transform]] = {
    "copy": lambda values: (values,),
    "transpose": lambda values: (values.T,),  # [out, in] -> [in, out]
    "conv3d": lambda values: (values.transpose(2, 3, 4, 1, 0),),  # [D, C, t, p, p] -> [t, p, p, C, D]
    "conv2d": lambda values: (values.transpose(2, 3, 1, 0)[None],),  # [D, C, p, p] -> [1, p, p, C, D]
    "drop_batch": lambda values: (values[0],),  # [1, N, D] -> [N, D]
    "drop_ones": lambda values: (values[0, 0],),  # [1, 1, D] -> [D]
    "split_qkv": _split_rows,
    "split_qkv_bias": lambda values: tuple(values.reshape(3, -1)),
    "join_heads_in": lambda values: (values.reshape(len(values), -1),),  # [D, H, K] -> [D, H K]
    "join_heads_out": lambda values: (values.reshape(-1, values.shape[-1]),),  # [H, K, D] -> [H K, D]
    "join_heads_bias": lambda values: (values.reshape(-1),),  # [H, K] -> [H K]
}
# The way back, where the parameters alone tell it; heads that were joined can't be told apart any more.
INVERSES: Final[dict[str, Inverse]] = {
    "copy": lambda parts: parts[0],
    "transpose": lambda parts: parts[0].T,
    "conv3d": lambda parts: parts[0].transpose(4, 3, 0, 1, 2),
    "conv2d": lambda parts: parts[0][0].transpose(3, 2, 0, 1),
    "drop_batch": lambda parts: parts[0][None],
    "drop_ones": lambda parts: parts[0][None, None],
    "split_qkv": lambda parts: np.concatenate([part.T for part in parts]),
    "split_qkv_bias": lambda parts: np.concatenate(list(parts)),
}
_RANKS: Final = {
    "transpose": 2,
    "conv3d": 5,
    "conv2d": 4,
    "drop_batch": 3,
    "drop_ones": 3,
    "split_qkv": 2,
    "split_qkv_bias": 1,
    "join_heads_in": 3,
    "join_heads_out": 3,
    "join_heads_bias": 2,
}
# No model has more layers; a number of thousands of digits can't even be read. Of several {i} the first is the layer.
_ANY_NUMBER: Final = "(?:0|[1-9][0-9]{0,3})"
_DIGITS: Final = re.compile("[0-9]+")
_NUMBER: Final = "(?P<i>0|[1-9][0-9]{0,3})"


@dataclasses.dataclass(frozen=True)
class Rule:
    """One kind of key.

    Attributes:
      source: the key, with {i} for a layer's number.
      targets: the parameters that it fills, in the transform's order; {i} as in the source.
      transform: a name in `TRANSFORMS`.
    """

    source: str
    targets: tuple[str, ...]
    transform: str = "copy"


class Assignment(NamedTuple):
    """What becomes of one key.

    Attributes:
      key: as in the source.
      targets: parameter paths.
      transform: a name in `TRANSFORMS`.
    """

    key: str
    targets: tuple[str, ...]
    transform: str


@functools.cache
def _compile(pattern: str) -> re.Pattern[str]:
    first, *others = re.sub(r"\*+", "*", pattern).split("{i}")
    text = re.escape(first) + "".join(
        (_ANY_NUMBER if number else _NUMBER) + re.escape(part) for number, part in enumerate(others)
    )
    return re.compile(text.replace(re.escape("*"), ".*"), re.DOTALL)


@functools.cache
def _compile_any(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Compiles several patterns into one that fits what any of them fits."""
    return re.compile("|".join(_compile(pattern).pattern.replace("?P<i>", "?:") for pattern in patterns), re.DOTALL)


def strip_prefix(key: str, prefixes: Sequence[str]) -> str:
    """Removes the first prefix that the key starts with."""
    return next((key.removeprefix(prefix) for prefix in prefixes if key.startswith(prefix)), key)


def is_left_out(key: str, patterns: Sequence[str]) -> bool:
    """Tells whether a key is named in a list of what to leave out; * stands for anything."""
    return bool(patterns) and _compile_any(tuple(patterns)).fullmatch(key) is not None


def find_layer(key: str, pattern: str) -> int | None:
    """Returns the layer's number of a key that a pattern with {i} fits, 0 for one without {i}, None where none fits."""
    match = _compile(pattern).fullmatch(key)
    return None if match is None else int(match.groupdict().get("i") or 0)


def matches(key: str, pattern: str) -> bool:
    """Tells whether a pattern fits a whole key; {i} is a layer's number, * anything."""
    return _compile(pattern).fullmatch(key) is not None


def assign_key(key: str, rules: Sequence[Rule], prefixes: Sequence[str] = ()) -> Assignment | None:
    """Finds the rule of a key.

    Args:
      key: as in the source.
      rules: the family's.
      prefixes: what may stand before the keys that the rules name.

    Returns:
      Where it goes, or None if no rule fits.
    """
    bare = strip_prefix(key, prefixes)
    for rule in rules:
        match = _compile(rule.source).fullmatch(bare)
        if match:
            number = match.groupdict().get("i") or ""
            return Assignment(key, tuple(target.replace("{i}", number) for target in rule.targets), rule.transform)
    return None


class RuleFinder:
    """Finds the rules of many keys: only rules are tried that equal a key but for numbers."""

    def __init__(self, rules: Sequence[Rule], prefixes: Sequence[str]) -> None:
        """Takes a family's rules and what may stand before the keys that they name."""
        self._prefixes = prefixes
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules:
            self._rules.setdefault(_blur(rule.source.replace("{i}", "0")), []).append(rule)

    def find(self, key: str) -> Assignment | None:
        """Returns what becomes of a key, as `assign_key` does."""
        return assign_key(key, self._rules.get(_blur(strip_prefix(key, self._prefixes)), ()), self._prefixes)


def _blur(key: str) -> str:
    return _DIGITS.sub("#", key)


def apply_transform(assignment: Assignment, values: np.ndarray) -> Mapping[str, np.ndarray]:
    """Turns one source array into the parameters that it fills, as views.

    Args:
      assignment: where it goes.
      values: the source array.

    Returns:
      Parameter path -> array.

    Raises:
      ValueError: the array has another number of axes than the transform turns.
    """
    rank = _RANKS.get(assignment.transform, values.ndim)
    is_uneven = assignment.transform.startswith("split_qkv") and values.shape[:1] and values.shape[0] % 3
    num_ones = {"drop_batch": 1, "drop_ones": 2}.get(assignment.transform, 0)
    is_batch = values.shape[:num_ones] != (1,) * num_ones
    if values.ndim != rank or is_uneven or is_batch:
        raise ValueError(
            f"{assignment.transform} takes {rank} axes (query, key and value in thirds, a batch of "
            f"1); {show_value(assignment.key)} has shape {values.shape}; check the key."
        )
    return dict(zip(assignment.targets, TRANSFORMS[assignment.transform](values), strict=True))
