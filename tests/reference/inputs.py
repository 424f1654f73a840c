"""Random inputs with a fixed seed."""

import numpy as np

from tests.reference import oracle
from vidtldr_jax.inference.checkpoint import find_param_shapes


def make_tokens(shape=(2, 12, 8), seed=0):
    """Features or tokens, float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_weight(shape=(2, 12), seed=1):
    """Saliency-like weights in [0, 1], about a third of them exactly 0."""
    weight = np.random.default_rng(seed).uniform(-0.5, 1.0, size=shape)
    return np.maximum(weight, 0.0).astype(np.float32)


def make_size(shape=(2, 12), seed=2):
    """Sizes of at least 1, not whole numbers."""
    return np.random.default_rng(seed).uniform(1.0, 6.0, size=shape).astype(np.float32)


def make_qkv(shape=(2, 12, 2, 4), seed=3, scale=1.5):
    """Query, key and value [B, N, H, K], float32."""
    rng = np.random.default_rng(seed)
    return tuple((scale * rng.normal(size=shape)).astype(np.float32) for _ in range(3))


def make_attention(shape=(2, 12, 2, 4), seed=3):
    """A map [B, H, N, N] whose rows sum to 1, float32."""
    query, key, _ = make_qkv(shape, seed)
    return oracle.attention_map(query, key).astype(np.float32)


def make_plan_arrays(plans):
    """Turns the oracle's plans into the arrays kept, absorbed, target (in order of absorbed position)."""
    kept = [kept for kept, _ in plans]
    absorbed = [sorted(merged) for _, merged in plans]
    target = [[kept.index(merged[e]) for e in sorted(merged)] for kept, merged in plans]
    return np.array(kept, np.int32), np.array(absorbed, np.int32), np.array(target, np.int32)


def make_params(config, seed=0):
    """Every parameter of an architecture by its path: scales about 1, all else about 0; nothing is compiled for it."""
    rng = np.random.default_rng(seed)
    return {
        path: (0.3 * rng.standard_normal(shape) + path.endswith("scale")).astype(np.float32)
        for path, shape in find_param_shapes(config).items()
    }
