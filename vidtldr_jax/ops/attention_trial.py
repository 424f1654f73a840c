"""Tries a form of attention on a few numbers before it is used on a device that it was never run on."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vidtldr_jax.ops.attention_blocks import attend_all_heads

Attend = Callable[..., tuple[Array, Array | None]]

# How far a trial may be off, for numbers of about 1: products of bfloat16 have 8 bits, of float32 on a GPU perhaps 10.
_ALLOWED_APART: Final = 0.05


@functools.lru_cache(maxsize=64)
def is_usable(form: str, attend: Attend, dtype: str, channels: int) -> bool:
    """Tells whether a form runs on the default device and gives what the blocked form gives.

    Args:
      form: its name; "kernel" is tried with its sharpness.
      attend: its function, as `ops.attention_blocks` has them.
      dtype: of queries, keys and values, by name.
      channels: of a head.

    Returns:
      The answer; the first time it is no, a warning says why.
    """
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((2, 150, 3, channels)).astype(jnp.dtype(dtype)) for _ in range(3)]
    inputs.append(rng.integers(1, 9, (2, 150)).astype(np.float32))

    def run(function: Attend) -> list[np.ndarray]:
        # Compiled apart, and called with NumPy's arrays: the question comes up while a model is being traced.
        program = jax.jit(functools.partial(function, with_sharpness=form == "kernel")).lower(*inputs).compile()
        return [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(program(*inputs))]

    try:
        pairs = zip(run(attend), run(attend_all_heads), strict=True)
        furthest = float(np.max([np.abs(found - expected).max() for found, expected in pairs]))  # NaN if any is
    except Exception as error:  # whatever a compiler or driver raises
        why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    else:
        if furthest < _ALLOWED_APART:
            return True
        why = f"its numbers are {furthest:.1e} from those of the blocked form"
    warnings.warn(
        f"{form} attention in {dtype} can't be used on this device ({why}); another form runs instead.",
        stacklevel=2,
    )
    return False
