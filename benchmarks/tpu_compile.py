"""Does the TPUs' own compiler take the kernels and whole models, and how long does it take? No TPU is used.

    pip install libtpu && python benchmarks/tpu_compile.py      # writes results/tpu_compile.json

The compiler comes with the PyPI package `libtpu` and compiles for a TPU that is named. Kernels: one layer of UMT-B/16
with saliency, Pallas and blocked, for one clip and for eight. Models: UMT-B/16 and UMT-L/16 in bfloat16, plain and
merged as published for MSR-VTT, with the blocks after the last reduction under one scan. Every program is compiled
once, in a process of its own; running is not measured. `tpu_parts.py` says which part of a model takes how long.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final

from benchmarks import record
from benchmarks.tpu_parts import make_environment
from benchmarks.tpu_programs import CLIPS, find_counts, make_config, place_on, trace_attention, trace_model

TOPOLOGIES: Final = ("v4:2x2x1", "v5e:2x2", "v6e:2x2")
# Program -> form of attention, clips.
KERNELS: Final[dict[str, tuple[str, int]]] = {
    "kernel": ("kernel", 1),
    "blocked": ("blocked", 1),
    "kernel, 8 clips": ("kernel", 8),
    "blocked, 8 clips": ("blocked", 8),
    "blocked, 8 clips at once": ("blocked at once", 8),
}
# Program -> preset, whether it merges, form of attention.
MODELS: Final[dict[str, tuple[str, bool, Any]]] = {
    "umt-b16, merged, blocked": ("umt-b16", True, "blocked"),
    "umt-l16, plain, blocked": ("umt-l16", False, "blocked"),
    "umt-l16, merged, blocked": ("umt-l16", True, "blocked"),
    "umt-l16, merged, kernel": ("umt-l16", True, "kernel"),
}


def compile_program(topology: str, program: str, dtype: str, *, is_smoke: bool) -> dict[str, Any]:
    """Compiles one program for a TPU; returns seconds and the memory that the compiler planned."""
    place = place_on(topology)
    if program in KERNELS:
        form, num_clips = KERNELS[program]
        traced = trace_attention(form, (num_clips, 2352, 12, 64), place, dtype=dtype)
    else:
        preset, is_merged, form = MODELS[program]
        config = make_config(preset, next(iter(CLIPS)), is_smoke=is_smoke)
        counts = find_counts(preset, config, is_merged=is_merged)
        traced = trace_model(config, counts, form, 1, place, is_stacked=True)
    lowered = traced.lower(lowering_platforms=("tpu",))
    cpu_start, start = time.process_time(), time.perf_counter()
    compiled = lowered.compile()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    memory = compiled.memory_analysis()
    return {
        "topology": topology,
        "device": next(iter(place.device_set)).device_kind,
        "program": program,
        "dtype": dtype,
        "compile_seconds": round(seconds, 2),
        "compile_cpu_seconds": round(cpu_seconds, 2),
        "temporary_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
    }


def list_programs(*, is_smoke: bool) -> list[tuple[str, str, str]]:
    """Lists topology, program and dtype: kernels for every TPU, models for one."""
    programs = [
        (topology, kernel, dtype) for topology in TOPOLOGIES for kernel in KERNELS for dtype in ("bfloat16", "float32")
    ]
    programs += [("v5e:2x2", model, "bfloat16") for model in MODELS]
    return [programs[0], programs[-1]] if is_smoke else programs


def run_fresh(*program: str, is_smoke: bool) -> dict[str, Any]:
    """Compiles in a process of its own, which looks for no TPU."""
    words = ["--program", *program, *(["--smoke"] if is_smoke else [])]
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, env=make_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{program} does not compile: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--program", nargs=3, metavar=("TOPOLOGY", "NAME", "DTYPE"), help="compile this one only")
    arguments = parser.parse_args(words)
    if arguments.program:
        print(json.dumps(compile_program(*arguments.program, is_smoke=arguments.smoke)))
        return
    rows = []
    for program in list_programs(is_smoke=arguments.smoke):
        load = os.getloadavg()[0]
        rows.append({**run_fresh(*program, is_smoke=arguments.smoke), "load": round(load, 1)})
        print(rows[-1], flush=True)
    record.finish("tpu_compile", {"libtpu": metadata.version("libtpu"), "rows": rows}, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
