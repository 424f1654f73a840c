"""Shapes of schedules: how the tokens that go are shared out over the layers, whatever their number."""

from __future__ import annotations

import itertools
from typing import Final, Literal, NamedTuple, TypeAlias

from vidtldr_jax.reduction.schedule import ResolvedSchedule, format_schedule, resolve_schedule

ShapeKind: TypeAlias = Literal["halving", "same share", "same count"]

# Published schedules take most in the first layer, and about half as much in each further one.
_NUM_HALVING: Final = (3, 2, 4)
_NUM_SAME_SHARE: Final = (2, 4)
_SINGLE_LAYERS: Final = (0, 1)


class Shape(NamedTuple):
    """How the tokens that go are shared out.

    Attributes:
      kind: "halving", each layer absorbs half of what the one before does; "same share" of the tokens that come;
        "same count".
      layers: those that absorb, in order.
    """

    kind: ShapeKind
    layers: tuple[int, ...]

    @property
    def name(self) -> str:
        """In words."""
        if len(self.layers) == 1:
            return f"all in layer {self.layers[0]}"
        return f"{self.kind}, layers {self.layers[0]} to {self.layers[-1]}"

    def reach(self, share: float) -> tuple[float, ...]:
        """Returns which share of all tokens has gone after each of its layers, if so many go in the end."""
        count = len(self.layers)
        steps = range(1, count + 1)
        if self.kind == "halving":
            return tuple(share * (1 - 0.5**step) / (1 - 0.5**count) for step in steps)
        if self.kind == "same share":
            return tuple(1 - (1 - share) ** (step / count) for step in steps)
        return tuple(share * step / count for step in steps)


class Room(NamedTuple):
    """What a schedule is made for.

    Attributes:
      num_tokens: of a sequence before the first layer, protected ones included.
      num_layers: of the encoder.
      num_protected: leading tokens that are never absorbed.
    """

    num_tokens: int
    num_layers: int
    num_protected: int

    @property
    def num_free(self) -> int:
        """Tokens that may be absorbed."""
        return self.num_tokens - self.num_protected

    def find_limit(self, tokens: int) -> int:
        """Returns how many tokens a layer can absorb that gets so many."""
        return (tokens - self.num_protected) // 2

    def resolve(self, tokens: tuple[int, ...]) -> ResolvedSchedule:
        """Returns the schedule with these token counts, before the first layer and after each."""
        counts = [before - after for before, after in itertools.pairwise(tokens)]
        return resolve_schedule(
            format_schedule(counts),
            num_tokens=self.num_tokens,
            num_layers=self.num_layers,
            num_protected=self.num_protected,
        )


def list_shapes(num_layers: int) -> tuple[Shape, ...]:
    """Lists the shapes for so many layers, the one that is taken first in front."""
    halving: list[Shape] = [Shape("halving", tuple(range(count))) for count in _NUM_HALVING if count <= num_layers]
    shares = [count for count in (*_NUM_SAME_SHARE, num_layers) if 1 < count <= num_layers]
    same_share = [Shape("same share", tuple(range(count))) for count in shares]
    single = [Shape("same count", (layer,)) for layer in _SINGLE_LAYERS if layer < num_layers]
    everywhere = Shape("same count", tuple(range(num_layers)))
    # Of few layers, some are the same.
    return tuple(dict.fromkeys((*halving, *same_share, *single, everywhere)))


def share_out(shape: Shape, absorbed: int, room: Room) -> tuple[int, ...] | None:
    """Shares out tokens.

    Each layer of the shape absorbs one token, and of the others its share, in all as many as rounding the sums up to
    each layer gives. Where a layer can't absorb so many, the next ones make up for it. More absorbed never leaves more
    tokens after any layer.

    Args:
      shape: how.
      absorbed: how many, in all; fewer go where the layers can't absorb so many.
      room: what the schedule is made for.

    Returns:
      Tokens before the first layer and after each; None where there are too few for one in each layer.
    """
    spread = room.num_free - len(shape.layers)
    rest = absorbed - len(shape.layers)
    if not 0 <= rest < spread:
        return None
    gone = dict(
        zip(shape.layers, (step + round(spread * share) for step, share in enumerate(shape.reach(rest / spread), 1)))
    )
    tokens = [room.num_tokens]
    for layer in range(room.num_layers):
        before = tokens[-1]
        tokens.append(max(room.num_tokens - gone[layer], before - room.find_limit(before)) if layer in gone else before)
    return tuple(tokens)
