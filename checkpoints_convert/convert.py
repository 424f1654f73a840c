"""From somebody's checkpoint to a folder that `load_model` reads.

report = convert_checkpoint("vit_b16_k400.pth", "checkpoints/umt-b16-k400", settings={"frames": 8})
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from checkpoints_convert.errors import ConversionError, show_value
from checkpoints_convert.plan import ConversionPlan, plan_conversion
from checkpoints_convert.rules import Assignment, apply_transform
from checkpoints_convert.sources import Source, open_source
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.text import TextTokenizer
from vidtldr_jax.inference.checkpoint import LazyArray, make_initial_params, save_checkpoint
from vidtldr_jax.inference.finite_weights import is_finite
from vidtldr_jax.inference.hub import load_tokenizer
from vidtldr_jax.models.umt_config import UMTConfig

# Raised when the same source gives other parameters, another config or other preprocessing.
CONVERTER_VERSION: Final = 3
DTYPES: Final = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """What a conversion did.

    Attributes:
      destination: the checkpoint folder.
      family: which rules were used.
      source: the source's name.
      config: the architecture.
      preprocessing: how clips are made for it.
      labels: names of the classes, or None.
      assignments: source key -> the parameters that it fills.
      left_out: source keys that no parameter needs, each named in the family's list.
      ignored: source keys that the caller's patterns left out.
      fresh: parameters without a source that the caller's patterns let through; they have initial values.
      origins: fact about the architecture and the preprocessing -> where it comes from.
      num_parameters: numbers in all parameters together.
      dtype: in which the parameters are stored.
      tokenizer: where the tokenizer of its texts is from, or None.
      entry: the part of the file that the weights are, "" for all of it.
      other_entries: further parts of the file that hold weights.
      stripped: what wrappers had put before or into the names and was taken off, "" for nothing.
      notes: what a user should know of fields that nothing here follows.
    """

    destination: Path
    family: str
    source: str
    config: Any
    preprocessing: Preprocessing
    labels: list[str] | None
    assignments: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    ignored: tuple[str, ...]
    fresh: tuple[str, ...]
    origins: Mapping[str, str]
    num_parameters: int
    dtype: str
    tokenizer: str | None = None
    entry: str = ""
    other_entries: tuple[str, ...] = ()
    stripped: str = ""
    notes: tuple[str, ...] = ()


def convert_checkpoint(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    family: str | None = None,
    weights: str | None = None,
    settings: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    tokenizer: str | os.PathLike[str] | None = None,
    allow_missing: Sequence[str] = (),
    ignore: Sequence[str] = (),
    check: Callable[[ConversionPlan], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionReport:
    """Converts a checkpoint, or says everything that is wrong with it.

    One tensor at a time is in memory.

    Args:
      source: a torch, safetensors, msgpack or .npz file, a folder of Hugging Face's or Scenic's, or "hf://owner/name".
        Nothing in it is executed.
      destination: the checkpoint folder to write; it appears complete or not at all.
      family: a key of `FAMILIES`; None finds it by the keys.
      weights: which of several states of weights in a file, such as "model_ema"; None takes the usual one.
      settings: facts that the weights can't tell (heads, frames, image_size, gelu, norm_eps, labels, and the fields of
        `Preprocessing`); text is read as JSON or as a comma list. They go before what the checkpoint's own config says.
      dtype: in which parameters are stored: "float32", "bfloat16" or "float16".
      tokenizer: of the texts that the model reads: a tokenizer.json, a vocab.txt, a folder or "hf://owner/name" with
        either. It is kept beside the weights.
      allow_missing: patterns (* stands for anything) of parameters, or of the keys they come from, that may have no
        source; they get initial values.
      ignore: patterns of source keys to leave out.
      check: called with the plan before anything is written; what it raises stops the conversion.
      progress: called with the bytes written so far and in all.

    Returns:
      A `ConversionReport`. What `allow_missing` and `ignore` let through is in config.json, too.

    Raises:
      ConversionError: the source can't be read or is refused, facts are missing, or keys and parameters don't match
        one to one; the message names all faults of a kind.
      CheckpointError: the destination is taken by something else.
      TextError: the tokenizer can't be read or is not the model's.
    """
    if dtype not in DTYPES:
        raise ConversionError(f"dtypes are {', '.join(DTYPES)}; got {dtype!r}; choose one.")
    allow_missing, ignore = ((given,) if isinstance(given, str) else given for given in (allow_missing, ignore))
    opened = open_source(source, weights=weights)
    plan = plan_conversion(opened, family=family, settings=settings, allow_missing=allow_missing, ignore=ignore)
    check_plan(plan)
    opened = plan.source
    _check_copies(opened, plan)
    if check is not None:
        check(plan)
    words = None if tokenizer is None else _load_tokenizer(os.fspath(tokenizer), plan.config)
    if plan.preprocessing is None:
        raise RuntimeError("a checked plan has preprocessing.")
    params = _describe_params(opened, plan, np.dtype(jnp.dtype(dtype)))
    num_bytes = sum(int(np.prod(array.shape)) * array.dtype.itemsize for array in params.values())
    record = {
        "name": opened.name,
        "sha256": dict(opened.digests),
        "entry": opened.entry,
        "other_entries": list(opened.other_entries),
        "stripped": opened.stripped,
        "family": plan.family.name,
        "converter_version": CONVERTER_VERSION,
        "dtype": dtype,
        "left_out": list(plan.left_out),
        "ignored": list(plan.ignored),
        "missing": list(plan.fresh),
        "settings": dict(plan.settings),
        "preprocessing_from": plan.preprocessing_from,
        "notes": list(plan.notes),
    }
    written = save_checkpoint(
        destination,
        params=params,
        family=plan.family.saved_as.get(plan.config.tubelet_size) or plan.family.saved_as[None],
        config=plan.config,
        preprocessing=plan.preprocessing,
        labels=plan.labels,
        source=record,
        tokenizer=None if words is None else words.to_json(),
        progress=None if progress is None else lambda done: progress(done, num_bytes),
    )
    return ConversionReport(
        destination=written,
        family=plan.family.name,
        source=opened.name,
        config=plan.config,
        preprocessing=plan.preprocessing,
        labels=plan.labels,
        assignments={assignment.key: assignment.targets for assignment in plan.assignments},
        left_out=plan.left_out,
        ignored=plan.ignored,
        fresh=plan.fresh,
        origins={name: fact.origin for name, fact in plan.facts.items()},
        num_parameters=sum(int(np.prod(array.shape)) for array in params.values()),
        dtype=dtype,
        tokenizer=None if words is None else words.name,
        entry=opened.entry,
        other_entries=opened.other_entries,
        stripped=opened.stripped,
        notes=plan.notes,
    )


def _load_tokenizer(place: str, config: Any) -> TextTokenizer:
    if not isinstance(config, UMTConfig):
        raise ConversionError(
            f"a tokenizer is for a model that reads texts; this one is a {config.architecture}; "
            "leave the tokenizer out."
        )
    words = load_tokenizer(place)
    words.check_size(config.text.vocab_size)
    return words


def check_plan(plan: ConversionPlan) -> None:
    """Refuses a plan with anything wrong in it.

    Args:
      plan: what `plan_conversion` returned.

    Raises:
      ConversionError: facts are missing or keys and parameters don't match; all of them are named.
    """
    if plan.missing:
        raise ConversionError.collect(
            "neither the weights nor a config tell",
            [*plan.missing, *plan.faults],
            "give them as settings",
        )
    if plan.faults:
        raise ConversionError.collect(
            f"every key of a {plan.family.title} fills parameters and every parameter is filled once",
            plan.faults,
            "get the original file, or give the family and settings that fit it; nothing was written",
        )


def _check_copies(source: Source, plan: ConversionPlan) -> None:
    """Refuses a key that is left out as another's copy and is none: one of the two would be lost."""
    faults = [
        f"{key} is not {other}"
        for key, other in plan.family.copies.items()
        if key in plan.left_out
        and other in source.tensors
        and not np.array_equal(source.tensors[key].read(), source.tensors[other].read())
    ]
    if faults:
        raise ConversionError.collect(
            f"some keys of a {plan.family.title} are copies of others",
            faults,
            "get the original file, or leave one out with --ignore",
        )


