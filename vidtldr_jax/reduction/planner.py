"""A budget -> schedules: several shapes, each made as large as the budget allows.

    plan = plan_schedule(config, max_gmacs=178)
    print(plan.text)  # "520,261,131" for UMT-B/16: what every command takes; plan.schedule is what load_model takes
    for proposal in plan.proposals:
        print(proposal.shape, proposal.schedule.text, proposal.gmacs)

A shape says how the tokens that go are shared out over the layers. How many go is searched for, token by token: of all
schedules of a shape the one is proposed that costs most and not more than the budget.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from vidtldr_jax.ops.checks import check_static, describe, is_number
from vidtldr_jax.reduction.cost import Architecture, count_macs
from vidtldr_jax.reduction.fitting import check_config, check_frames
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Method, get_method
from vidtldr_jax.reduction.schedule import ResolvedSchedule
from vidtldr_jax.reduction.shapes import Room, Shape, list_shapes, share_out

Measure: TypeAlias = Callable[[ResolvedSchedule], float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proposal:
    """A schedule that fits a budget.

    Attributes:
      shape: how its tokens are shared out, in words.
      schedule: as it runs.
      gmacs: multiply-accumulates of a clip, in units of 10^9.
      value: of what the budget limits: GMACs, or tokens after the last layer, or whatever was measured.
    """

    shape: str
    schedule: ResolvedSchedule
    gmacs: float
    value: float


class Search(NamedTuple):
    """What a search through all shapes found.

    Attributes:
      proposals: one for each shape that can meet the limit, no schedule twice; the plain model alone where that meets
        it; empty where nothing does.
      plain: the model without merging.
      least: the smallest value that any shape reaches.
      room: what the schedules are made for.
    """

    proposals: tuple[Proposal, ...]
    plain: Proposal
    least: Proposal
    room: Room

    def explain_limit(self) -> str:
        """Says what keeps the search from going below its least value, to be put behind the model's name."""
        room, last = self.room, self.least.schedule.tokens[-1]
        return (
            f" by {room.method.name}, whose first layer can lose {room.describe_limit()} at most "
            f"({room.num_tokens} -> {last} in the end)"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Schedules that fit a budget, the default first.

    Attributes:
      budget: in words.
      limit: what `Proposal.value` does not exceed.
      proposals: at least one.
      plain: the model without merging.
    """

    budget: str
    limit: float
    proposals: tuple[Proposal, ...]
    plain: Proposal

    @property
    def schedule(self) -> ResolvedSchedule:
        """The first proposal's, as `load_model` takes it."""
        return self.proposals[0].schedule

    @property
    def text(self) -> str:
        """The first proposal's schedule as every command takes it; "none" where the plain model fits."""
        return self.schedule.text

    def __str__(self) -> str:
        return self.text

    def describe(self) -> str:
        """Says in one line what is proposed first and what it costs."""
        first = self.proposals[0]
        if first.schedule.is_plain:
            return f"{self.budget}: the plain model needs no more ({first.gmacs:.1f} GMACs), so nothing need be merged"
        cost = f"{first.gmacs:.1f} GMACs, plain {self.plain.gmacs:.1f}"
        return f"{self.budget}: {first.schedule.describe()}; {cost} ({first.shape})"


def plan_schedule(
    config: Architecture,
    *,
    max_gmacs: float | None = None,
    keep: float | None = None,
    speedup: float | None = None,
    method: str | Method = DEFAULT_METHOD,
    num_frames: int | None = None,
) -> Plan:
    """Proposes schedules for a budget, of which exactly one kind is given.

    Args:
      config: the model's description.
      max_gmacs: multiply-accumulates of a clip's encoder at most, in units of 10^9, as `count_macs` counts.
      keep: share of a sequence's tokens, in (0, 1], that is left after the last layer at most.
      speedup: how many times fewer multiply-accumulates than the plain model's, at least 1. Seconds fall less.
      method: how tokens are chosen, by name or as a `Method`; matching costs what it compares, and it says how many
        tokens a layer can lose.
      num_frames: of the clips; None means the config's.

    Returns:
      A `Plan`. In its first proposal each layer loses half of what the one before does, as published schedules about
      do, if that can meet the budget.

    Raises:
      ValueError: not exactly one budget is given, it is no such number, the model or its clips can't be reduced by the
        method, or no schedule meets the budget; then the message says what is feasible.

    Reference:
      Published schedules are those of vid-TLDR, arXiv 2403.13347; the same count in every layer is ToMe's, arXiv
      2210.09461.
    """
    given = {"max_gmacs": max_gmacs, "keep": keep, "speedup": speedup}
    name, number = _check_budget({name: value for name, value in given.items() if value is not None})
    if name == "keep":
        tokens = _find_room(config, method, num_frames).num_tokens
        limit: float = math.floor(number * tokens)
        search = propose_schedules(config, count_last_tokens, limit, method=method, num_frames=num_frames)
        feasible = f"from {_round_up(search.least.value / tokens)} to 1"
        budget = f"at most {number:g} of the tokens"
    else:
        measure = make_gmacs_measure(config, num_frames=num_frames)
        plain = measure(_find_room(config, method, num_frames).resolve_plain())
        limit = number if name == "max_gmacs" else plain / number
        search = propose_schedules(config, measure, limit, method=method, num_frames=num_frames)
        least = search.least.value
        is_cost = name == "max_gmacs"
        feasible = f"from {_round_up(least)} to {plain:.4g}" if is_cost else f"from 1 to {_round_down(plain / least)}"
        budget = f"at most {limit:.4g} GMACs"
    if not search.proposals:
        raise ValueError(
            f"{name} is {feasible} for this model{search.explain_limit()}; got {number:g}; take one in "
            "between, or fewer frames."
        )
    return Plan(budget=budget, limit=limit, proposals=search.proposals, plain=search.plain)


def propose_schedules(
    config: Architecture,
    measure: Measure,
    limit: float,
    *,
    method: str | Method = DEFAULT_METHOD,
    num_frames: int | None = None,
) -> Search:
    """Finds for every shape the schedule with the largest measure that does not exceed a limit.

    Args:
      config: the model's description.
      measure: what a schedule costs, in any unit; it may not grow where a layer that loses tokens loses more.
      limit: what it may cost.
      method: how tokens are chosen.
      num_frames: of the clips; None means the config's.

    Returns:
      A `Search`.

    Raises:
      ValueError: the model, or clips of so many frames, can't be reduced by the method.
    """
    check_config(config)
    if not config.is_mergeable:
        raise ValueError(
            "a model whose blocks attend over time and space apart needs the whole grid of patches in "
            "every block, so nothing can be merged; take a joint or a factorised-encoder model."
        )
    room = _find_room(config, method, num_frames)
    if room.find_limit(room.num_tokens) < 1:
        raise ValueError(
            f"the first layer must be able to lose a token; by {room.method.name} it can lose "
            f"{room.describe_limit()} of a sequence; take another method, or more frames."
        )
    count_gmacs = make_gmacs_measure(config, num_frames=num_frames)

    def propose(shape: str, schedule: ResolvedSchedule) -> Proposal:
        return Proposal(shape=shape, schedule=schedule, gmacs=count_gmacs(schedule), value=measure(schedule))

    plain = propose("plain", room.resolve_plain())
    found: dict[tuple[int, ...], Proposal] = {}
    least = plain
    for shape in list_shapes(config.depth, room.method):
        tokens = share_out(shape, room.num_free - 1, room)
        if tokens is None:
            continue
        least = min(least, propose(shape.name, room.resolve(tokens)), key=lambda one: one.value)
        schedule = _find_within(shape, measure, limit, room)
        if schedule is not None:
            found.setdefault(schedule.r, propose(shape.name, schedule))
    return Search((plain,) if plain.value <= limit else tuple(found.values()), plain, least, room)


def make_gmacs_measure(config: Architecture, *, num_frames: int | None = None) -> Measure:
    """Returns the function from a schedule to GMACs of a clip, for `propose_schedules`."""
    return lambda schedule: count_macs(config, schedule, num_frames=num_frames).gmacs


def count_last_tokens(schedule: ResolvedSchedule) -> float:
    """Returns the tokens after the last layer, for `propose_schedules`."""
    return schedule.tokens[-1]


def _check_budget(given: dict[str, float]) -> tuple[str, float]:
    if len(given) != 1:
        found = " and ".join(f"{name} = {describe(value)}" for name, value in given.items()) or "none"
        raise ValueError(f"exactly one budget is given: max_gmacs, keep or speedup; got {found}; give one.")
    ((name, number),) = given.items()
    check_static(name, number)
    rules = {
        "max_gmacs": ("a number above 0", lambda value: value > 0),
        "keep": ("above 0 and at most 1", lambda value: 0 < value <= 1),
        "speedup": ("a number from 1 on", lambda value: value >= 1),
    }
    rule, is_met = rules[name]
    if not (is_number(number) and math.isfinite(number) and is_met(number)):
        raise ValueError(f"{name} is {rule}; got {describe(number)}; give another.")
    return name, float(number)


def _round_up(value: float) -> str:
    """Writes a number with three digits, none too small, so that it can be taken at its word."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / step) * step:.3g}"


def _round_down(value: float) -> str:
    """Writes a number with three digits, none too large."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.floor(value / step) * step:.3g}"


def _find_room(config: Architecture, method: str | Method, num_frames: int | None) -> Room:
    frames = check_frames(config, num_frames)
    count, first = (config.count_tokens(n, config.image_size, config.image_size) for n in (frames, config.tubelet_size))
    return Room(count, config.depth, config.num_protected, first - config.num_protected, get_method(method))


def _find_within(shape: Shape, measure: Measure, limit: float, room: Room) -> ResolvedSchedule | None:
    """Finds the schedule of a shape with the largest measure within a limit; None where all are above it."""

    def is_within(lost: int) -> bool:
        tokens = share_out(shape, lost, room)
        return tokens is not None and measure(room.resolve(tokens)) <= limit

    # From one token in each layer to all but one.
    counts = range(len(shape.layers), room.num_free)
    place = bisect.bisect_left(counts, True, key=is_within)
    tokens = share_out(shape, counts[place], room) if place < len(counts) else None
    if tokens is None:
        return None
    # With one token fewer it is too much; perhaps not if only the last layers lose fewer.
    before = share_out(shape, counts[place] - 1, room) or tokens
    mixed = [tokens[: layer + 1] + before[layer + 1 :] for layer in shape.layers[1:]]
    candidates = [room.resolve(counted) for counted in (tokens, *mixed)]
    return max((one for one in candidates if measure(one) <= limit), key=measure)
