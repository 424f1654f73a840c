"""Whether a budget of time is far out of reach, told before the pieces of a model are timed, which takes minutes.

Only the schedule that merges most is compiled and run, and the plain model where it could be the faster one. What is
near the limit is left to the table of times, which knows schedules in between.
"""

from __future__ import annotations

import functools
from typing import Final

import jax

from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_video, time_in_turn
from vidtldr_jax.reduction.methods import Method
from vidtldr_jax.reduction.planner import Search, make_gmacs_measure, propose_schedules
from vidtldr_jax.reduction.schedule import ResolvedSchedule

_REPEATS: Final = 3
# Share of the fastest run below which nothing else can be as fast: another schedule, another moment of this machine.
_CLEARLY_BELOW: Final = 0.7
# Seconds of a run below which starting programs may take longer than computing, so that merging may not pay.
_SHORT: Final = 0.5


def check_reach(
    model: VideoModel,
    *,
    max_seconds: float | None = None,
    speedup: float | None = None,
    batch_size: int = 1,
    num_frames: int | None = None,
) -> None:
    """Refuse a budget of time that no schedule comes near; of the two kinds one is given.

    Args:
      model: whose times are wanted; its weights don't matter, its schedule only by its method.
      max_seconds: of one run at most.
      speedup: times faster than the plain model.
      batch_size: clips of a run.
      num_frames: of a clip; None means the config's.

    Raises:
      ValueError: the budget is clearly out of reach, or the model can't be reduced; the message says what is feasible.
    """
    method = model.schedule.method
    search = _search(model, method, num_frames)
    least = search.least.schedule
    fastest = _time(model, least, batch_size, num_frames)
    name = f"under {least.text}"
    if speedup is not None or fastest < _SHORT:
        plain = _time(model, search.plain.schedule, batch_size, num_frames)
        if speedup is not None:
            max_seconds = plain / speedup
        if plain < fastest:
            fastest, name = plain, "without merging"
    assert max_seconds is not None
    if max_seconds >= _CLEARLY_BELOW * fastest:
        return
    got = f"{1000 * max_seconds:.4g} ms" if speedup is None else f"{speedup:g} x the plain model's speed"
    raise ValueError(
        f"one run takes {1000 * fastest:.4g} ms on this machine {name}, the fastest schedule tried"
        f"{search.explain_limit()}; got {got}; take more time, a smaller batch, or fewer frames."
    )


def _search(model: VideoModel, method: Method, num_frames: int | None) -> Search:
    measure = make_gmacs_measure(model.config, num_frames=num_frames)
    return propose_schedules(model.config, measure, 0.0, method=method, num_frames=num_frames)


def _time(model: VideoModel, schedule: ResolvedSchedule, batch_size: int, num_frames: int | None) -> float:
    """Return the seconds of the fastest of a few runs under a schedule."""
    one = model.with_schedule(schedule)
    video = one.place_video(make_random_video(model.config, batch_size=batch_size, num_frames=num_frames))
    run = functools.partial(one.get_encode_function(video.shape), one.weights, video)
    jax.block_until_ready(run())
    return min(time_in_turn({"run": run}, repeats=_REPEATS, warm_up=0)["run"].seconds)
