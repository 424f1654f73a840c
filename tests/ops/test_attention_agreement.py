"""All forms of attention find one saliency, also where rows are nearly one-hot or nearly uniform."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import oracle
from vidtldr_jax import ops
from vidtldr_jax.ops.attention_forms import FORM_NAMES
from vidtldr_jax.ops.attention_mosaic import attend_mosaic

BATCH, N, H, K = 3, 24, 3, 32
EPS = float(np.finfo(np.float32).eps)


KINDS = ("nearly one-hot", "nearly uniform", "mixed", "one unlike the others")
FORMS = (*FORM_NAMES, "kernel of TPUs")


@functools.partial(jax.jit, static_argnames=("form", "num_protected"))
def find_saliency(query, key, value, *, form, num_protected=0):
    if form in FORM_NAMES:
        options = {"form": form, "block_size": 16, "num_protected": num_protected}
        return ops.attend(query, key, value, with_saliency=True, **options).saliency
    _, sharpness = attend_mosaic(query, key, value, None, with_sharpness=True, block_size=128, interpret=True)
    return ops.normalise_sharpness(sharpness, num_protected=num_protected)


def make_inputs(logits, offset):
    """Returns query, key and value whose logits are those that are asked for, but for rounding, and an offset."""
    batch = logits.shape[0]
    query = np.zeros((batch, N, H, K))
    query[..., :N] = np.sqrt(K) * logits.transpose(0, 2, 1, 3)  # [B, N, H, N]
    query[..., N] = np.sqrt(K) * offset
    key = np.zeros((batch, N, H, K))
    key[..., :N] = np.eye(N)[None, :, None]
    key[..., N] = 1.0
    value = np.random.default_rng(0).normal(size=key.shape)
    return tuple(array.astype(np.float32) for array in (query, key, value))


def make_logits(kind, seed):
    """Returns `[BATCH, H, N, N]`: rows that look at one key, at all keys alike, or some of either and all between."""
    rng = np.random.default_rng(seed)
    looked_at = rng.permutation(N)
    noise = rng.normal(size=(BATCH, H, N, N))
    gap = {
        "nearly one-hot": rng.uniform(10, 40, (BATCH, 1, N)),
        "nearly uniform": np.zeros((BATCH, 1, N)),
        "mixed": rng.choice([0.0, 1e-3, 2.0, 8.0, 16.0, 30.0], (BATCH, 1, N)),
        "one unlike the others": np.where(np.arange(N) == rng.integers(N), rng.uniform(2, 12), 30.0)[None, None],
    }[kind]
    spread = {"nearly uniform": 10.0 ** rng.uniform(-8, 0, (BATCH, 1, 1, 1))}.get(kind, 0.5)
    return spread * noise + gap[..., None] * (np.arange(N) == looked_at[:, None])


def find_exact(query, key, num_protected):
    """Returns how far each sharpness is above the mean, in float64, and how far rounding reaches."""
    attention = oracle.attention_map(query, key).mean(1)[:, num_protected:]  # [B, N - P, N]
    sharpness = np.where(attention > 0, attention * np.log(np.where(attention > 0, attention, 1)), 0).sum(-1)
    return sharpness - sharpness.mean(-1, keepdims=True), 16 * EPS * (1 + np.abs(sharpness).max(-1))


def check(saliency, query, key, num_protected=0):
    """Demands the exact saliency, or 1 for all that rounding can't tell apart; near that limit either will do."""
    np.testing.assert_array_equal(saliency[:, :num_protected], 1)
    exact_ones = find_exact(query, key, num_protected)
    for found, above, rounding in zip(saliency[:, num_protected:], *exact_ones, strict=True):
        assert found.max() == 1
        highest = above.max()
        if highest < rounding / 4:
            is_clear = np.abs(above + rounding) > rounding / 2
            np.testing.assert_array_equal(found[is_clear], (above > -rounding)[is_clear])
        elif highest > 2 * rounding:
            exact = np.maximum(above, 0) / highest
            np.testing.assert_allclose(found, exact, atol=max(rounding / 2 / highest, 2e-6))


@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
@given(seed=st.integers(0, 2**31))
def test_every_form_finds_the_exact_saliency_or_nobody_where_rounding_decides(form, kind, offset, seed):
    query, key, value = make_inputs(make_logits(kind, seed), offset)
    check(np.asarray(find_saliency(query, key, value, form=form)), query, key)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("form", FORMS)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_so_it_is_with_narrow_numbers_and_a_class_token(form, dtype, kind, seed):
    query, key, value = (array.astype(dtype) for array in make_inputs(make_logits(kind, seed), 0.0))
    check(np.asarray(find_saliency(query, key, value, form=form, num_protected=1)), query, key, num_protected=1)
