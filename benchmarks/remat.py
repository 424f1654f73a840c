"""How much memory does a gradient step need, plain and merged, when blocks keep everything or are computed again?

    python benchmarks/remat.py          # writes results/remat.json

UMT-B/16 with 8 frames of 224 x 224 (1568 tokens), one clip, float32, stochastic depth. Nothing is run: "temporary" is
what the compiler plans for the step besides parameters, clip and gradients. Merged absorbs the same shares of the
tokens as 600,200,100 of 2352.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from benchmarks import record
from benchmarks.models import MSRVTT, choose_config, scale_schedule
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.dropout import DropRates
from vidtldr_jax.models.stacking import stack_blocks
from vidtldr_jax.models.video_vit import VideoViT
from vidtldr_jax.reduction.schedule import resolve_schedule

PRESET = "umt-b16"
FRAMES = 8
RATES = DropRates(path=0.1)


def plan_step(config: VideoViTConfig, schedule: str, *, remat: bool, is_stacked: bool) -> dict[str, Any]:
    """Compiles a gradient step of one clip and returns what the compiler says of it."""
    r = resolve_schedule(schedule, num_tokens=config.num_tokens, num_layers=config.depth).r
    module = VideoViT(config, r=r, is_stacked=is_stacked, drop_rates=RATES, remat=remat)
    flat = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in find_param_shapes(config).items()}
    if is_stacked:
        flat = jax.eval_shape(lambda: stack_blocks({path: jnp.zeros(leaf.shape) for path, leaf in flat.items()}))
    variables = {"params": traverse_util.unflatten_dict(flat, sep="/")}
    video = jax.ShapeDtypeStruct((1, config.num_frames, config.image_size, config.image_size, 3), jnp.float32)

    def find_loss(variables: Any, video: jax.Array, key: jax.Array) -> jax.Array:
        out = module.apply(variables, video, deterministic=False, rngs={"dropout": key})
        return (out.pooled**2).mean()

    key = jax.eval_shape(functools.partial(jax.random.key, 0))
    plan = jax.jit(jax.grad(find_loss)).lower(variables, video, key).compile().memory_analysis()
    return {"temporary_bytes": plan.temp_size_in_bytes, "argument_bytes": plan.argument_size_in_bytes}


def run(preset: str, *, is_smoke: bool) -> dict[str, Any]:
    """Plans every step and returns plain data."""
    config = choose_config(preset, is_smoke=is_smoke)
    config = config if is_smoke else dataclasses.replace(config, num_frames=FRAMES)
    jobs = list(itertools.product((True, False), ("plain", "merged"), (False, True)))
    rows = []
    for is_stacked, form, remat in jobs[:2] if is_smoke else jobs:
        schedule = scale_schedule(MSRVTT, config.num_tokens) if form == "merged" else "none"
        planned = plan_step(config, schedule, remat=remat, is_stacked=is_stacked)
        rows.append({"form": form, "schedule": schedule, "is_stacked": is_stacked, "remat": remat, **planned})
        print(
            f"{form}, stacked: {is_stacked}, remat: {remat}: {planned['temporary_bytes'] / 2**20:.0f} MiB", flush=True
        )
    shape = {"frames": config.num_frames, "image_size": config.image_size, "tokens": config.num_tokens}
    return {"preset": preset, **shape, "batch": 1, "dtype": "float32", "rows": rows}


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__, repeats=1)
    parser.add_argument("--preset", default=PRESET, choices=["umt-b16", "umt-l16"])
    arguments = parser.parse_args(words)
    result = run(arguments.preset, is_smoke=arguments.smoke)
    record.finish("remat", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
