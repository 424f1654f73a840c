"""Which way of summing absorbed tokens is fastest on this machine?

    python benchmarks/merging.py          # writes results/merging.json

600 of 2352 tokens of 768 channels are absorbed, as UMT-B/16's first layer does for MSR-VTT; batch 1, float32.
Every form of `ops.merge_tokens` is measured.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import record
from vidtldr_jax import ops
from vidtldr_jax.inference.timing import time_in_turn
from vidtldr_jax.ops.merging import MERGE_FORMS

TOKENS: Final = 2352
ABSORBED: Final = 600
DIM: Final = 768
_LOOPS: Final = 20  # runs of about a millisecond are counted together


def prepare(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Compiles a function and returns what runs it some times."""
    compiled = jax.jit(function).lower(*arguments).compile()

    def run() -> Any:
        for _ in range(_LOOPS):
            result = jax.block_until_ready(compiled(*arguments))
        return result

    return run


def run(tokens: int, absorbed: int, dim: int, repeats: int) -> dict[str, Any]:
    """Measures all ways in turn and returns plain data."""
    rng = np.random.default_rng(0)
    state = ops.init_merge_state(jnp.asarray(rng.standard_normal((1, tokens, dim), np.float32)))
    plan = jax.jit(functools.partial(ops.match_tokens, r=absorbed))(state.tokens)
    weight = jnp.asarray(rng.uniform(0, 1, (1, tokens)), jnp.float32)
    ways = {
        f"merge_tokens, {form}": (functools.partial(ops.merge_tokens, form=form), state, plan, weight)
        for form in MERGE_FORMS
        if form != "auto"
    }
    measured = time_in_turn({name: prepare(*way) for name, way in ways.items()}, repeats=repeats)
    rows = [
        {
            "way": name,
            "median_ms": round(1e3 * statistics.median(times.seconds) / _LOOPS, 4),
            "median_cpu_ms": round(1e3 * statistics.median(times.cpu_seconds) / _LOOPS, 4),
        }
        for name, times in measured.items()
    ]
    size = {"tokens": tokens, "absorbed": absorbed, "dim": dim}
    return {**size, "dtype": "float32", "repeats": repeats, "loops": _LOOPS, "rows": rows}


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    arguments = record.make_parser(__doc__).parse_args(words)
    sizes = (32, 8, 16, 1) if arguments.smoke else (TOKENS, ABSORBED, DIM, arguments.repeats)
    record.finish("merging", run(*sizes), is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
