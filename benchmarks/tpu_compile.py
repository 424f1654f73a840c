"""Does the TPUs' own compiler take the kernels and whole models, and how long does it take? No TPU is used.

    pip install libtpu && python benchmarks/tpu_compile.py      # writes results/tpu_compile.json

The compiler comes with the PyPI package `libtpu` and compiles for a TPU that is named. Kernels: one layer of UMT-B/16
with saliency, Pallas and blocked. Models: UMT-B/16 and UMT-L/16 in bfloat16, merged as published for MSR-VTT, blocks
one by one and under one scan. Every program is compiled once, in a process of its own; running is not measured.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import traverse_util

from benchmarks import record
from benchmarks.models import choose_config, read_published, scale_schedule
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.models.stacking import stack_blocks
from vidtldr_jax.ops.attention_blocks import attend_all_heads
from vidtldr_jax.ops.attention_mosaic import attend_mosaic
from vidtldr_jax.reduction.schedule import resolve_schedule

TOPOLOGIES: Final = ("v4:2x2x1", "v5e:2x2", "v6e:2x2")
KERNELS: Final = {"kernel": attend_mosaic, "blocked": attend_all_heads}
# Program -> preset, form of attention, blocks under one scan.
MODELS: Final[dict[str, tuple[str, str, bool]]] = {
    f"{preset}, {form}, {'scanned' if is_stacked else 'unrolled'}": (preset, form, is_stacked)
    for preset in ("umt-b16", "umt-l16")
    for form, is_stacked in (("blocked", False), ("blocked", True), ("kernel", True))
}


def trace_kernel(name: str, dtype: str, place: Any) -> Any:
    """Traces one layer's attention with saliency."""
    qkv = [jax.ShapeDtypeStruct((1, 2352, 12, 64), dtype, sharding=place)] * 3
    size = jax.ShapeDtypeStruct((1, 2352), jnp.float32, sharding=place)
    return jax.jit(functools.partial(KERNELS[name], with_sharpness=True)).trace(*qkv, size)


def trace_model(preset: str, form: str, is_stacked: bool, place: Any, *, is_smoke: bool) -> Any:
    """Traces a whole model in bfloat16, merged as published for MSR-VTT."""
    config = choose_config(preset, is_smoke=is_smoke)
    published = next(entry.r for entry in read_published(preset) if "msrvtt" in entry.names)
    schedule = scale_schedule(published, config.num_tokens)
    r = resolve_schedule(schedule, num_tokens=config.num_tokens, num_layers=config.depth).r
    shapes = {path: jax.ShapeDtypeStruct(shape, jnp.bfloat16) for path, shape in find_param_shapes(config).items()}
    if is_stacked:
        # Shapes can't be stacked, arrays that are never made can.
        shapes = jax.eval_shape(lambda: stack_blocks({p: jnp.zeros(s.shape, s.dtype) for p, s in shapes.items()}))
    flat = {path: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place) for path, s in shapes.items()}
    sides = (1, config.num_frames, config.image_size, config.image_size, config.num_channels)
    video = jax.ShapeDtypeStruct(sides, jnp.float32, sharding=place)
    dtypes = {"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16}
    module = make_module(config, r=r, form=form, is_stacked=is_stacked, **dtypes)
    # What asks for the backend while tracing is to be told of the TPU.
    backend, jax.default_backend = jax.default_backend, lambda: "tpu"
    try:
        apply = jax.jit(lambda params, clip: module.apply({"params": params}, clip))
        return apply.trace(traverse_util.unflatten_dict(flat, sep="/"), video)
    finally:
        jax.default_backend = backend


def compile_program(topology: str, program: str, dtype: str, *, is_smoke: bool) -> dict[str, Any]:
    """Compiles one program for a TPU; returns seconds and the memory that the compiler planned."""
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    device = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0]
    place = SingleDeviceSharding(device)
    if program in KERNELS:
        traced = trace_kernel(program, dtype, place)
    else:
        preset, form, is_stacked = MODELS[program]
        traced = trace_model(preset, form, is_stacked, place, is_smoke=is_smoke)
    lowered = traced.lower(lowering_platforms=("tpu",))
    start = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    return {
        "topology": topology,
        "device": device.device_kind,
        "program": program,
        "dtype": dtype,
        "compile_seconds": round(seconds, 2),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    }


def list_programs(*, is_smoke: bool) -> list[tuple[str, str, str]]:
    """Lists topology, program and dtype: kernels for every TPU, models for one."""
    programs = [
        (topology, kernel, dtype) for topology in TOPOLOGIES for kernel in KERNELS for dtype in ("bfloat16", "float32")
    ]
    programs += [("v5e:2x2", model, "bfloat16") for model in MODELS]
    return programs[::9] if is_smoke else programs


def run_fresh(*program: str, is_smoke: bool) -> dict[str, Any]:
    """Compiles in a process of its own, which looks for no TPU."""
    words = ["--program", *program, *(["--smoke"] if is_smoke else [])]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
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
        rows.append(run_fresh(*program, is_smoke=arguments.smoke))
        print(rows[-1], flush=True)
    record.finish("tpu_compile", {"libtpu": metadata.version("libtpu"), "rows": rows}, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
