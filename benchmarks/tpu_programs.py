"""What is compiled for a TPU that is not there: whole models, parts of their layers, and attention alone.

Each function returns a program that was traced for the TPU, in bfloat16. Used by `tpu_compile.py`, `tpu_parts.py` and
`tpu_cycles.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from benchmarks.models import choose_config, read_published, scale_schedule
from vidtldr_jax import ops
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.models.block import MLP, make_layer_norm
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.patches import PatchEmbed
from vidtldr_jax.models.stacking import stack_blocks
from vidtldr_jax.ops import matching
from vidtldr_jax.ops.attention_blocks import ROWS_OF_ALL_HEADS, attend_all_heads
from vidtldr_jax.ops.attention_forms import AttentionForm
from vidtldr_jax.ops.attention_mosaic import attend_mosaic
from vidtldr_jax.ops.blocks import balance_blocks
from vidtldr_jax.reduction.schedule import resolve_schedule

DTYPE: Final = jnp.bfloat16
ATTENTION: Final = {"blocked": attend_all_heads, "kernel": attend_mosaic}
# Clips: frames, rows and columns, frames of a patch.
CLIPS: Final = {"12 x 224 x 224": (12, 224, 1), "16 x 384 x 384": (16, 384, 2)}


class Layer(NamedTuple):
    """A layer of a model, as far as its program depends on it.

    Attributes:
      num_tokens: that enter.
      r: that are absorbed.
      use_size: whether an earlier layer absorbed some.
    """

    num_tokens: int
    r: int
    use_size: bool


def place_on(topology: str) -> Any:
    """Returns the first device of a TPU that is described, as a sharding."""
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    return SingleDeviceSharding(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0])


def make_config(preset: str, clip: str, *, is_smoke: bool) -> VideoViTConfig:
    """Returns a preset for a clip; a tiny model for smoke runs."""
    config = choose_config(preset, is_smoke=is_smoke)
    if is_smoke:
        return config
    frames, side, tubelet = CLIPS[clip]
    return dataclasses.replace(config, num_frames=frames, image_size=side, tubelet_size=tubelet)


def find_counts(preset: str, config: VideoViTConfig, *, is_merged: bool) -> tuple[int, ...]:
    """Returns how many tokens each layer absorbs: as published for MSR-VTT, the same share of more tokens."""
    if not is_merged:
        return (0,) * config.depth
    published = next(entry.r for entry in read_published(preset) if "msrvtt" in entry.names)
    schedule = scale_schedule(published, config.num_tokens)
    return resolve_schedule(schedule, num_tokens=config.num_tokens, num_layers=config.depth).r


def list_layers(num_tokens: int, counts: tuple[int, ...]) -> dict[Layer, int]:
    """Lists the different layers of a model, and how many there are of each."""
    layers: dict[Layer, int] = {}
    for number, r in enumerate(counts):
        layer = Layer(num_tokens, r, any(counts[:number]))
        layers[layer] = layers.get(layer, 0) + 1
        num_tokens -= r
    return layers


def trace_part(part: str, config: VideoViTConfig, layer: Layer, batch: int, place: Any) -> Any:
    """Traces a part of a layer.

    Args:
      part: "attention, blocked" or another form, "rows of attention" (what the blocked form repeats), "projections",
        "match", "merge, segment_sum" or another form, "MLP", or "patch embedding", which is no layer's.
      config: the model's description.
      layer: whose part.
      batch: clips.
      place: the device.
    """
    num_tokens, heads = layer.num_tokens, config.num_heads
    num_kept = num_tokens - layer.r

    def make(*shape: int, dtype: Any = DTYPE) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch, *shape), dtype, sharding=place)

    kind, _, form = part.partition(", ")
    tokens, size = make(num_tokens, config.dim), make(num_tokens, dtype=jnp.float32)
    key = make(num_tokens, heads, config.dim // heads)
    key_size = size if layer.use_size else None
    function: Any
    arguments: tuple[Any, ...]
    if kind == "attention":
        function = functools.partial(ops.attend, form=form, with_saliency=layer.r > 0)
        arguments = (key, key, key, key_size)
    elif kind == "rows of attention":
        rows = balance_blocks(num_tokens, ROWS_OF_ALL_HEADS)[1]
        function = functools.partial(attend_all_heads, with_sharpness=layer.r > 0)
        arguments = (make(rows, heads, config.dim // heads), key, key, key_size)
    elif kind == "match":
        function, arguments = functools.partial(ops.match_tokens, r=layer.r), (tokens,)
    elif kind == "merge":
        whole = functools.partial(make, dtype=jnp.int32)
        plan = ops.MergePlan(whole(num_kept), whole(layer.r), whole(layer.r))
        function = functools.partial(ops.merge_tokens, form=form)
        arguments = (ops.MergeState(tokens, size), plan, size)
    else:
        module, enters = _make_module(kind, config), tokens
        if kind == "MLP":
            enters = make(num_kept, config.dim)
        elif kind == "patch embedding":
            enters = make(config.num_frames, *[config.image_size] * 2, config.num_channels, dtype=jnp.float32)
        shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros(enters.shape, enters.dtype)))
        variables = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place), shapes)
        function, arguments = module.apply, (variables, enters)
    with pretend_tpu(), compare_all_at_once():
        return jax.jit(function).trace(*arguments)


class Projections(nn.Module):
    """What a block does to its tokens around the attention: a norm, four projections, the residual sum.

    Attributes:
      config: the model's description.
    """

    config: VideoViTConfig

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Returns tokens of the same shape; queries, keys and values are added up in place of attention."""
        dtypes = {"dtype": DTYPE, "param_dtype": DTYPE}
        entered = make_layer_norm(self.config.norm_eps, name="norm", **dtypes)(tokens)
        parts = [nn.Dense(self.config.dim, name=name, **dtypes)(entered) for name in ("query", "key", "value")]
        return tokens + nn.Dense(self.config.dim, name="proj", **dtypes)(sum(parts))


