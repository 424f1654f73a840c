"""The one place where inference is jitted."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Shaped

from vidtldr_jax import ops
from vidtldr_jax.inference.pixels import Colour, normalise_video
from vidtldr_jax.inference.sharding import split_batches
from vidtldr_jax.models.architectures import Config, make_module
from vidtldr_jax.models.encoder import Tracing
from vidtldr_jax.models.video_vit import VideoOutput
from vidtldr_jax.reduction.methods import Method


class EncoderProgram(NamedTuple):
    """What one jitted function is made for; it decides the program together with the shape and dtype of a video."""

    config: Config
    r: tuple[int, ...]
    method: Method
    attention: ops.AttentionForm
    merging: ops.MergeForm
    dtype: jnp.dtype
    trace: Tracing
    is_stacked: bool
    mesh: Mesh | None
    mean: Colour
    std: Colour


# On CPUs XLA maps up to 2,000 pieces of memory for a program, and dies where a process has more than Linux's 65,530. So
# the oldest program goes.
@functools.lru_cache(maxsize=24)
def compile_encoder(made_for: EncoderProgram) -> Any:
    """Return the jitted function of (weights, video) that encodes clips; jit keeps one compilation per shape and dtype.

    Args:
      made_for: what decides it.

    Returns:
      A jitted function; it has `lower`, for ahead-of-time compilation.
    """
    module = make_module(
        made_for.config,
        r=made_for.r,
        method=made_for.method,
        form=made_for.attention,
        merging=made_for.merging,
        dtype=made_for.dtype,
        param_dtype=made_for.dtype,
        is_stacked=made_for.is_stacked,
    )

    def encode(weights: dict[str, Any], video: Shaped[Array, "B T Y X C"]) -> VideoOutput:
        pixels = normalise_video(video, mean=made_for.mean, std=made_for.std)
        return module.apply({"params": weights}, pixels, trace=made_for.trace)

    return jax.jit(encode if made_for.mesh is None else split_batches(encode, made_for.mesh))
