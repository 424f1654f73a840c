"""What does the TPUs' compiler reckon that each part of a layer costs, and how long does it compile? No TPU is used.

    pip install libtpu && python benchmarks/tpu_parts.py      # writes results/tpu_parts.json

UMT-L/16 on 2352 tokens and the same on 4608 (16 frames of 384 x 384), plain and merged as published for MSR-VTT, for
v5e and v6e, in bfloat16: attention as plain XLA and as kernel, merging by segment-sum and by one-hot product, and what
is the same in all. From the parts come sums of models. It is a compiler's estimate; of a kernel it is the count that
the kernel declares. Each TPU and clip has a process of its own; parts are compiled one after the other and alone, so
that what a compiler would fuse across them is not in it.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any, Final

import jax

from benchmarks import record
from benchmarks.tpu_programs import CLIPS, Layer, find_counts, list_layers, make_config, place_on, trace_part
from vidtldr_jax.ops.attention_blocks import ROWS_OF_ALL_HEADS
from vidtldr_jax.ops.blocks import balance_blocks

PRESET: Final = "umt-l16"
TOPOLOGIES: Final = {"TPU v5e": "v5e:2x2", "TPU v6e": "v6e:2x2"}
ATTENTION: Final = ("attention, blocked", "attention, kernel")
MERGING: Final = ("merge, segment_sum", "merge, one_hot")
_COUNTED: Final = ("flops", "bytes", "seconds")


def list_parts(layer: Layer) -> list[str]:
    """Lists the parts of a layer, each form of one beside the others."""
    parts = ["projections", *ATTENTION]
    if layer.r:
        parts += ["match", *MERGING]
    return [*parts, "MLP"]


def read_cost(analysis: dict[str, float]) -> dict[str, float]:
    """Returns operations, bytes and seconds of a compiler's cost analysis.

    The TPUs' compiler gives each join of a prefetch that was split, which does nothing, -1 second: a program of less
    than a second that has five of them has -4.9994 seconds.
    """
    seconds = analysis.get("optimal_seconds", 0.0)
    return {
        "flops": analysis.get("flops", 0.0),
        "bytes": analysis.get("bytes accessed", 0.0),
        "seconds": seconds - math.floor(seconds),
    }


def add_repeats(once: dict[str, float], repeated: dict[str, float], times: int) -> dict[str, float]:
    """Adds what a loop does after its first round, since a compiler counts a loop's body once."""
    return {name: once[name] + (times - 1) * repeated[name] for name in _COUNTED}


def compile_part(part: str, config: Any, layer: Layer, batch: int, place: Any) -> dict[str, Any]:
    """Compiles one part; returns its cost, planned memory, and what compiling took."""
    lowered = trace_part(part, config, layer, batch, place).lower(lowering_platforms=("tpu",))
    cpu_start, start = time.process_time(), time.perf_counter()
    compiled = lowered.compile()
    took = {"compile_seconds": time.perf_counter() - start, "compile_cpu_seconds": time.process_time() - cpu_start}
    memory = compiled.memory_analysis()
    return {
        "part": part,
        "num_tokens": layer.num_tokens,
        "r": layer.r,
        "use_size": layer.use_size,
        "batch": batch,
        **{name: round(seconds, 2) for name, seconds in took.items()},
        "temporary_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        **read_cost(compiled.cost_analysis()),
    }


def compile_repeated(part: str, config: Any, layer: Layer, batch: int, place: Any) -> dict[str, Any]:
    """Compiles a part; the blocked form's cost has all its blocks of rows."""
    row = compile_part(part, config, layer, batch, place)
    if part != "attention, blocked":
        return row
    num_blocks, _ = balance_blocks(layer.num_tokens, ROWS_OF_ALL_HEADS)
    repeated = compile_part("rows of attention", config, layer, batch, place)
    return row | add_repeats(row, repeated, num_blocks) | {"repeats": num_blocks}


