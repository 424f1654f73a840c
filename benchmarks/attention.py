"""Which form of attention is fastest on this machine, and with which block size?

    python benchmarks/attention.py          # writes results/attention.json

One layer's attention in float32 with heads of 64 channels, as UMT-B/16 has 12 of: one sequence of 2352 tokens in every
form and block size, with and without saliency and sizes; and sequences of fewer tokens in the forms' own block sizes,
among them 196 of 16 tokens, which factorised attention has. All variants of a case run in turn.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import record
from vidtldr_jax import ops
from vidtldr_jax.inference.timing import time_in_turn

HEADS: Final = 12
CHANNELS: Final = 64
LONG: Final = (1, 2352)
# Sequences, tokens of each.
SHORT: Final = ((196, 16), (16, 17), (16, 50), (16, 197), (1, 197), (1, 785))
BLOCKS: Final = {"by_head": (147, 294, 588, 1176, 2352), "blocked": (64, 128, 256, 588), "dense": (None,)}


class Case(NamedTuple):
    """What is attended to.

    Attributes:
      sequences: in the batch.
      tokens: of each.
      with_saliency: whether the saliency is made, from a map without sizes, beside an update with them.
    """

    sequences: int
    tokens: int
    with_saliency: bool


def prepare(case: Case, form: ops.AttentionForm, block_size: int | None) -> Callable[[], Any]:
    """Compiles one variant of a case."""
    rng = np.random.default_rng(0)
    shape = (case.sequences, case.tokens, HEADS, CHANNELS)
    qkv = [jnp.asarray(rng.standard_normal(shape, np.float32)) for _ in range(3)]
    size = jnp.asarray(rng.integers(1, 4, shape[:2]), jnp.float32) if case.with_saliency else None
    attend = functools.partial(ops.attend, with_saliency=case.with_saliency, form=form, block_size=block_size)
    compiled = jax.jit(attend).lower(*qkv, size).compile()
    return lambda: compiled(*qkv, size)


def measure(case: Case, blocks: dict[str, tuple[int | None, ...]], repeats: int) -> list[dict[str, Any]]:
    """Measures every form and block size of one case in turn."""
    variants = [(form, block_size) for form, sizes in blocks.items() for block_size in sizes]
    runs = {str(variant): prepare(case, *variant) for variant in variants}
    rows = []
    for (form, block_size), times in zip(variants, time_in_turn(runs, repeats=repeats).values(), strict=True):
        rows.append(
            {
                **case._asdict(),
                "form": form,
                "block_size": block_size,
                "seconds": [round(value, 6) for value in times.seconds],
                "median_seconds": statistics.median(times.seconds),
                "median_cpu_seconds": statistics.median(times.cpu_seconds),
            }
        )
        print({name: value for name, value in rows[-1].items() if name != "seconds"}, flush=True)
    return rows


def run(repeats: int, *, is_smoke: bool) -> dict[str, Any]:
    """Measures all cases and returns plain data."""
    own: dict[str, tuple[int | None, ...]] = dict.fromkeys(BLOCKS, (None,))
    shapes = [((1, 8), own)] if is_smoke else [(LONG, BLOCKS), *((shape, own) for shape in SHORT)]
    rows = []
    for shape, blocks in shapes:
        for with_saliency in (False, True):
            rows += measure(Case(*shape, with_saliency), blocks, repeats)
    return {"heads": HEADS, "channels": CHANNELS, "dtype": "float32", "repeats": repeats, "rows": rows}


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    arguments = record.make_parser(__doc__).parse_args(words)
    repeats = 1 if arguments.smoke else arguments.repeats
    record.finish("attention", run(repeats, is_smoke=arguments.smoke), is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
