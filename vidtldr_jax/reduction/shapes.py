"""Shapes of schedules: how the tokens that go are shared out over the layers, whatever their number."""

from __future__ import annotations

import itertools
from typing import Final, Literal, NamedTuple, TypeAlias

from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Method
from vidtldr_jax.reduction.schedule import ResolvedSchedule, format_schedule, resolve_schedule

ShapeKind: TypeAlias = Literal["halving", "same share", "same count", "early"]

# Published schedules take most in the first layer, and about half as much in each further one.
_NUM_HALVING: Final = (3, 2, 4)
_NUM_SAME_SHARE: Final = (2, 4)
_SINGLE_LAYERS: Final = (0, 1)


class Shape(NamedTuple):
    """How the tokens that go are shared out.

    Attributes:
      kind: "halving", each layer loses half of what the one before does; "same share" of the tokens that come;
        "same count"; "early", all before the first layer.
      layers: those that lose tokens, in order.
    """

    kind: ShapeKind
    layers: tuple[int, ...]

    @property
    def name(self) -> str:
        """In words."""
        if self.kind == "early":
            return "all before layer 0"
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
      num_protected: leading tokens that never go.
      num_first: unprotected tokens of the clip's first moment.
      method: how those that go are chosen.
    """

    num_tokens: int
    num_layers: int
    num_protected: int
    num_first: int
    method: Method

    @property
    def num_free(self) -> int:
        """Tokens that may go."""
        return self.num_tokens - self.num_protected

    def find_limit(self, tokens: int) -> int:
        """Returns how many tokens a layer can lose that gets so many."""
        return self.method.find_limit(tokens - self.num_protected, self.num_first)[0]

    def describe_limit(self) -> str:
        """Says how many tokens the first layer can lose."""
        return self.method.find_limit(self.num_free, self.num_first)[1]

    def resolve_plain(self) -> ResolvedSchedule:
        """Returns the schedule that takes nothing out."""
        return self.resolve((self.num_tokens,) * (self.num_layers + 1))

    def resolve(self, tokens: tuple[int, ...]) -> ResolvedSchedule:
        """Returns the schedule with these token counts, before the first layer and after each."""
        counts = [before - after for before, after in itertools.pairwise(tokens)]
        return resolve_schedule(
            format_schedule(counts),
            num_tokens=self.num_tokens,
            num_layers=self.num_layers,
            num_protected=self.num_protected,
            num_first=self.num_first,
            method=self.method,
        )


def list_shapes(num_layers: int, method: Method = DEFAULT_METHOD) -> tuple[Shape, ...]:
    """Lists the shapes for so many layers, the one that is taken first in front.

    Args:
      num_layers: of the encoder.
      method: how tokens are chosen; one that acts before the first layer has one shape.

    Returns:
      The shapes.
    """
    if method.is_early:
        return (Shape("early", (0,)),)
    halving: list[Shape] = [Shape("halving", tuple(range(count))) for count in _NUM_HALVING if count <= num_layers]
    shares = [count for count in (*_NUM_SAME_SHARE, num_layers) if 1 < count <= num_layers]
    same_share = [Shape("same share", tuple(range(count))) for count in shares]
    single = [Shape("same count", (layer,)) for layer in _SINGLE_LAYERS if layer < num_layers]
    everywhere = Shape("same count", tuple(range(num_layers)))
    # Of few layers, some are the same.
    return tuple(dict.fromkeys((*halving, *same_share, *single, everywhere)))


def share_out(shape: Shape, lost: int, room: Room) -> tuple[int, ...] | None:
    """Shares out tokens.

    Each layer of the shape loses one token, and of the others its share, in all as many as rounding the sums up to
    each layer gives. Where a layer can't lose so many, the next ones make up for it. If more go, no layer is left with
    more.

    Args:
      shape: how.
      lost: how many, in all; fewer where the layers can't lose so many.
      room: what the schedule is made for.

    Returns:
      Tokens before the first layer and after each; None where there are too few for one in each layer.
    """
    spread = room.num_free - len(shape.layers)
    rest = lost - len(shape.layers)
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
