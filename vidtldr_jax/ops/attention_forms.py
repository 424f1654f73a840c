"""The forms of attention that never hold a whole map in the device's memory, and which one runs where.

    by_head   a block of query rows of one head at a time       plain XLA; what a CPU is fastest at
    blocked   a block of query rows of all heads                plain XLA; works everywhere
    kernel    tiles in on-chip memory                           Pallas: Triton on GPUs, Mosaic on TPUs
    fused     `jax.nn.dot_product_attention`                    cuDNN where a GPU has it; sharpness by blocks beside it

Shapes as in `ops.attention`; each returns the update and the sharpness or None.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vidtldr_jax.ops.attention_blocks import ROWS_OF_ALL_HEADS, attend_all_heads, attend_by_head, pad_tokens
from vidtldr_jax.ops.attention_sharpness import find_sharpness
from vidtldr_jax.ops.attention_trial import is_usable
from vidtldr_jax.ops.platform import find_platform, is_known, is_lowering

AttentionForm = Literal["auto", "by_head", "blocked", "fused", "kernel", "dense"]
FORM_NAMES: Final = ("auto", "by_head", "blocked", "fused", "kernel", "dense")
Attend = Callable[..., tuple[Array, Array | None]]

# On a CPU 196 sequences of 16 tokens are 2.5 times faster with all heads at once; from 200 tokens on, head by head is.
# A few short ones take no time in any form, and head by head no bit of an example depends on the others.
_MANY_SEQUENCES: Final = 64
_FEW_TOKENS: Final = 64
# cuDNN's fused attention takes no wider heads.
_WIDEST_FUSED_HEAD: Final = 128
# bfloat16 has 8 bits, float16 11: so many parts hold a float32's 24.
_NUM_PARTS: Final = {"bfloat16": 3, "float16": 3, "float32": 1}
_CHANNELS_OF_CUDNN: Final = 8


def choose_form(
    form: AttentionForm,
    *,
    num_tokens: int,
    channels: int,
    num_sequences: int = 1,
    dtype: Any = jnp.float32,
    with_saliency: bool = False,
) -> AttentionForm:
    """Return the form that runs on `find_platform`'s answer; one that is named runs.

    On a GPU the kernel and cuDNN are tried on a few numbers before they are taken for the first time, since drivers and
    libraries differ; where one can't run or gives other numbers, a warning says so and another form runs: without the
    kernel, cuDNN beside blocks of plain XLA; without both, blocks. What is lowered for other machines gets neither.

    Args:
      form: what was asked for.
      num_tokens: of a sequence.
      channels: of a head.
      num_sequences: in the batch; one that is not known yet, a symbolic dimension, counts as many.
      dtype: of queries, keys and values.
      with_saliency: whether the saliency is asked for.

    Returns:
      A form, never "auto".
    """
    if form != "auto":
        return form
    platform = find_platform()
    if platform == "cpu":
        are_many = not is_known(num_sequences) or num_sequences >= _MANY_SEQUENCES
        return "blocked" if are_many and num_tokens < _FEW_TOKENS else "by_head"
    if platform != "gpu" or is_lowering() or num_tokens <= ROWS_OF_ALL_HEADS:
        return "blocked"
    name = jnp.dtype(dtype).name
    # With saliency the kernel keeps every map on the chip; cuDNN leaves one to blocks of rows in plain XLA.
    candidates: tuple[AttentionForm, ...] = ("kernel", "fused") if with_saliency else ("fused", "kernel")
    for candidate in candidates:
        if candidate == "fused" and not _fits_cudnn(name, channels):
            continue
        if is_usable(candidate, _FORMS[candidate], name, channels):
            return candidate
    return "blocked"


def _fits_cudnn(dtype: str, channels: int) -> bool:
    return dtype in ("bfloat16", "float16") and channels + _NUM_PARTS[dtype] <= _WIDEST_FUSED_HEAD


def get_form(form: AttentionForm) -> Attend:
    """Returns the function of a form; "auto" and "dense" are none of these."""
    return _FORMS[form]


def attend_fused(
    query: Float[Array, "B N H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None,
    *,
    with_sharpness: bool,
    block_size: int | None = None,
) -> tuple[Float[Array, "B N H K"], Float[Array, "B N"] | None]:
    """Attend with `jax.nn.dot_product_attention`; log(size) comes in as extra channels, so no bias map is made.

    A query of 1 and a key of log(size) sqrt(K) add log(size) to the scaled logit. In 16 bits the key's number is split
    into parts that sum to it in float32.

    Args:
      query: not yet scaled.
      key: the same shape.
      value: the same shape.
      size: of each key, or None.
      with_sharpness: also return the negative entropy of the head mean of the plain map, from products of queries and
        keys in plain XLA beside it. Static.
      block_size: rows of a block of that map; None chooses. Static.

    Returns:
      The update, and the sharpness or None.
    """
    sharpness = find_sharpness(query, key, block_size=block_size) if with_sharpness else None
    channels = query.shape[-1]
    name = query.dtype.name
    is_for_cudnn = jax.default_backend() == "gpu" and name in ("bfloat16", "float16")
    implementation: Literal["cudnn"] | None = "cudnn" if is_for_cudnn else None
    if size is not None:
        parts = split_exactly(jnp.log(size.astype(jnp.float32)) * channels**0.5, query.dtype)  # [B, N, P]
        parts = jnp.broadcast_to(parts[:, :, None], (*key.shape[:3], parts.shape[-1]))
        query, key = (
            jnp.concatenate([values, extra.astype(values.dtype)], axis=-1)
            for values, extra in ((query, jnp.ones_like(parts)), (key, parts))
        )
    width = -(-query.shape[-1] // _CHANNELS_OF_CUDNN) * _CHANNELS_OF_CUDNN
    query, key, value = (pad_tokens(values, values.shape[1], width) for values in (query, key, value))
    update = jax.nn.dot_product_attention(query, key, value, scale=channels**-0.5, implementation=implementation)
    return update[..., :channels], sharpness


def split_exactly(values: Float[Array, "*any"], dtype: Any) -> Float[Array, "*any P"]:
    """Splits float32 numbers into parts of another dtype that sum to them, the largest first."""
    parts = []
    rest = values.astype(jnp.float32)
    for _ in range(_NUM_PARTS[jnp.dtype(dtype).name]):
        # Rounded by hand: a compiler that may keep more bits than a dtype has would find no rest.
        part = jax.lax.reduce_precision(rest, *_find_bits(dtype))
        parts.append(part)
        rest = rest - part
    return jnp.stack(parts, axis=-1)


def _find_bits(dtype: Any) -> tuple[int, int]:
    info = jnp.finfo(dtype)
    return info.nexp, info.nmant


def attend_kernel(
    query: Float[Array, "B N H K"],
    key: Float[Array, "B N H K"],
    value: Float[Array, "B N H K"],
    size: Float[Array, "B N"] | None,
    *,
    with_sharpness: bool,
    block_size: int | None = None,
) -> tuple[Float[Array, "B N H K"], Float[Array, "B N"] | None]:
    """Attends with the Pallas kernel of the default backend; where there is none, with the GPU's as plain JAX.

    Its gradients are those of the blocked form, computed anew.

    Args:
      query: not yet scaled.
      key: the same shape.
      value: the same shape.
      size: of each key, or None.
      with_sharpness: also return the negative entropy of the head mean of the plain map. Static.
      block_size: rows and keys of a tile; None chooses. Static.

    Returns:
      The update, and the sharpness or None.
    """
    return _attend_kernel(query, key, value, size, with_sharpness, block_size)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _attend_kernel(
    query: Array, key: Array, value: Array, size: Array | None, with_sharpness: bool, block_size: int | None
) -> tuple[Array, Array | None]:
    # Imported here: Pallas is young, and who does not use it should not depend on it.
    backend = jax.default_backend()
    attend: Attend
    if backend == "tpu":
        from vidtldr_jax.ops.attention_mosaic import attend_mosaic as attend
    else:
        from vidtldr_jax.ops.attention_triton import attend_triton as attend
    interpret = backend not in ("gpu", "tpu")
    return attend(query, key, value, size, with_sharpness=with_sharpness, block_size=block_size, interpret=interpret)


def _run_forward(query: Array, key: Array, value: Array, size: Array | None, *static: Any) -> Any:
    return _attend_kernel(query, key, value, size, *static), (query, key, value, size)


def _run_backward(with_sharpness: bool, block_size: int | None, inputs: Any, gradients: Any) -> Any:
    attend = functools.partial(attend_all_heads, with_sharpness=with_sharpness)
    return jax.vjp(attend, *inputs)[1](gradients)


_attend_kernel.defvjp(_run_forward, _run_backward)

_FORMS: Final[dict[str, Attend]] = {
    "by_head": attend_by_head,
    "blocked": attend_all_heads,
    "fused": attend_fused,
    "kernel": attend_kernel,
}