def compile_clip(device: str, clip: str, *, is_smoke: bool) -> Iterator[dict[str, Any]]:
    """Compiles every part of the plain and the merged model, each once."""
    place = place_on(TOPOLOGIES[device])
    config = make_config(PRESET, clip, is_smoke=is_smoke)
    # The first program of a process takes what starting the compiler takes.
    jax.jit(lambda x: x + 1).trace(jax.ShapeDtypeStruct((8, 128), "float32", sharding=place)).lower(
        lowering_platforms=("tpu",)
    ).compile()
    where = {"device": device, "clip": clip}
    first = Layer(config.num_tokens, 0, False)
    yield where | compile_part("patch embedding", config, first, 1, place)
    layers = [first, *list_layers(config.num_tokens, find_counts(PRESET, config, is_merged=True))]
    done: set[tuple[Any, ...]] = set()
    for layer in layers:
        for part in list_parts(layer):
            # Nothing but attention depends on sizes, projections not on r, the MLP on what is left.
            key = (part, *layer) if part not in ("projections", "MLP") else (part, count_entering(part, layer))
            if key not in done:
                done.add(key)
                yield where | compile_repeated(part, config, layer, 1, place)


def count_entering(part: str, layer: Layer) -> int:
    """Counts the tokens that enter a part of a layer."""
    return layer.num_tokens - layer.r if part == "MLP" else layer.num_tokens


def sum_models(rows: Sequence[dict[str, Any]], device: str, clip: str, *, is_smoke: bool) -> list[dict[str, Any]]:
    """Adds the parts of batch 1 up to models, plain and merged, for each form of attention and of merging."""
    of_clip = [row for row in rows if (row["device"], row["clip"], row["batch"]) == (device, clip, 1)]
    config = make_config(PRESET, clip, is_smoke=is_smoke)
    models = []
    for is_merged in (False, True):
        layers = list_layers(config.num_tokens, find_counts(PRESET, config, is_merged=is_merged))
        for attention in ATTENTION:
            for merging in MERGING if is_merged else MERGING[:1]:
                chosen = [(part, layer, times) for layer, times in layers.items() for part in list_parts(layer)]
                chosen = [entry for entry in chosen if entry[0] in (attention, merging) or ", " not in entry[0]]
                chosen.append(("patch embedding", Layer(config.num_tokens, 0, False), 1))
                found = [(_find_row(of_clip, part, layer), times) for part, layer, times in chosen]
                sums = {name: sum(row[name] * times for row, times in found) for name in _COUNTED}
                forms = {"attention": attention, "merging": merging if is_merged else None}
                models.append({"device": device, "clip": clip, "is_merged": is_merged, **forms, **sums})
    return models


def _find_row(rows: Sequence[dict[str, Any]], part: str, layer: Layer) -> dict[str, Any]:
    if part in ("projections", "MLP"):
        entering = count_entering(part, layer)
        return next(row for row in rows if row["part"] == part and count_entering(part, _read_layer(row)) == entering)
    return next(row for row in rows if row["part"] == part and _read_layer(row) == layer)


def _read_layer(row: dict[str, Any]) -> Layer:
    return Layer(row["num_tokens"], row["r"], row["use_size"])


def make_environment() -> dict[str, str]:
    """Returns the environment of a process that compiles for a TPU and looks for none."""
    # The TPUs' compiler ends the process over flags that are for CPUs.
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    # Without a TPU nothing is wrong with several processes that load the compiler.
    return {**kept, "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def run_fresh(device: str, clip: str, *, is_smoke: bool) -> Iterator[dict[str, Any]]:
    """Compiles for one TPU and clip in a process of its own, which looks for no TPU."""
    words = ["--only", device, clip, *(["--smoke"] if is_smoke else [])]
    environment = make_environment()
    command = [sys.executable, __file__, *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise RuntimeError(f"parts for {device}, {clip}, do not compile; the process wrote why to stderr.")


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--only", nargs=2, metavar=("DEVICE", "CLIP"), help="compile for these and print rows")
    arguments = parser.parse_args(words)
    if arguments.only:
        for row in compile_clip(*arguments.only, is_smoke=arguments.smoke):
            print(json.dumps(row), flush=True)
        return
    rows: list[dict[str, Any]] = []
    models: list[dict[str, Any]] = []
    load = os.getloadavg()[0]
    for device in TOPOLOGIES:
        for clip in CLIPS:
            for row in run_fresh(device, clip, is_smoke=arguments.smoke):
                rows.append(row)
                print(row, flush=True)
            models += sum_models(rows, device, clip, is_smoke=arguments.smoke)
            if arguments.smoke:
                break
    loads = {"load_at_start": round(load, 1), "load_at_end": round(os.getloadavg()[0], 1)}
    result = {"libtpu": metadata.version("libtpu"), "preset": PRESET, **loads, "rows": rows, "models": models}
    record.finish("tpu_parts", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
