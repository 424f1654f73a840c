"""What the check measures: at full size, and in a rehearsal on a CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple


class Group(NamedTuple):
    """Programs of one model in one dtype, which are compiled together.

    Attributes:
      preset: name of the architecture.
      dtype: of weights and computation.
    """

    preset: str
    dtype: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
      is_rehearsal: whether tiny models stand in for the presets.
      presets: architectures, the most important first.
      dtypes: of weights and computation, the most important first.
      batch_sizes: clips at a time, the most important first.
      repeats: counted rounds of each program.
      round_seconds: a program runs as often within a round as fits into this time, at least once.
      product_side: rows and columns of the matrix product whose rate is the yardstick.
      oracle_tokens: of the attention that is compared with the oracle.
      parts_batch: clips at a time where the time of parts is measured.
      num_clips: held-out clips whose answers are compared, a multiple of 64.
      num_trained: trained models of each task that answer.
      stamps: where Debian's tuxpaint-stamps-default is unpacked, for the captioned clips; None is where Debian puts it.
    """

    is_rehearsal: bool
    presets: tuple[str, ...]
    dtypes: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    repeats: int
    round_seconds: float
    product_side: int
    oracle_tokens: tuple[int, ...]
    parts_batch: int
    num_clips: int
    num_trained: int
    stamps: Path | None = None

    def list_groups(self) -> Iterator[Group]:
        """Yield all groups: every model in the first dtype, then every model in the next."""
        for dtype in self.dtypes:
            for preset in self.presets:
                yield Group(preset, dtype)


FULL: Final = Size(
    is_rehearsal=False,
    presets=("umt-l16", "umt-b16", "videomae-b16", "vivit-b16x2"),
    dtypes=("bfloat16", "float32"),
    batch_sizes=(8, 1, 32),
    repeats=5,
    round_seconds=0.05,
    product_side=8192,
    oracle_tokens=(150, 1000),
    parts_batch=8,
    num_clips=256,
    num_trained=3,
)
REHEARSAL: Final = dataclasses.replace(
    FULL,
    is_rehearsal=True,
    batch_sizes=(2,),
    repeats=1,
    round_seconds=0.0,
    product_side=64,
    oracle_tokens=(40,),
    parts_batch=2,
    num_clips=64,
    num_trained=1,
)
