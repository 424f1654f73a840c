"""The description of a kind of checkpoint: data, and one function for the preprocessing that belongs to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from checkpoints_convert.rules import Rule

# Settings and the checkpoint's preprocessor -> fields of a Preprocessing and where they come from.
PreprocessingReader = Callable[[Mapping[str, Any], Mapping[str, Any] | None], tuple[dict[str, Any], str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of checkpoint.

    Attributes:
      name: how it is called on the command line.
      title: how it is called in a sentence.
      saved_as: the family that is written to config.json, by tubelet size; None stands for any other.
      rules: which key becomes which parameter.
      prefixes: what may stand before the keys that the rules name.
      leave_out: patterns of keys that no parameter needs.
      lengths: fact -> places where the weights show it, (key pattern, axis); most places win.
      presence: fact -> patterns, it is True if a key fits one.
      choices: fact -> (pattern, value) in order; the first pattern that fits a key gives the value, "*" any.
      config_names: fact -> its name in the checkpoint's own config.
      config_values: fact -> value in the checkpoint's own config -> ours; a value outside is a fault.
      constants: facts that are the same for the whole family.
      known_inputs: (num_frames, image_size, tubelet_size) of published files, the usual one of a tubelet size first.
      read_preprocessing: what belongs to the weights, given the facts and the checkpoint's preprocessor.
    """

    name: str
    title: str
    saved_as: Mapping[int | None, str]
    rules: tuple[Rule, ...]
    prefixes: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    lengths: Mapping[str, tuple[tuple[str, int], ...]]
    presence: Mapping[str, tuple[str, ...]]
    choices: Mapping[str, tuple[tuple[str, str], ...]]
    config_names: Mapping[str, str]
    config_values: Mapping[str, Mapping[Any, Any]] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    known_inputs: tuple[tuple[int, int, int], ...] = ()
    read_preprocessing: PreprocessingReader


def name_block_rules(source: str, names: Mapping[str, str]) -> tuple[Rule, ...]:
    """Writes the rules of a block's modules with a weight [out, in] and a bias.

    Args:
      source: prefix of a block's keys, with {i}.
      names: module in the source -> module here.

    Returns:
      A weight rule (transposed) and a bias rule for each.
    """
    rules = []
    for theirs, ours in names.items():
        target = f"encoder/block_{{i}}/{ours}"
        rules += [
            Rule(f"{source}.{theirs}.weight", (f"{target}/kernel",), "transpose"),
            Rule(f"{source}.{theirs}.bias", (f"{target}/bias",)),
        ]
    return tuple(rules)


def name_norm_rules(names: Mapping[str, str]) -> tuple[Rule, ...]:
    """Writes the rules of LayerNorms.

    Args:
      names: module in the source -> module here; {i} in both or neither.

    Returns:
      A scale rule and a bias rule for each.
    """
    parts = (("weight", "scale"), ("bias", "bias"))
    return tuple(
        Rule(f"{theirs}.{their_part}", (f"{ours}/{our_part}",))
        for theirs, ours in names.items()
        for their_part, our_part in parts
    )
