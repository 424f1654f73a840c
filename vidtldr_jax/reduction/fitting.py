"""A schedule, however it is written, fitted to the clips of one model."""

from __future__ import annotations

from typing import Any, Protocol

from vidtldr_jax.ops.checks import check_count, describe
from vidtldr_jax.reduction.methods import Method
from vidtldr_jax.reduction.schedule import ResolvedSchedule, Schedule, ScheduleError, resolve_schedule


class Reducible(Protocol):
    """What fitting a schedule needs to know of a model."""

    @property
    def depth(self) -> int: ...  # noqa: D102
    @property
    def num_frames(self) -> int: ...  # noqa: D102
    @property
    def image_size(self) -> int: ...  # noqa: D102
    @property
    def tubelet_size(self) -> int: ...  # noqa: D102
    @property
    def num_protected(self) -> int: ...  # noqa: D102
    @property
    def is_mergeable(self) -> bool: ...  # noqa: D102
    def count_tokens(self, frames: int, rows: int, columns: int) -> int: ...  # noqa: D102


def check_config(config: Any) -> None:
    """Refuses what does not describe a model.

    Args:
      config: what was given for the description.

    Raises:
      ValueError: it does not tell how many tokens a clip has.
    """
    if not hasattr(config, "count_tokens") or isinstance(config, type):
        raise ValueError(
            f"config describes a model, as model.config and models.get_preset do; got {describe(config)}; pass one."
        )


def check_frames(config: Reducible, num_frames: int | None) -> int:
    """Returns the frames of a clip.

    Args:
      config: the model's description.
      num_frames: of the clip; None means the description's.

    Returns:
      The number.

    Raises:
      ValueError: config describes no model, or num_frames is no multiple of its tubelet.
    """
    check_config(config)
    if num_frames is None:
        return config.num_frames
    frames = check_count("num_frames", num_frames)
    if frames < 1 or frames % config.tubelet_size:
        raise ValueError(
            f"frames are a multiple of the model's tubelet, {config.tubelet_size}; got {frames}; give another number."
        )
    return frames


def fit_schedule(
    config: Reducible, schedule: Schedule, *, method: str | Method | None = None, size: tuple[int, ...] | None = None
) -> ResolvedSchedule:
    """Resolves a schedule for the clips of a model.

    Args:
      config: the model's description.
      schedule: anything `parse_schedule` reads.
      method: how tokens are chosen, see `resolve_schedule`.
      size: frames, rows and columns of a clip; None means the description's.

    Returns:
      The schedule with its token counts.

    Raises:
      ScheduleError: the schedule does not fit, see `resolve_schedule`, or the model needs the whole grid of patches in
        every block.
      ValueError: the method does not fit, or the schedule is none.
    """
    check_config(config)
    frames, rows, columns = size or (config.num_frames, config.image_size, config.image_size)
    resolved = resolve_schedule(
        schedule,
        num_tokens=config.count_tokens(frames, rows, columns),
        num_layers=config.depth,
        num_protected=config.num_protected,
        method=method,
        num_first=config.count_tokens(config.tubelet_size, rows, columns) - config.num_protected,
    )
    if any(resolved.r) and not config.is_mergeable:
        raise ScheduleError(
            "a model whose blocks attend over time and space apart needs the whole grid of patches in "
            f"every block, so nothing can be merged; got the schedule {resolved.describe()}; take none."
        )
    return resolved


def resolve_for_clips(config: Reducible, schedule: Schedule, *, num_frames: int) -> ResolvedSchedule:
    """Resolves a schedule that is not yet resolved; one that is stays, if it is one of as many layers.

    Args:
      config: the model's description.
      schedule: anything `parse_schedule` reads.
      num_frames: of a clip.

    Returns:
      The schedule with its token counts.

    Raises:
      ValueError: the schedule does not fit the model.
    """
    if not isinstance(schedule, ResolvedSchedule):
        return fit_schedule(config, schedule, size=(num_frames, config.image_size, config.image_size))
    if len(schedule.r) != config.depth:
        raise ValueError(
            f"a resolved schedule has one r for each of the model's {config.depth} layers; got one of "
            f"{len(schedule.r)} layers; resolve it for this model, or pass its text {schedule.text!r}."
        )
    return schedule
