"""Sharpness beside attention whose map nobody sees: the same numbers, and never the whole map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import oracle
from tests.reference.inputs import make_qkv
from vidtldr_jax.ops.attention_sharpness import FEWEST_ROWS, MOST_BYTES, choose_rows, find_sharpness

find = jax.jit(find_sharpness, static_argnames="block_size")


def expect(query, key):
    mean_map = oracle.attention_map(np.asarray(query, np.float64), np.asarray(key, np.float64)).mean(1)
    return np.where(mean_map > 0, mean_map * np.log(np.where(mean_map > 0, mean_map, 1)), 0).sum(-1)


@pytest.mark.parametrize("block_size", [1, 4, 13, 20, None])
@pytest.mark.parametrize("shape", [(2, 13, 3, 4), (1, 2, 1, 4), (1, 1, 2, 8)], ids=["odd", "two tokens", "one token"])
def test_sharpness_equals_the_oracle_in_blocks_of_any_size(shape, block_size):
    query, key, _ = make_qkv(shape)
    np.testing.assert_allclose(find(query, key, block_size=block_size), expect(query, key), atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 100.0], ids=["all alike", "one-hot"])
def test_extreme_maps_are_finite_and_right(scale):
    query, key, _ = make_qkv((1, 9, 2, 4))
    found = find(scale * query, key)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expect(scale * query, key), atol=1e-5)


def test_bfloat16_is_summed_in_float32():
    query, key = (jnp.asarray(array, jnp.bfloat16) for array in make_qkv((1, 60, 3, 16))[:2])
    found = find(query, key)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expect(query, key), atol=1e-5)


def test_examples_do_not_affect_each_other():
    query, key, _ = make_qkv((3, 10, 2, 4))
    alone = jnp.concatenate([find(query[i : i + 1], key[i : i + 1], block_size=4) for i in range(3)])
    np.testing.assert_allclose(find(query, key, block_size=4), alone, atol=1e-6)


def test_no_more_rows_than_fit_are_there_at_a_time():
    assert choose_rows(1, 2352, 16) == 128
    for batch in (8, 32, 1000):
        rows = choose_rows(batch, 2352, 16)
        assert rows == FEWEST_ROWS or 4 * batch * 16 * 2352 * rows <= MOST_BYTES
        assert rows >= FEWEST_ROWS
    shapes = [jax.ShapeDtypeStruct((8, 2352, 16, 64), jnp.bfloat16)] * 2
    program = jax.jit(find_sharpness).lower(*shapes).as_text()
    # 2352 rows in 27 blocks of 88.
    assert f"8x16x{-(-2352 // -(-2352 // choose_rows(8, 2352, 16)))}x2352" in program
    assert "2352x2352" not in program


def test_a_batch_that_is_not_known_yet_is_lowered_once_for_all():
    (batch,) = jax.export.symbolic_shape("batch")
    shapes = [jax.ShapeDtypeStruct((batch, 20, 2, 4), jnp.float32)] * 2
    exported = jax.export.export(jax.jit(find_sharpness))(*shapes)
    query, key, _ = make_qkv((3, 20, 2, 4))
    np.testing.assert_allclose(exported.call(query, key), expect(query, key), atol=1e-6)
