"""The description of a kind of checkpoint: data, and one function for the preprocessing that belongs to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from checkpoints_convert.families.published import PUBLISHED_VIDEO_VITS, PublishedInput, PublishedModel
from checkpoints_convert.rules import Rule
from vidtldr_jax.models.config import VideoViTConfig

# Settings and the checkpoint's preprocessor -> fields of a Preprocessing and where they come from.
PreprocessingReader = Callable[[Mapping[str, Any], Mapping[str, Any] | None], tuple[dict[str, Any], str]]
# Facts -> the frozen description of an architecture.
ConfigBuilder = Callable[[Mapping[str, Any]], Any]

VIDEO_FACTS: Final = (
    "num_frames",
    "image_size",
    "patch_size",
    "tubelet_size",
    "dim",
    "depth",
    "num_heads",
    "mlp_dim",
    "gelu",
    "norm_eps",
)


def build_video_vit(facts: Mapping[str, Any]) -> VideoViTConfig:
    """Builds the description of a joint space-time ViT.

    Args:
      facts: its fields; `num_positions` is the length of a learned position table, others are ignored.

    Returns:
      The description.

    Raises:
      ValueError: fields don't fit each other or the position table.
    """
    fields = {field.name for field in dataclasses.fields(VideoViTConfig)}
    config = VideoViTConfig(**{name: value for name, value in facts.items() if name in fields})
    positions = facts.get("num_positions", config.num_tokens)
    if positions != config.num_tokens:
        raise ValueError(
            f"{config.num_frames} frames of {config.image_size} x {config.image_size} are "
            f"{config.num_tokens} tokens; the position table in the weights has {positions}; give other settings for "
            "frames or image_size."
        )
    # A fixed table was made for this grid; other clips get it interpolated, as the originals do.
    return dataclasses.replace(config, position_grid=config.grid)


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
      choices: fact -> (pattern, value) in order; the first pattern that fits a key gives the value, "*" any;
        None says that the weights can't tell.
      read_preprocessing: what belongs to the weights, given the facts and the checkpoint's preprocessor.
      config_root: entry of the checkpoint's own config that holds the names, where it is there; else its top does.
      config_names: fact -> its name in the checkpoint's own config; dots go into nested ones, of several names the
        first that is there counts.
      config_values: fact -> value in the checkpoint's own config -> ours; a value outside is a fault.
      constants: facts that are the same for the whole family.
      known_inputs: clips of published models, the usual ones of a tubelet size first.
      counts: fact -> key patterns with {i}; the highest layer's number plus 1.
      first_layers: fact -> key patterns with {i}; the lowest layer's number.
      published: published models, each with the file that says so.
      settable: facts that a caller may give beside those of every video encoder.
      hints: fact -> what a caller who must give it should know, where that is special to the family.
      required: facts without which there is no architecture.
      build_config: facts -> the description of the architecture.
      signature: patterns of which each must fit a key, or the family is not chosen by itself.
      original_classes: PyTorch classes that load strictly what comes back, with a head and without.
      why_no_way_back: why nothing comes back, and what to do; empty where something does.
      export_prefix: what stands before the keys of the original class.
      export_bare: patterns of keys that have no prefix there.
      is_prefixed_with_head_only: whether the class without a head has no prefix at all.
      buffers: keys of the original class that hold no parameter, and what makes them from the description.
      copies: keys of the original class that are another key's numbers a second time.
    """

    name: str
    title: str
    saved_as: Mapping[int | None, str]
    rules: tuple[Rule, ...]
    prefixes: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    lengths: Mapping[str, tuple[tuple[str, int], ...]]
    presence: Mapping[str, tuple[str, ...]]
    choices: Mapping[str, tuple[tuple[str, str | None], ...]]
    read_preprocessing: PreprocessingReader
    config_root: str = ""
    config_names: Mapping[str, str | tuple[str, ...]] = dataclasses.field(default_factory=dict)
    config_values: Mapping[str, Mapping[Any, Any]] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    known_inputs: tuple[PublishedInput, ...] = ()
    counts: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    first_layers: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    published: tuple[PublishedModel, ...] = PUBLISHED_VIDEO_VITS
    settable: tuple[str, ...] = ()
    hints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    required: tuple[str, ...] = VIDEO_FACTS
    build_config: ConfigBuilder = build_video_vit
    signature: tuple[str, ...] = ()
    original_classes: tuple[str, str] = ("", "")
    why_no_way_back: str = ""
    export_prefix: str = ""
    export_bare: tuple[str, ...] = ()
    is_prefixed_with_head_only: bool = False
    buffers: Mapping[str, Callable[[Any], Any]] = dataclasses.field(default_factory=dict)
    copies: Mapping[str, str] = dataclasses.field(default_factory=dict)


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
