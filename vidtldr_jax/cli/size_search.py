"""From which size merging pays: larger clips, then larger batches, measured until a time budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from vidtldr_jax.cli.comparison import FEWEST_FOR_CERTAINTY, compare_models

if TYPE_CHECKING:
    from vidtldr_jax.inference.model import VideoModel

BUDGET_SECONDS: Final = 60.0
# Tokens of a whole batch: UMT-B/16 takes about 5 GiB for so many.
_MOST_TOKENS: Final = 2**16
# How much longer the next size is taken to last: more tokens, but as long to compile.
_GROWTH: Final = 1.5
# Of the budget, what may be spent before the batch is doubled instead of the frames.
_SHARE_OF_FRAMES: Final = 2 / 3
# Runs of some milliseconds are repeated up to so often, for about a second at the start's size.
_MOST_RUNS: Final = 51
_SECONDS_OF_RUNS: Final = 1.0

Axis = Literal["frames", "batch_size"]


class Size(NamedTuple):
    """What a model is measured on.

    Attributes:
      frames: of a clip.
      batch_size: clips.
    """

    frames: int
    batch_size: int

    def times(self, axis: Axis, factor: int) -> Size:
        """Returns a size that is a multiple along one axis."""
        return self._replace(**{axis: factor * getattr(self, axis)})


class Trial(NamedTuple):
    """What was measured at one size.

    Attributes:
      frames: of a clip.
      batch_size: clips.
      tokens: that come into the first layer.
      speedup: plain over merged.
      pays: whether merged is faster, and the runs of both do not overlap.
    """

    frames: int
    batch_size: int
    tokens: int
    speedup: float
    pays: bool


class Search(NamedTuple):
    """What a search brought.

    Attributes:
      found: the smallest size that was measured and pays, or None.
      tried: everything that was measured, in order.
    """

    found: Trial | None
    tried: tuple[Trial, ...]


def choose_repeats(result: Mapping[str, Any], repeats: int) -> int:
    """Returns how often a size is run: as often as was asked for, and more where runs are short and so unsteady.

    Args:
      result: from `compare_models`, of the start.
      repeats: counted runs of each that were asked for.

    Returns:
      Counted runs of each.
    """
    seconds = result["plain"]["median_seconds"] + result["merged"]["median_seconds"]
    return max(repeats, FEWEST_FOR_CERTAINTY, min(_MOST_RUNS, int(_SECONDS_OF_RUNS / seconds)))


def measure_size(model: VideoModel, size: Size, *, repeats: int) -> Trial:
    """Measures a model without and with its schedule at another size.

    Args:
      model: with the schedule, which is resolved for the size: ratios stay ratios, counts stay counts.
      size: of the batch.
      repeats: counted runs of each.

    Returns:
      A `Trial`.
    """
    from vidtldr_jax.inference.timing import make_random_video

    video = make_random_video(model.config, batch_size=size.batch_size, num_frames=size.frames)
    result = compare_models(model, video, repeats=repeats)
    pays = result["pays"] and result["is_certain"]
    return Trial(*size, result["merged"]["schedule"]["tokens"][0], result["speedup"], pays)


def fits_memory(model: VideoModel, size: Size) -> bool:
    """Tells whether a size has few enough tokens to be tried on an ordinary machine."""
    config = model.config
    tokens = config.count_tokens(size.frames, config.image_size, config.image_size)
    return size.batch_size * config.count_sequences(size.frames) * tokens <= _MOST_TOKENS


def find_paying_size(
    measure: Callable[[Size], Trial],
    start: Size,
    *,
    first_seconds: float,
    fits: Callable[[Size], bool],
    budget_seconds: float = BUDGET_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Search:
    """Looks for the smallest size at which merging pays.

    Frames are doubled until it does, for two thirds of the time; if it never did, the batch is doubled for the rest.
    Between a size that pays and the one before it, the gap is halved, in multiples of the start. Nothing is begun that
    is likely to end past the budget.

    Args:
      measure: measures one size.
      start: the size at which it does not pay.
      first_seconds: how long measuring the start took.
      fits: whether a size may be tried at all.
      budget_seconds: for the search.
      clock: seconds.

    Returns:
      A `Search`.
    """
    began = clock()
    tried: list[Trial] = []
    shares: dict[Axis, float] = {"frames": _SHARE_OF_FRAMES, "batch_size": 1.0}
    for axis, share in shares.items():
        found: Trial | None = None
        seconds, losing = first_seconds, 1
        paying: int | None = None
        while (factor := _choose_factor(losing, paying)) is not None:
            size, latest = start.times(axis, factor), began + budget_seconds * (share if found is None else 1.0)
            if not fits(size) or clock() + _GROWTH * seconds > latest:
                break
            before = clock()
            trial = measure(size)
            seconds = clock() - before
            tried.append(trial)
            if trial.pays:
                found, paying = trial, factor
            else:
                losing = factor
        if found is not None:
            return Search(found, tuple(tried))
    return Search(None, tuple(tried))


def _choose_factor(losing: int, paying: int | None) -> int | None:
    """Doubles until something pays, then halves the gap; None where there is nothing between the two."""
    if paying is None:
        return 2 * losing
    return (losing + paying) // 2 if paying - losing > 1 else None


def describe_search(search: Search, start: Size) -> str:
    """Says in one sentence what a search that began at a size brought."""
    found, tried = search
    if found is not None:
        return (
            f"merging pays from {_format_size(found)}, the smallest size that was tried with a clear gain: "
            f"{found.speedup:.2f} x the speed with the schedule as it was written; "
            f"see it with --frames {found.frames} --batch-size {found.batch_size}."
        )
    if not tried:
        return "no larger size was tried: one alone would take too much time or memory."
    longer, wider = ([t for t in tried if getattr(t, axis) > getattr(start, axis)] for axis in Size._fields)
    reached = [_format_size(trials[-1]) for trials in (longer, wider) if trials]
    return f"merging did not clearly pay at any larger size that was tried either: up to {' and '.join(reached)}."


def list_search(search: Search | None, result: Mapping[str, Any], start: Size) -> dict[str, Any]:
    """Returns a search as plain data.

    Args:
      search: what it brought; None where there was none.
      result: from `compare_models`, of the start.
      start: the size that was asked for.

    Returns:
      "pays_from": the smallest size measured at which merging pays, the start where it does there, or None; "searched":
      all larger ones that were measured.
    """
    found, tried = search or (None, ())
    if result["pays"]:
        found = Trial(*start, result["merged"]["schedule"]["tokens"][0], result["speedup"], True)
    pays_from = None
    if found is not None:
        pays_from = {name: value for name, value in found._asdict().items() if name != "pays"}
    return {"pays_from": pays_from, "searched": [trial._asdict() for trial in tried]}


def _format_size(trial: Trial) -> str:
    return f"{trial.frames} frames ({trial.tokens} tokens) at batch {trial.batch_size}"
