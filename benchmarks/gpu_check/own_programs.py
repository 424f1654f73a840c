"""Models of this package as programs: which forms of attention are measured, and what is known of each."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu_check.programs import Program
from benchmarks.gpu_check.random_models import change_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.ops.attention_forms import AttentionForm, choose_form
from vidtldr_jax.reduction.cost import count_macs


class Variant(NamedTuple):
    """One way to run a model.

    Attributes:
      is_merged: whether tokens are merged.
      form: of attention.
      bits: the widest dtype that it is measured in.
    """

    is_merged: bool
    form: AttentionForm
    bits: int = 32


# "fused" in float32 has no kernel of cuDNN's: it would be the dense form once more.
VARIANTS: Final[dict[str, Variant]] = {
    "plain dense": Variant(False, "dense"),
    "plain fused": Variant(False, "fused", bits=16),
    "plain kernel": Variant(False, "kernel"),
    "merged kernel": Variant(True, "kernel"),
    "merged fused": Variant(True, "fused", bits=16),
    "merged blocked": Variant(True, "blocked"),
}


def make_variants(shared: VideoModel, schedule: str, excluded: Sequence[str]) -> dict[str, VideoModel]:
    """Make a model for every variant that is measured in its dtype; weights are shared.

    Args:
      shared: the plain model.
      schedule: of the merged ones.
      excluded: forms of attention to leave out.

    Returns:
      Variant -> model.
    """
    bits = 8 * shared.dtype.itemsize
    return {
        name: change_model(shared, attention=variant.form, schedule=schedule if variant.is_merged else None)
        for name, variant in VARIANTS.items()
        if variant.form not in excluded and bits <= variant.bits
    }


def compile_model(model: VideoModel, video: np.ndarray) -> Program:
    """Compile a model for a batch of clips.

    Args:
      model: what to run.
      video: `[B, T, Y, X, C]` float32.

    Returns:
      The program; it computes in the model's dtype from the first layer on.
    """
    start = time.perf_counter()
    function = model.get_encode_function(video.shape)
    compiled = function.lower(model.weights, jax.ShapeDtypeStruct(video.shape, jnp.float32)).compile()
    facts: dict[str, Any] = describe(model) | {"compile_seconds": round(time.perf_counter() - start, 2)}
    if (plan := compiled.memory_analysis()) is not None:
        sizes = (plan.temp_size_in_bytes, plan.output_size_in_bytes, plan.argument_size_in_bytes)
        facts["memory_bytes"] = sum(sizes)
    on_device = _place_once(video)

    def find_result() -> np.ndarray:
        return np.asarray(compiled(model.weights, on_device()).logits, np.float32)

    return Program(repeat(lambda: compiled(model.weights, on_device())), find_result, facts)


def describe(model: VideoModel) -> dict[str, Any]:
    """Return whether a model runs as it does by default, and the multiply-accumulates of a clip."""
    config = model.config
    shape = {"num_tokens": config.num_tokens, "channels": config.dim // config.num_heads, "dtype": model.dtype}
    with_saliency = not model.schedule.is_plain
    forms, default = (choose_form(form, **shape, with_saliency=with_saliency) for form in (model.attention, "auto"))
    return {"is_default": forms == default, "gmacs_per_clip": float(f"{count_macs(config, model.schedule).gmacs:.6g}")}


def repeat(program: Callable[[], Any]) -> Callable[[int], None]:
    """Make a function that runs a program a number of times and waits for the last result."""

    def run(count: int) -> None:
        result = None
        for _ in range(count):
            result = program()
        jax.block_until_ready(result)

    return run


def _place_once(video: np.ndarray) -> Callable[[], jax.Array]:
    """Return a function that puts clips on the device when it is first called."""
    return functools.lru_cache(maxsize=1)(lambda: jnp.asarray(video))
