"""Proof that a converted model gives the original's numbers: layer by layer, in float32, at the highest precision.

check = verify_checkpoint("videomae-base", "checkpoints/videomae-b16")                # transformers' own class
check = verify_checkpoint("umt.pth", "checkpoints/umt", samples="original.npz")       # what you stored
check.passed, check.first_different
"""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from checkpoints_convert.errors import ConversionError
from checkpoints_convert.originals import has_original, run_original
from checkpoints_convert.sources import open_source
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
    if samples is not None:
        return _compare_with_samples(stored, Path(samples), tolerance)
    family = str(stored.source.get("family"))
    if not has_original(family):
        raise ConversionError(
            f"verify_checkpoint: the original of family {family} can't be imported; give a .npz of its input and "
            "output: video, and logits, tokens, embedding or hidden_states."
        )
    config = stored.config
    if getattr(config, "encoding", "per_frame") != "per_frame":
        raise ConversionError(
            "verify_checkpoint: CLIP's original takes single frames, and this model encodes them jointly; verify a "
            "conversion with encoding=per_frame, whose parameters are the same."
        )
    shape = (1, config.num_frames, config.image_size, config.image_size, config.num_channels)
    video = np.random.default_rng(seed).standard_normal(shape, np.float32)
    theirs = run_original(
        open_source(source),
        family,
        video,
        dtype=str(stored.source.get("dtype", "float32")),
        has_head=config.num_classes is not None or config.embed_dim is not None,
    )
    return VerificationReport(
        compared_with="transformers", rows=_compare(collect_outputs(stored, {"video": video}), theirs, tolerance)
    )


def _compare_with_samples(stored: Checkpoint, path: Path, tolerance: float) -> VerificationReport:
    given = _read_samples(path)
    if "video" not in given:
        raise ConversionError(
            f"verify_checkpoint: a file of samples has video or input; {path} has {', '.join(given)}; store "
            "the input too."
        )
    inputs = {name: values for name, values in given.items() if name in _INPUTS and name != "r"}
    inputs["video"] = _put_channels_last(given["video"], stored.config.num_channels, path)
    counts = _resolve(stored.config, given, inputs["video"].shape)
    theirs = {name: values for name, values in given.items() if name not in _INPUTS}
    rows: list[Difference] = []
    compared: set[str] = set()
    for suffix, r in (("", counts), (_PLAIN, ()), (_MERGED, counts)):
        wanted = {name.removesuffix(suffix): name for name in theirs if name.endswith(suffix)}
        if suffix == "" or wanted:
            ours = collect_outputs(stored, inputs, r=r)
            pairs = {name: theirs[their] for name, their in wanted.items() if name in ours}
            pairs |= _split_stack(theirs) if suffix == "" else {}
            rows += [dataclasses.replace(row, name=row.name + suffix) for row in _compare(ours, pairs, tolerance)]
            compared |= {wanted.get(name, _STACK) for name in pairs}
    skipped = tuple(name for name in theirs if name not in compared)
    if not rows:
        raise ConversionError(
            f"verify_checkpoint: nothing in {path} can be compared: it has {', '.join(given)}; store logits, tokens, "
            "pooled, embedding or hidden_states."
        )
    return VerificationReport(compared_with=path.name, rows=tuple(rows), skipped=skipped)


def _compare(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], tolerance: float
) -> tuple[Difference, ...]:
    return tuple(_measure(name, values, theirs[name], tolerance) for name, values in ours.items() if name in theirs)


def _measure(name: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> Difference:
    if ours.shape != theirs.shape:
        raise ConversionError(
            f"verify_checkpoint: {name} is {ours.shape} here and {theirs.shape} in the original; check the input, the "
            "schedule and --set."
        )
    if np.issubdtype(theirs.dtype, np.integer):
        different = float(np.count_nonzero(ours != theirs))
        return Difference(name=name, max_abs=different, max_rel=different / max(theirs.size, 1), tolerance=0.0)
    largest = float(np.abs(theirs.astype(np.float64)).max(initial=0.0))
    apart = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0.0))
    return Difference(
        name=name, max_abs=apart, max_rel=apart / largest if largest else apart, tolerance=tolerance * max(1.0, largest)
    )


def _read_samples(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if not name.startswith("params/")}
    except FileNotFoundError as error:
        raise ConversionError(f"verify_checkpoint: there is no {path}; check the path.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ConversionError(
            f"verify_checkpoint: {path} is no .npz of arrays ({error}); save it with numpy.savez."
        ) from error
    return {_ALIASES.get(name, name): values for name, values in arrays.items()}


def _put_channels_last(video: np.ndarray, num_channels: int, path: Path) -> np.ndarray:
    if video.ndim == 5 and video.shape[-1] == num_channels:
        return video.astype(np.float32)
    if video.ndim == 5 and video.shape[2] == num_channels:
        return video.transpose(0, 1, 3, 4, 2).astype(np.float32)
    raise ConversionError(
        f"verify_checkpoint: video is [B, T, Y, X, {num_channels}] or [B, T, {num_channels}, Y, X]; {path} has "
        f"{video.shape}; store it like that."
    )


def _resolve(config: Any, given: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> tuple[int, ...]:
    if "r" not in given:
        return ()
    try:
        return resolve_schedule(
            [float(r) if 0 < r < 1 else int(r) for r in np.atleast_1d(given["r"])],
            num_tokens=config.count_tokens(*shape[1:4]),
            num_layers=config.depth,
            num_protected=config.num_protected,
        ).r
    except ValueError as error:
        raise ConversionError(f"verify_checkpoint: r does not fit the model: {error}") from error


def _split_stack(theirs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if _STACK not in theirs:
        return {}
    return {"embeddings" if n == 0 else f"block_{n - 1}": layer for n, layer in enumerate(theirs[_STACK])}
