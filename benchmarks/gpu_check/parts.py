"""Step 3: where does the time of merged UMT-L/16 in bfloat16 go?

Every part of every layer is compiled alone, at the shapes that it has there, and timed in turn with the whole model.
Besides, a profile of the whole model tells parts apart by their named scopes, where a trace names operations.
"Match" is similarity and the choice of partners, "top-k" the choice of pairs, "merge" gathering and summing.
"""

from __future__ import annotations

import collections
import functools
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp

from benchmarks import profile_scopes
from benchmarks.floor import MERGE_FORMS, Piece, Setting, list_pieces, make_piece
from benchmarks.gpu_check.own_programs import repeat
from benchmarks.gpu_check.programs import describe_error, explain, make_side_by_side, time_in_rounds
from benchmarks.gpu_check.random_models import choose_config, choose_schedule, make_model
from benchmarks.gpu_check.sizes import Size
from benchmarks.gpu_check.steps import Deadline
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_video
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.reduction.schedule import ResolvedSchedule

PRESET: Final = "umt-l16"
DTYPE: Final = "bfloat16"


def run(size: Size, deadline: Deadline, excluded: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Time every part of the merged model, then profile the whole.

    Args:
      size: of the measurement.
      deadline: until when.
      excluded: forms of attention to leave out.

    Yields:
      Rows of plain data.
    """
    config = choose_config(PRESET, is_rehearsal=size.is_rehearsal)
    form: Any = "blocked" if "kernel" in excluded else "auto"
    model = make_model(config, DTYPE, schedule=choose_schedule(PRESET, config), attention=form)
    facts = {"preset": PRESET, "dtype": DTYPE, "batch_size": size.parts_batch, "schedule": model.schedule.text}
    for row in time_parts(model, size, deadline):
        yield {"kind": "part", **facts, **row}
    for row in profile_model(model, size):
        yield {"kind": "scope", **facts, **row}


def time_parts(model: VideoModel, size: Size, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """Compile and time the whole model and all of its parts, and yield a row for each part."""
    parts = split_matching(list_pieces(model.config, model.schedule), model.schedule)
    setting = Setting(model.config, dtype=DTYPE, batch_size=size.parts_batch, form=model.attention)
    video = jnp.asarray(make_random_video(model.config, batch_size=size.parts_batch))
    makers = {piece: functools.partial(make_piece, setting, piece) for part in parts.values() for piece in part}
    made = make_side_by_side({"whole": functools.partial(compile_whole, model, video), **makers}, deadline)
    failed = {key: program for key, program in made.items() if isinstance(program, str)}
    runs = {key: repeat(program) for key, program in made.items() if not isinstance(program, str)}
    times = time_in_rounds(runs, repeats=size.repeats, round_seconds=size.round_seconds)
    medians = {key: statistics.median(seconds) for key, seconds in times.items()}
    macs = count_macs(model.config, model.schedule).by_part()
    for name, pieces in {"whole": Counter(["whole"]), **parts}.items():
        row: dict[str, Any] = {"part": name}
        if reasons := [failed[piece] for piece in pieces if piece in failed]:
            yield row | explain(reasons[0])
            continue
        seconds = sum(count * medians[piece] for piece, count in pieces.items())
        yield row | {"milliseconds": round(1e3 * seconds, 4), "gmacs": round(macs.get(name, 0) / 1e9, 3)}


def split_matching(parts: Mapping[str, Counter[Piece]], schedule: ResolvedSchedule) -> dict[str, Counter[Piece]]:
    """Split what chooses pairs into similarity and top-k, and say merging in every form.

    Args:
      parts: from `list_pieces`.
      schedule: of the model.

    Returns:
      Part -> how often each piece is run; a negative count is taken off. Forms of merging are alternatives, "merging"
      is the one that runs.
    """
    split = {name: Counter(pieces) for name, pieces in parts.items()}
    split["top-k"] = Counter()
    for form in MERGE_FORMS:
        split[f"merging, {form}"] = Counter()
    for tokens, r in zip(schedule.tokens, schedule.r):
        if r:
            split["top-k"][Piece("top-k", tokens, r)] += 1
            split["matching"][Piece("top-k", tokens, r)] -= 1
            for form in MERGE_FORMS:
                split[f"merging, {form}"][Piece(f"merging, {form}", tokens, r)] += 1
    return split


def compile_whole(model: VideoModel, video: jax.Array) -> Any:
    """Compile the whole model; return a function that runs it."""
    compiled = model.get_encode_function(video.shape).lower(model.weights, video).compile()
    return functools.partial(compiled, model.weights, video)


def profile_model(model: VideoModel, size: Size) -> Iterator[dict[str, Any]]:
    """Profile the whole model, and yield the milliseconds of each named scope."""
    video = jnp.asarray(make_random_video(model.config, batch_size=size.parts_batch))
    try:
        profile = profile_scopes.prepare(model, video)
        rounds = [profile() for _ in range(size.repeats)]
    except Exception as error:  # a trace that names no operation, as some devices and versions write it
        yield {"failed": describe_error(error)}
        return
    sums: dict[str, float] = collections.defaultdict(float)
    for block in profile_scopes.take_shortest(rounds).values():
        for part, milliseconds in block.items():
            sums[part] += milliseconds
    for part, milliseconds in sorted(sums.items()):
        yield {"part": part, "milliseconds": round(milliseconds, 4)}
