"""What `vidtldr info` says of a model: what it is and what a schedule makes of it."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from pathlib import Path
from typing import Any

from vidtldr_jax.cli.comparison import format_tokens
from vidtldr_jax.cli.options import refuse_model
from vidtldr_jax.cli.output import format_macs, print_json, print_line, print_note, print_table
from vidtldr_jax.cli.runtime import log_weights
from vidtldr_jax.data.labels import describe_similar
from vidtldr_jax.data.text import TOKENIZER_NAME, TextTokenizer
from vidtldr_jax.inference.checkpoint import Checkpoint, find_param_shapes, read_checkpoint
from vidtldr_jax.inference.load import find_checkpoint
from vidtldr_jax.models.architectures import Config
from vidtldr_jax.models.presets import PRESETS
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction.cost import EncoderCost, count_macs
from vidtldr_jax.reduction.elementwise import count_xla_gmacs
from vidtldr_jax.reduction.fitting import fit_schedule
from vidtldr_jax.reduction.schedule import ResolvedSchedule


def show_model(name: str, *, schedule: str | None, method: str | None, as_json: bool) -> None:
    """Print what a model is.

    Args:
      name: checkpoint folder, shipped model or preset.
      schedule: as it was written; None merges nothing.
      method: how tokens are chosen; None is vid-TLDR.
      as_json: print JSON and nothing else.

    Raises:
      CommandError: the schedule does not fit the model.
    """
    config, facts = _read_facts(name)
    try:
        resolved = fit_schedule(config, schedule, method=method)
    except ValueError as error:
        raise refuse_model(error) from error
    cost = count_macs(config, resolved)
    if as_json:
        print_json(_describe(config, facts, resolved, cost))
        return
    for note in describe_similar(facts["labels"] or ()):
        print_note(note)
    _print_facts(config, facts, resolved)
    _print_cost(cost, resolved)
    gmacs = count_xla_gmacs(config, resolved)
    print_line(f"{gmacs:.4g} as XLA and ViViT's paper count: with half of what is done to single elements")


def _read_facts(name: str) -> tuple[Config, dict[str, Any]]:
    if name in PRESETS and not Path(name).exists():
        nothing = {"folder": None, "family": None, "preprocessing": None, "labels": None, "source": None}
        return PRESETS[name], {"name": name, "kind": "preset", **nothing, "tokenizer": None}
    folder = find_checkpoint(name)
    log_weights(name, folder)
    stored = read_checkpoint(folder)
    return stored.config, {
        "name": name,
        "kind": "checkpoint",
        "folder": str(folder),
        "family": stored.family,
        "preprocessing": stored.preprocessing.to_dict(),
        "labels": stored.labels,
        "source": stored.source,
        "tokenizer": _describe_tokenizer(folder, stored),
    }


def _describe_tokenizer(folder: Path, stored: Checkpoint) -> dict[str, Any] | None:
    if stored.tokenizer is None or not isinstance(stored.config, UMTConfig):
        return None
    if importlib.util.find_spec("tokenizers") is None:
        return {"vocab_size": None}
    found = TextTokenizer.from_json(stored.tokenizer, name=str(folder / TOKENIZER_NAME))
    found.check_size(stored.config.text.vocab_size)
    return {"vocab_size": found.vocab_size}


def _describe(config: Config, facts: dict[str, Any], schedule: ResolvedSchedule, cost: EncoderCost) -> dict[str, Any]:
    return {
        **facts,
        "architecture": config.to_dict(),
        "grid": list(config.grid),
        "num_parameters": _count_parameters(config),
        "schedule": schedule.to_dict(),
        "gmacs": cost.gmacs,
        "xla_gmacs": count_xla_gmacs(config, schedule),
        "macs_by_part": cost.by_part(),
        "macs_by_layer": [layer.total for layer in cost.layers],
    }


def _count_parameters(config: Config) -> int:
    return sum(math.prod(shape) for shape in find_param_shapes(config).values())


def _print_facts(config: Config, facts: dict[str, Any], schedule: ResolvedSchedule) -> None:
    heads = [f"classifier of {config.num_classes}"] if config.num_classes else []
    heads += [f"projection to {config.embed_dim}"] if config.embed_dim else []
    rows = [
        ("model", f"{facts['name']} ({facts['kind']}{', family ' + facts['family'] if facts['family'] else ''})"),
        ("parameters", f"{_count_parameters(config):,}"),
        ("clip", f"{config.num_frames} frames x {config.image_size} x {config.image_size} pixels"),
        ("tokens", _format_grid(config)),
        *_list_encoders(config),
        ("outputs", ", ".join(heads) or "tokens only"),
        ("schedule", schedule.describe()),
        ("tokens per layer", format_tokens(list(schedule.tokens))),
    ]  # fmt: skip
    if facts["folder"]:
        rows.append(("folder", facts["folder"]))
    if facts["preprocessing"]:
        rows.append(("preprocessing", _format_preprocessing(facts["preprocessing"])))
    if facts["labels"]:
        shown = ", ".join(facts["labels"][:4])
        rows.append(("labels", f"{len(facts['labels'])}: {shown}{', ...' if len(facts['labels']) > 4 else ''}"))
    if facts["folder"] and isinstance(config, UMTConfig):
        rows.append(("tokenizer", _format_tokenizer(facts["tokenizer"])))
    if facts["source"]:
        rows.append(("source", ", ".join(f"{key}: {value}" for key, value in facts["source"].items())))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print_line(f"{name.ljust(width)}  {value}")
    print_line()


def _format_grid(config: Config) -> str:
    t, y, x = config.grid
    sequences = config.count_sequences(config.num_frames)
    tokens = f"{config.num_tokens} = {t // sequences} x {y} x {x} patches of {config.tubelet_size} x "
    tokens += f"{config.patch_size} x {config.patch_size}"
    tokens += " and a class token" if config.num_cls_tokens else ""
    return f"{sequences} times {tokens}" if sequences > 1 else tokens


def _list_encoders(config: Config) -> list[tuple[str, str]]:
    rows = [
        ("encoder", f"{config.depth} layers, {config.dim} channels, {config.num_heads} heads, MLP {config.mlp_dim}")
    ]
    if isinstance(config, ViViTConfig) and config.temporal is not None:
        over = config.temporal
        heads = f"{over.depth} layers, {over.dim} channels, {over.num_heads} heads, MLP {over.mlp_dim}"
        rows.append(("over time", f"{heads}, one token for each time"))
    if isinstance(config, UMTConfig):
        for name, part in (("text encoder", config.text), ("decoder", config.decoder)):
            if part is not None:
                rows.append(
                    (name, f"{part.depth} layers (fusion from {part.fusion_from_layer}), {part.dim} channels, "
                     f"{part.num_heads} heads, MLP {part.mlp_dim}, {part.vocab_size} words, {part.max_positions} "
                     "positions")
                )  # fmt: skip
    return rows


def _format_preprocessing(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_format_value(value)}" for name, value in fields.items() if value is not None)


def _format_tokenizer(fields: dict[str, Any] | None) -> str:
    if fields is None:
        return "none; give --tokenizer where texts are read"
    if fields["vocab_size"] is None:
        return f"{TOKENIZER_NAME}, not read: install 'vidtldr-jax[retrieval]'"
    return f"{fields['vocab_size']:,} words, {TOKENIZER_NAME}"


def _format_value(value: Any) -> str:
    return "/".join(f"{part:g}" for part in value) if isinstance(value, list) else str(value)


def _print_cost(cost: EncoderCost, schedule: ResolvedSchedule) -> None:
    parts = [field.name for field in dataclasses.fields(cost.layers[0]) if not field.name.startswith("tokens")]
    rows = [("patches", "", "", *[""] * len(parts), format_macs(cost.patches))]
    for number, layer in enumerate(cost.layers):
        macs = [format_macs(getattr(layer, part)) for part in parts]
        rows.append((f"layer {number}", str(layer.tokens_in), str(schedule.r[number]), *macs, format_macs(layer.total)))
    if cost.final_norm:
        rows.append(("final norm", "", "", *[""] * len(parts), format_macs(cost.final_norm)))
    if cost.temporal:
        rows.append(("over time", "", "", *[""] * len(parts), format_macs(cost.temporal)))
    by_part = cost.by_part()
    totals = [format_macs(by_part[part]) for part in parts]
    rows.append(("sum", str(schedule.tokens[-1]), str(sum(schedule.r)), *totals, format_macs(cost.total)))
    print_table(("GMACs per clip", "tokens", "r", *parts, "sum"), rows)
