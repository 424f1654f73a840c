"""Proof that a converted model gives the original's numbers: layer by layer, in float32, at the highest precision.

check = verify_checkpoint("videomae-base", "checkpoints/videomae-b16")                # transformers' own class
check = verify_checkpoint("umt.pth", "checkpoints/umt", samples="original.npz")       # what you stored
check.passed, check.first_different
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from flax.errors import FlaxError

from checkpoints_convert.errors import ConversionError, show_error, show_value
from checkpoints_convert.family_choice import rate_keys
from checkpoints_convert.npz_files import PARAMS_ROOT, is_npz, read_npz_arrays
from checkpoints_convert.originals import check_original, has_original, run_original
from checkpoints_convert.sources import open_source
from checkpoints_convert.tensors import LazyTensor
from checkpoints_convert.wrappers import unwrap_source
from vidtldr_jax.inference.checkpoint import Checkpoint, read_checkpoint
from vidtldr_jax.inference.outputs import QUESTION_INPUTS, TEXT_INPUTS, collect_outputs
from vidtldr_jax.reduction.schedule import resolve_schedule

TOLERANCE: Final = 1e-4
# The same things under the names that the original codes have for them.
_ALIASES: Final = {
    "input": "video",
    "vision_proj": "embedding",
    "text_proj": "text_embedding",
    "itc_v2t": "similarity",
    "itm_v2t": "match",
    "topk_ids": "ranked_ids",
    "topk_probs": "ranked_probabilities",
}
# Outputs of one run without and one with the schedule of the file.
_PLAIN, _MERGED = "_plain", "_merged"
_INPUTS: Final = ("video", "r", *TEXT_INPUTS, *QUESTION_INPUTS)
_STACK: Final = "hidden_states"
_REAL: Final = "fiub"  # kinds of NumPy's dtypes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """How far one output is from the original's.

    Attributes:
      name: the output; `block_3` is the tokens after the fourth block.
      max_abs: largest absolute difference; NaN where either is not finite.
      max_rel: the same in units of the original's largest magnitude.
      tolerance: what is allowed of max_abs.
    """

    name: str
    max_abs: float
    max_rel: float
    tolerance: float

    @property
    def is_within(self) -> bool:
        """Whether the outputs agree."""
        return self.max_abs <= self.tolerance  # False for NaN


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """What a comparison found.

    Attributes:
      compared_with: the original, or the file with its numbers.
      rows: one `Difference` for each output, in the order of computation.
      skipped: arrays of the file that no output of ours stands against.
    """

    compared_with: str
    rows: tuple[Difference, ...]
    skipped: tuple[str, ...] = ()

    @property
    def first_different(self) -> str | None:
        """The first output that differs, or None."""
        return next((row.name for row in self.rows if not row.is_within), None)

    @property
    def passed(self) -> bool:
        """Whether all outputs agree."""
        return self.first_different is None


def verify_checkpoint(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    samples: str | os.PathLike[str] | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> VerificationReport:
    """Compares a converted model with its original.

    Args:
      source: the checkpoint that was converted; transformers loads it.
      folder: what the conversion wrote.
      samples: a .npz with the original's input and output, for originals that can't be imported: `video`
        `[B, T, Y, X, C]` or `[B, T, C, Y, X]`, if tokens were merged `r` (one number per block), for models with text
        `input_ids` and `attention_mask`, and any of the outputs that `collect_outputs` names, or `hidden_states`
        `[L + 1, B, N, D]`, embeddings first. None runs the original on random input.
      tolerance: the largest difference allowed, times the output's largest magnitude where that is above 1.
      seed: of the random input.

    Returns:
      A `VerificationReport`.

    Raises:
      ConversionError: there is no original to run and no file, or nothing in the file can be compared.
      CheckpointError: the folder can't be read.
    """
    stored = read_checkpoint(folder)
    family, config = str(stored.source.get("family")), stored.config
    check_verifiable(family, config, samples, source=source)
    if samples is not None:
        return _compare_with_samples(stored, Path(samples), tolerance)
    shape = (1, config.num_frames, config.image_size, config.image_size, config.num_channels)
    video = np.random.default_rng(seed).standard_normal(shape, np.float32)
    opened = open_source(source, weights=str(stored.source.get("entry") or "") or None)
    theirs = run_original(
        unwrap_source(opened, lambda keys: rate_keys(keys, family)),
        family,
        video,
        dtype=str(stored.source.get("dtype", "float32")),
        has_head=config.num_classes is not None or config.embed_dim is not None,
    )
    ours = _collect(stored, {"video": video}, (), "a random clip")
    return VerificationReport(compared_with="transformers", rows=_compare(ours, theirs, tolerance))


def check_verifiable(
    family: str,
    config: Any,
    samples: str | os.PathLike[str] | None,
    *,
    source: str | os.PathLike[str] | None = None,
) -> None:
    """Checks before a conversion whether its result can be verified, as far as that can be known.

    Args:
      family: the family by whose rules the source is converted.
      config: the architecture.
      samples: as in `verify_checkpoint`; of a file the names and the video's shape are read.
      source: the checkpoint, if it is to be checked that the original can be made from it.

    Raises:
      ConversionError: what `verify_checkpoint` would raise: there is no original to run and no file, torch or
        transformers is missing, the source is no folder or is for other clips, the file is missing or has no video that
        the model takes.
    """
    if samples is not None:
        path = Path(samples)
        _find_channels(_describe_samples(path), config, path)
        return
    if not has_original(family):
        raise ConversionError(
            f"the original of family {show_value(family)[1:-1]} can't be imported; give a .npz of "
            "its input and output: video, and logits, tokens, embedding or hidden_states."
        )
    if getattr(config, "encoding", "per_frame") != "per_frame":
        raise ConversionError(
            "CLIP's original takes single frames, and this model encodes them jointly; verify a "
            "conversion with encoding=per_frame, whose parameters are the same."
        )
    check_original(config, source)


def _compare_with_samples(stored: Checkpoint, path: Path, tolerance: float) -> VerificationReport:
    described = _describe_samples(path)
    channels = _find_channels(described, stored.config, path)
    given = {name: array.read() for name, array in described.items()}
    inputs = {name: values for name, values in given.items() if name in _INPUTS and name != "r"}
    inputs["video"] = np.moveaxis(given["video"], channels, -1).astype(np.float32)
    counts = _resolve(stored.config, given, inputs["video"].shape)
    theirs = {name: values for name, values in given.items() if name not in _INPUTS}
    rows: list[Difference] = []
    compared: set[str] = set()
    for suffix, r in (("", counts), (_PLAIN, ()), (_MERGED, counts)):
        wanted = {name.removesuffix(suffix): name for name in theirs if name.endswith(suffix)}
        if suffix == "" or wanted:
            ours = _collect(stored, inputs, r, str(path))
            pairs = {name: theirs[their] for name, their in wanted.items() if name in ours}
            pairs |= _split_stack(theirs, stored.config.depth) if suffix == "" else {}
            rows += [dataclasses.replace(row, name=row.name + suffix) for row in _compare(ours, pairs, tolerance)]
            compared |= {wanted.get(name, _STACK) for name in pairs}
    skipped = tuple(name for name in theirs if name not in compared)
    if not rows:
        raise ConversionError(
            f"nothing in {path} can be compared: it has {_list_names(given)}; store logits, tokens, "
            "pooled, embedding or hidden_states."
        )
    return VerificationReport(compared_with=path.name, rows=tuple(rows), skipped=skipped)


def _collect(
    stored: Checkpoint, inputs: Mapping[str, np.ndarray], r: tuple[int, ...], what: str
) -> dict[str, np.ndarray]:
    try:
        return collect_outputs(stored, inputs, r=r)
    except (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError, FlaxError) as error:
        raise ConversionError(
            f"the model takes inputs of its own form; it does not run on {what} ({show_error(error)}); fix the input."
        ) from error


def _compare(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], tolerance: float
) -> tuple[Difference, ...]:
    return tuple(_measure(name, values, theirs[name], tolerance) for name, values in ours.items() if name in theirs)


def _measure(name: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> Difference:
    if theirs.dtype.kind not in _REAL:
        raise ConversionError(
            f"outputs are real numbers; {name} has dtype {theirs.dtype}; store it as the original gives it."
        )
    if ours.shape != theirs.shape:
        raise ConversionError(
            f"{name} is {ours.shape} here and {theirs.shape} in the original; check the input, the schedule and --set."
        )
    if np.issubdtype(theirs.dtype, np.integer):
        different = float(np.count_nonzero(ours != theirs))
        return Difference(name=name, max_abs=different, max_rel=different / max(theirs.size, 1), tolerance=0.0)
    largest = float(np.abs(theirs.astype(np.float64)).max(initial=0.0))
    with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, which is not within any tolerance
        apart = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0.0))
    return Difference(
        name=name, max_abs=apart, max_rel=apart / largest if largest else apart, tolerance=tolerance * max(1.0, largest)
    )


def _describe_samples(path: Path) -> dict[str, LazyTensor]:
    """Reads names and shapes; parameters, which a checkpoint of the same file would have, are left alone."""
    if not path.exists():
        raise ConversionError(f"there is no {path}; check the path.")
    if not is_npz(path):
        raise ConversionError(f"{path} is no .npz of arrays; save it with numpy.savez.")
    try:
        arrays = read_npz_arrays(path)
    except ConversionError as error:
        raise ConversionError(f"{path} is no .npz of arrays: {error}") from error
    return {_ALIASES.get(name, name): array for name, array in arrays.items() if not name.startswith(PARAMS_ROOT)}


def _find_channels(described: Mapping[str, LazyTensor], config: Any, path: Path) -> int:
    """Returns the axis of the video's channels."""
    if "video" not in described:
        raise ConversionError(
            f"a file of samples has video or input; {path} has {_list_names(described)}; store the input too."
        )
    video = described["video"]
    axis = next((axis for axis in (4, 2) if video.shape[axis : axis + 1] == (config.num_channels,)), None)
    if axis is None or len(video.shape) != 5 or 0 in video.shape or video.dtype.kind not in _REAL:
        raise ConversionError(
            f"video is [B, T, Y, X, {config.num_channels}] or [B, T, {config.num_channels}, Y, X], "
            f"real numbers, no axis empty; {path} has {show_value(video.shape)}, {video.dtype}; store it like that."
        )
    return axis