def _describe_params(source: Source, plan: ConversionPlan, dtype: np.dtype) -> dict[str, LazyArray]:
    """Describes the parameters in the source's order; each is read when it is written."""
    params: dict[str, LazyArray] = {}
    read_last = _LastRead(source)
    for assignment in plan.assignments:
        empty = np.broadcast_to(np.zeros((), np.int8), source.tensors[assignment.key].shape)
        for target, made in apply_transform(assignment, empty).items():
            read = functools.partial(_read_param, read_last, assignment, target, dtype)
            params[target] = LazyArray(made.shape, dtype, read)
    fresh = make_initial_params(plan.config, plan.fresh) if plan.fresh else {}
    for path, values in fresh.items():
        params[path] = LazyArray(values.shape, dtype, functools.partial(_cast, values, dtype, show_value(path)))
    return params


class _LastRead:
    """Reads tensors and keeps the last one, since one key may fill several parameters."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.place = source.place
        self._key: str | None = None
        self._values = np.zeros(0)

    def __call__(self, key: str) -> np.ndarray:
        if key != self._key:
            self._key, self._values = None, np.zeros(0)  # lets the old one go before the next comes
            self._values = np.asarray(self._source.tensors[key].read())
            self._key = key
        return self._values


def _read_param(read: _LastRead, assignment: Assignment, target: str, dtype: np.dtype) -> np.ndarray:
    values = apply_transform(assignment, read(assignment.key))[target]
    return _cast(values, dtype, f"{show_value(assignment.key)} of {read.place}")


def _cast(values: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    if not is_finite(values):
        raise ConversionError(
            f"weights are finite numbers; {name} has infinite ones or NaN; it is damaged, or "
            "its training diverged; get the original file; nothing was written."
        )
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(values, dtype=dtype)
    if values.dtype != dtype and np.isinf(cast).any():
        largest = float(np.abs(values.astype(np.float64)).max())
        raise ConversionError(
            f"{dtype.name} holds numbers up to {float(jnp.finfo(dtype).max):.6g}; {name} has "
            f"{largest:.6g}; store it in another dtype; nothing was written."
        )
    return cast.reshape(values.shape)
