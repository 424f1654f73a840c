"""On a TPU the clips of a batch are attended to in groups; the numbers are those of all at once."""

import functools

import jax
import numpy as np
import pytest

from tests.reference.inputs import make_qkv, make_size
from vidtldr_jax import ops
from vidtldr_jax.ops import attention_blocks
from vidtldr_jax.ops.attention_blocks import attend_all_heads, count_clips_at_once
from vidtldr_jax.ops.platform import lower_for

SHAPE = (6, 20, 2, 4)


def attend(inputs, **options):
    return jax.jit(functools.partial(attend_all_heads, block_size=8, **options))(*inputs)


@pytest.mark.parametrize("clips", [1, 2, 3])
@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("kind", [{"with_sharpness": True}, {"with_sharpness": False}, {"with_received": True}])
def test_groups_give_what_all_clips_give_at_once(clips, sized, kind, monkeypatch):
    inputs = (*make_qkv(SHAPE), make_size(SHAPE[:2]) if sized else None)
    options = {"with_sharpness": False, **kind}
    expected = attend(inputs, **options)
    # 20 rows in 3 blocks of 7, of 2 heads.
    monkeypatch.setattr(attention_blocks, "BYTES_ON_CHIP", clips * 4 * 2 * 7 * 20)
    with lower_for("tpu"):
        assert count_clips_at_once(SHAPE, 8) == clips
        found = attend(inputs, **options)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_groups_divide_the_batch_and_only_a_tpu_has_them():
    assert count_clips_at_once((8, 2352, 16, 64)) is None
    with lower_for("tpu"):
        assert count_clips_at_once((8, 2352, 16, 64)) == 1
        assert count_clips_at_once((1, 2352, 16, 64)) is None
        assert count_clips_at_once((196, 16, 12, 64)) is None  # frames of a factorised encoder: all fit at once
        assert count_clips_at_once((12, 1024, 8, 64)) == 6  # 8 would fit
        (batch,) = jax.export.symbolic_shape("batch")
        assert count_clips_at_once((batch, 2352, 16, 64)) is None


def test_a_program_for_a_tpu_holds_the_map_of_one_clip(monkeypatch):
    shapes = [jax.ShapeDtypeStruct((4, 2352, 16, 64), "bfloat16")] * 3
    attend = functools.partial(ops.attend, with_saliency=True)
    with lower_for("tpu"):
        program = jax.jit(attend).trace(*shapes).lower().as_text()
    assert "1x16x124x2352" in program
    assert "4x16x124x2352" not in program


def test_gradients_pass_through_groups(monkeypatch):
    inputs = (*make_qkv(SHAPE), make_size(SHAPE[:2]))

    def total(*inputs):
        return ops.attend(*inputs, with_saliency=True, form="blocked").update.sum()

    expected = jax.grad(total, argnums=(0, 1, 2, 3))(*inputs)
    monkeypatch.setattr(attention_blocks, "BYTES_ON_CHIP", 1)
    with lower_for("tpu"):
        found = jax.grad(total, argnums=(0, 1, 2, 3))(*inputs)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
