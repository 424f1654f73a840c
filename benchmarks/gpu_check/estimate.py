"""How long the check should take at full size on a GPU, from a rehearsal and a few assumptions.

Assumed, since no rehearsal can tell: how many floating-point operations per second each kind of program reaches, how
much longer a GPU's compiler takes than a CPU's, and how long a process takes to start there. Programs, runs and
operations are counted.
"""

from __future__ import annotations

import collections
import itertools
import statistics
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.gpu_check import answers, own_programs, torch_programs
from benchmarks.gpu_check.goals import list_rows
from benchmarks.gpu_check.programs import MOST_AT_ONCE
from benchmarks.gpu_check.random_models import choose_config, choose_schedule
from benchmarks.gpu_check.sizes import FULL, REHEARSAL
from benchmarks.gpu_check.steps import STEPS
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.reduction.schedule import resolve_schedule

# Floating-point operations per second: forms that keep maps on the chip, and those that write them out.
RATES: Final = {
    ("bfloat16", "fused"): 300e12,
    ("bfloat16", "dense"): 80e12,
    ("float32", "fused"): 120e12,
    ("float32", "dense"): 40e12,
}
_WRITE_MAPS: Final = ("plain dense", "merged blocked", "torch official merged")
START_SECONDS: Final = 12.0
# A GPU's compiler also times the kernels that it chooses from.
COMPILE_FACTOR: Final = 3.0
_NUM_PARTS: Final = 30  # of three lengths of sequences
_RUNS_BEFORE: Final = 3  # one to compare, two before the counted rounds


def estimate(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Estimate the seconds of each step at full size.

    Args:
      steps: of a rehearsal.

    Returns:
      Plain data: step -> seconds, their sum, and the assumptions.
    """
    compile_seconds = COMPILE_FACTOR * find_compile_seconds({"steps": steps})
    compared = collections.Counter(row["check"] for row in list_rows({"steps": steps}, "correctness"))
    more_lengths = len(FULL.oracle_tokens) - len(REHEARSAL.oracle_tokens)
    num_compared = compared.total() + more_lengths * compared["attention"]
    num_answering = len(answers.TASKS) * len(answers.BUDGETS) * len(("float32", "bfloat16"))
    seconds = {
        "correctness": START_SECONDS + num_compared * compile_seconds / MOST_AT_ONCE,
        "throughput": START_SECONDS + count_programs() * compile_seconds / MOST_AT_ONCE + estimate_runs(),
        "parts": START_SECONDS + _NUM_PARTS * compile_seconds / MOST_AT_ONCE,
        "answers": START_SECONDS + num_answering * compile_seconds,  # one after the other
    }
    bounded = {step.name: round(min(seconds[step.name], step.limit_seconds)) for step in STEPS}
    return {
        "seconds": {name: round(value) for name, value in seconds.items()},
        "seconds_within_limits": sum(bounded.values()),
        "assumed": {
            "flops_per_second": {f"{form} {dtype}": rate for (dtype, form), rate in RATES.items()},
            "seconds_to_start": START_SECONDS,
            "seconds_to_compile": round(compile_seconds, 2),
            "programs_at_once": MOST_AT_ONCE,
        },
    }


def find_compile_seconds(result: Mapping[str, Any]) -> float:
    """Return the median time in which the rehearsal compiled one of its programs."""
    rows = list_rows(result, "throughput")
    seconds = [row["compile_seconds"] for row in rows if "compile_seconds" in row]
    return statistics.median(seconds) if seconds else 3.0


def count_programs() -> int:
    """Count the programs of this package that are compiled for the throughput at full size."""
    bits = {"bfloat16": 16, "float32": 32}
    per_shape = sum(variant.bits >= bits[dtype] for variant in own_programs.VARIANTS.values() for dtype in FULL.dtypes)
    return per_shape * len(FULL.presets) * len(FULL.batch_sizes)


def estimate_runs() -> float:
    """Estimate the seconds of all runs of the throughput at full size."""
    total = 0.0
    variants = {name: variant.is_merged for name, variant in own_programs.VARIANTS.items()} | torch_programs.VARIANTS
    for preset, dtype, batch_size in itertools.product(FULL.presets, FULL.dtypes, FULL.batch_sizes):
        config = choose_config(preset, is_rehearsal=False)
        schedule = choose_schedule(preset, config)
        for name, is_merged in variants.items():
            size = {"num_tokens": config.num_tokens, "num_layers": config.depth, "num_protected": config.num_protected}
            resolved = resolve_schedule(schedule if is_merged else None, **size)
            rate = RATES[dtype, "dense" if name in _WRITE_MAPS else "fused"]
            seconds = 2e9 * count_macs(config, resolved).gmacs * batch_size / rate
            total += _RUNS_BEFORE * seconds + FULL.repeats * max(seconds, FULL.round_seconds)
    return total
