"""What do kernels, fused attention and merging bring on a GPU or TPU?

    python benchmarks/accelerator.py                       # writes results/accelerator_DEVICE.json
    python benchmarks/accelerator.py --dtypes bfloat16 --batch-sizes 1 8 32 --presets umt-l16

UMT-B/16 and UMT-L/16 on clips of 12 x 224 x 224, random weights, bfloat16 and float32, batches of 1 to 32; in one run,
in turn: the plain model with whole attention maps ("dense", what an implementation without fusion does), with blocks in
plain XLA and with what this package takes by itself ("auto"), and the merged model (as published for MSR-VTT) with
blocks, with the Pallas kernel and with "auto". Beside clips per second stand the planned memory, the share of the
device's matrix product rate, measured in the same run (8192 x 8192 x 8192), and that of its published peak where it is
known: model FLOPs utilisation. What does not fit the device, or does not compile there, is recorded as such.
The file is written anew after every batch size: 24 of them, with six programs to compile for each.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp

from benchmarks import record
from benchmarks.models import choose_config, read_published, scale_schedule
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_model, make_random_video, time_in_turn
from vidtldr_jax.ops.attention_forms import AttentionForm, choose_form
from vidtldr_jax.reduction.cost import count_macs

VARIANTS: Final[dict[str, tuple[bool, AttentionForm]]] = {
    "plain dense": (False, "dense"),
    "plain blocked": (False, "blocked"),
    "plain auto": (False, "auto"),
    "merged blocked": (True, "blocked"),
    "merged kernel": (True, "kernel"),
    "merged auto": (True, "auto"),
}
# Dense 16-bit multiply-accumulates x 2 per second, from the makers' data sheets; by JAX's name of the device.
PEAKS: Final = {
    "Tesla T4": 65e12,
    "NVIDIA L4": 121e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}
_SIDE: Final = 8192
_SMOKE_SIDE: Final = 64


def measure_product(dtype: str, side: int, repeats: int) -> float:
    """Returns floating-point operations per second of one large matrix product."""
    left, right = (jax.random.normal(jax.random.key(seed), (side, side), dtype) for seed in (0, 1))
    product = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))
    times = time_in_turn({"product": lambda: product(left, right)}, repeats=repeats)["product"]
    return 2 * side**3 / statistics.median(times.seconds)


def prepare(model: VideoModel, video: jax.Array) -> tuple[Callable[[], Any], int | None]:
    """Compiles a model ahead of time; returns what runs it once, and the memory that the compiler planned."""
    compiled = model.get_encode_function(video.shape).lower(model.weights, video).compile()
    plan = compiled.memory_analysis()
    jax.block_until_ready(compiled(model.weights, video))  # does it fit?
    return lambda: compiled(model.weights, video), None if plan is None else plan.temp_size_in_bytes


def measure(shared: VideoModel, schedule: str, batch_size: int, repeats: int) -> list[dict[str, Any]]:
    """Measures every variant of a model on one batch."""
    config, dtype = shared.config, shared.dtype
    video = jnp.asarray(make_random_video(config, batch_size=batch_size), dtype)
    shape = {"num_tokens": config.num_tokens, "channels": config.dim // config.num_heads, "dtype": dtype}
    rows: dict[str, dict[str, Any]] = {}
    runs = {}
    for name, (is_merged, form) in VARIANTS.items():
        model = VideoModel(
            shared.weights,
            config,
            preprocessing=shared.preprocessing,
            schedule=schedule if is_merged else None,
            dtype=dtype,
            attention=form,
        )
        rows[name] = {
            "variant": name,
            "form": choose_form(form, **shape),
            "form_where_merged": choose_form(form, **shape, with_saliency=True),
            "gmacs_per_clip": round(count_macs(config, model.schedule).gmacs, 2),
        }
        try:
            runs[name], rows[name]["planned_bytes"] = prepare(model, video)
        except Exception as error:  # out of memory, or whatever a compiler raises: what does not run is recorded
            rows[name]["failed"] = f"{type(error).__name__}: {str(error)[:200]}"
            print(f"{name}: {rows[name]['failed']}", flush=True)
    for name, times in time_in_turn(runs, repeats=repeats).items():
        seconds = statistics.median(times.seconds)
        rows[name] |= {
            "seconds": [round(value, 6) for value in times.seconds],
            "median_seconds": round(seconds, 6),
            "clips_per_second": round(batch_size / seconds, 3),
            "flops_per_second": 2e9 * rows[name]["gmacs_per_clip"] * batch_size / seconds,
        }
        print(f"{dtype} x {batch_size} {name}: {batch_size / seconds:.2f} clips a second", flush=True)
    return list(rows.values())


def run(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measures presets, dtypes and batch sizes; yields all that is known after each, so that nothing is lost."""
    device = jax.devices()[0]
    side = _SMOKE_SIDE if arguments.smoke else _SIDE
    products = {dtype: measure_product(dtype, side, arguments.repeats) for dtype in arguments.dtypes}
    cases: list[dict[str, Any]] = []
    for preset, dtype in itertools.product(arguments.presets, arguments.dtypes):
        shared = make_random_model(choose_config(preset, is_smoke=arguments.smoke), dtype=dtype)
        r = next(entry.r for entry in read_published(preset) if "msrvtt" in entry.names)
        case = {"preset": preset, "schedule": scale_schedule(r, shared.config.num_tokens), "dtype": dtype}
        for batch_size in arguments.batch_sizes:
            rows = measure(shared, case["schedule"], batch_size, arguments.repeats)
            for row in (row for row in rows if "flops_per_second" in row):
                row["of_product"] = round(row["flops_per_second"] / products[dtype], 4)
                if device.device_kind in PEAKS and dtype == "bfloat16":
                    row["of_peak"] = round(row["flops_per_second"] / PEAKS[device.device_kind], 4)
            cases.append({**case, "batch_size": batch_size, "rows": rows})
            yield {
                "device": device.device_kind,
                "platform": device.platform,
                "repeats": arguments.repeats,
                "product_flops_per_second": products,
                "cases": cases,
            }


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--presets", nargs="+", choices=["umt-b16", "umt-l16"], default=["umt-b16", "umt-l16"])
    parser.add_argument("--dtypes", nargs="+", choices=["bfloat16", "float32"], default=["bfloat16", "float32"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32])
    arguments = parser.parse_args(words)
    if arguments.smoke:
        arguments.presets, arguments.dtypes, arguments.batch_sizes = ["umt-b16"], ["float32"], [1]
        arguments.repeats = 1
    name = jax.devices()[0].device_kind.replace(" ", "-").lower()
    for result in run(arguments):
        record.finish(f"accelerator_{name}", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