class NormedMLP(nn.Module):
    """A block's MLP with its norm and the residual sum.

    Attributes:
      config: the model's description.
    """

    config: VideoViTConfig

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Returns tokens of the same shape."""
        dtypes = {"dtype": DTYPE, "param_dtype": DTYPE}
        normed = make_layer_norm(self.config.norm_eps, name="norm", **dtypes)(tokens)
        return tokens + MLP(self.config, name="mlp", **dtypes)(normed)


def _make_module(kind: str, config: VideoViTConfig) -> nn.Module:
    if kind == "projections":
        return Projections(config)
    if kind == "MLP":
        return NormedMLP(config)
    return PatchEmbed(config.dim, config.patch_size, config.tubelet_size, dtype=DTYPE, param_dtype=DTYPE)


def trace_attention(
    form: str, sides: tuple[int, int, int, int], place: Any, *, dtype: Any = DTYPE, block_size: int | None = None
) -> Any:
    """Traces attention with sharpness and sizes.

    Args:
      form: "kernel", "blocked", or "blocked at once", which takes no clips apart.
      sides: batch, tokens, heads, channels of a head.
      place: the device.
      dtype: of queries, keys and values.
      block_size: of the form.
    """
    key = jax.ShapeDtypeStruct(sides, dtype, sharding=place)
    size = jax.ShapeDtypeStruct(sides[:2], jnp.float32, sharding=place)
    attend = functools.partial(ATTENTION[form.removesuffix(" at once")], with_sharpness=True, block_size=block_size)
    with contextlib.nullcontext() if form.endswith("at once") else pretend_tpu():
        return jax.jit(attend).trace(key, key, key, size)


def trace_model(
    config: VideoViTConfig, counts: tuple[int, ...], form: AttentionForm, batch: int, place: Any, *, is_stacked: bool
) -> Any:
    """Traces a whole model, blocks one by one or under one scan."""
    shapes = {path: jax.ShapeDtypeStruct(shape, DTYPE) for path, shape in find_param_shapes(config).items()}
    if is_stacked:
        # Shapes can't be stacked, arrays that are never made can.
        shapes = jax.eval_shape(lambda: stack_blocks({p: jnp.zeros(s.shape, s.dtype) for p, s in shapes.items()}))
    flat = {path: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place) for path, s in shapes.items()}
    sides = (batch, config.num_frames, config.image_size, config.image_size, config.num_channels)
    video = jax.ShapeDtypeStruct(sides, jnp.float32, sharding=place)
    module = make_module(config, r=counts, form=form, is_stacked=is_stacked, dtype=DTYPE, param_dtype=DTYPE)
    with pretend_tpu():
        apply = jax.jit(lambda params, clip: module.apply({"params": params}, clip))
        return apply.trace(traverse_util.unflatten_dict(flat, sep="/"), video)


@contextlib.contextmanager
def pretend_tpu() -> Iterator[None]:
    """Tells of a TPU what asks for the backend while it traces."""
    backend, jax.default_backend = jax.default_backend, lambda: "tpu"
    try:
        yield
    finally:
        jax.default_backend = backend


@contextlib.contextmanager
def compare_all_at_once() -> Iterator[None]:
    """Traces matching without its loop over blocks, whose body a compiler counts once."""
    before, matching._ROWS_OF_SIMILARITY = matching._ROWS_OF_SIMILARITY, sys.maxsize  # type: ignore[misc]
    try:
        yield
    finally:
        matching._ROWS_OF_SIMILARITY = before  # type: ignore[misc]
