"""All forms of attention find one saliency, also where rows are nearly one-hot or nearly uniform."""

import jax
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


def attend_on_tpu(query, key, value):
    _, sharpness = attend_mosaic(query, key, value, None, with_sharpness=True, block_size=128, interpret=True)
    return ops.normalise_sharpness(sharpness)


FORMS = {
    form: jax.jit(lambda query, key, value, form=form: ops.attend(
        query, key, value, with_saliency=True, form=form, block_size=16
    ).saliency)
    for form in FORM_NAMES
} | {"kernel of TPUs": jax.jit(attend_on_tpu)}  # fmt: skip


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


def find_exact(query, key):
    """Returns how far each sharpness is above the mean, in float64, and how far rounding reaches."""
    attention = oracle.attention_map(query, key).mean(1)  # [B, N, N]
    sharpness = np.where(attention > 0, attention * np.log(np.where(attention > 0, attention, 1)), 0).sum(-1)
    return sharpness - sharpness.mean(-1, keepdims=True), 16 * EPS * (1 + np.abs(sharpness).max(-1))


@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize("kind", ["nearly one-hot", "nearly uniform", "mixed", "one unlike the others"])
@pytest.mark.parametrize("form", FORMS)
@given(seed=st.integers(0, 2**31))
def test_every_form_finds_the_exact_saliency_or_nobody_where_rounding_decides(form, kind, offset, seed):
    query, key, value = make_inputs(make_logits(kind, seed), offset)
    saliency = np.asarray(FORMS[form](query, key, value))
    for found, above, rounding in zip(saliency, *find_exact(query, key), strict=True):
        highest = above.max()
        if highest < rounding / 4:
            is_clear = np.abs(above + rounding) > rounding / 2
            np.testing.assert_array_equal(found[is_clear], (above > -rounding)[is_clear])
        elif highest > 2 * rounding:
            exact = np.maximum(above, 0) / highest
            np.testing.assert_allclose(found, exact, atol=max(rounding / 2 / highest, 2e-6))