def _list_names(names: Iterable[str]) -> str:
    return ", ".join(show_value(name)[1:-1] for name in list(names)[:20]) or "nothing"


def _resolve(config: Any, given: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> tuple[int, ...]:
    if "r" not in given:
        return ()
    r = np.atleast_1d(given["r"])
    if r.dtype.kind not in _REAL or r.ndim > 1:
        raise ConversionError(
            f"r is one number for each block; got shape {show_value(r.shape)}, {r.dtype}; store it like that."
        )
    try:
        return resolve_schedule(
            [float(entry) for entry in r],
            num_tokens=config.count_tokens(*shape[1:4]),
            num_layers=config.depth,
            num_protected=config.num_protected,
        ).r
    except ValueError as error:
        raise ConversionError(f"r does not fit the model: {show_error(error)}") from error


def _split_stack(theirs: Mapping[str, np.ndarray], depth: int) -> dict[str, np.ndarray]:
    if _STACK not in theirs:
        return {}
    stack = theirs[_STACK]
    if stack.ndim != 4 or len(stack) != depth + 1:
        raise ConversionError(
            f"{_STACK} is [{depth + 1}, B, N, D], the embeddings and the tokens after each of "
            f"{depth} blocks; got shape {show_value(stack.shape)}; store all of them."
        )
    return {"embeddings" if n == 0 else f"block_{n - 1}": layer for n, layer in enumerate(stack)}
