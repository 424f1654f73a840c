"""What every operator refuses by name: no batch axis, traced numbers that decide shapes, arrays that don't fit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vidtldr_jax as vt
from vidtldr_jax import ops
from vidtldr_jax.ops.checks import describe
from vidtldr_jax.reduction import parse_schedule

pytestmark = pytest.mark.usefixtures("shapes_unchecked")

TOKENS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 8)), jnp.float32)
ROW = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 12)), jnp.float32)
STATE = ops.init_merge_state(TOKENS, trace=True)
PLAN = ops.match_tokens(TOKENS, r=4)
PARTNER = jnp.zeros((2, 6), jnp.int32)
QKV = jnp.ones((2, 12, 2, 4))
UNBATCHED_STATE = ops.MergeState(TOKENS[0], ROW[0])

WITHOUT_A_BATCH = {
    "match_tokens": (lambda: ops.match_tokens(TOKENS[0], r=4), "features", "B, N, D"),
    "match_tokens, r of 0": (lambda: ops.match_tokens(TOKENS[0], r=0), "features", "B, N, D"),
    "pair_tokens": (lambda: ops.pair_tokens(TOKENS[0]), "features", "B, N, D"),
    "absorb_pairs": (lambda: ops.absorb_pairs(PARTNER[0], ROW[0, :6], r=2, num_tokens=12), "partner", "B, S"),
    "init_merge_state": (lambda: ops.init_merge_state(TOKENS[0]), "tokens", "B, N, D"),
    "merge_tokens": (lambda: ops.merge_tokens(UNBATCHED_STATE, PLAN), "tokens", "B, N, D"),
    "merge_tokens, weight": (lambda: ops.merge_tokens(STATE, PLAN, ROW[0]), "weight", "B, N"),
    "unmerge_tokens": (lambda: ops.unmerge_tokens(TOKENS[0], STATE.source), "tokens", "B, M, D"),
    "unmerge_tokens, source": (lambda: ops.unmerge_tokens(TOKENS, STATE.source[0]), "source", "B, N0"),
    "source_matrix": (lambda: ops.source_matrix(STATE.source[0], ROW[0], num_tokens=12), "source", "B, N0"),
    "normalise_sharpness": (lambda: ops.normalise_sharpness(ROW[0]), "sharpness", "B, N"),
    "keep_best": (lambda: ops.keep_best(ROW[0], r=2), "score", "B, N"),
    "fuse_rest": (lambda: ops.fuse_rest(ROW[0], r=2), "score", "B, N"),
    "reduce_tokens": (lambda: vt.reduce_tokens(UNBATCHED_STATE, TOKENS[0], None, r=4), "tokens", "B, N, D"),
    "reduce_tokens, features": (lambda: vt.reduce_tokens(STATE, TOKENS[0], None, r=4), "features", "B, N, D"),
    "reduce_tokens, saliency": (lambda: vt.reduce_tokens(STATE, TOKENS, ROW[0], r=4), "saliency", "B, N"),
}


@pytest.mark.parametrize(("call", "name", "axes"), WITHOUT_A_BATCH.values(), ids=WITHOUT_A_BATCH)
def test_a_missing_batch_axis_is_an_error_that_says_where_to_put_it(call, name, axes):
    with pytest.raises(ValueError) as error:
        call()
    message = str(error.value)
    assert message.startswith(f"the axes of {name} are [{axes}]; got shape (")
    assert message.endswith(f"; put a batch axis in front: {name}[None].")
    assert "\n" not in message


@pytest.mark.parametrize("attend", [ops.attend, ops.attend_received])
def test_attention_without_a_batch_axis_names_the_shape_that_it_wants(attend):
    with pytest.raises(ValueError, match=r"one shape \[B, N, H, K\]; got \(12, 2, 4\), \(12, 2, 4\), \(12, 2, 4\)"):
        attend(QKV[0], QKV[0], QKV[0])
    with pytest.raises(ValueError, match=r"the attention map is \[B, H, N, N\]; got shape \(2, 12, 12\)"):
        ops.attention_saliency(jnp.ones((2, 12, 12)))


TRACED = {
    "match_tokens": ("r", lambda r: ops.match_tokens(TOKENS, r=r)),
    "absorb_pairs": ("r", lambda r: ops.absorb_pairs(PARTNER, ROW[:, :6], r=r, num_tokens=12)),
    "absorb_pairs, tokens": ("num_tokens", lambda n: ops.absorb_pairs(PARTNER, ROW[:, :6], r=2, num_tokens=n)),
    "keep_best": ("r", lambda r: ops.keep_best(ROW, r=r)),
    "fuse_rest": ("r", lambda r: ops.fuse_rest(ROW, r=r)),
    "reduce_tokens": ("r", lambda r: vt.reduce_tokens(STATE, TOKENS, ROW, r=r)),
    "source_matrix": ("num_tokens", lambda n: ops.source_matrix(STATE.source, ROW, num_tokens=n)),
    "match_tokens, protected": ("num_protected", lambda n: ops.match_tokens(TOKENS, r=2, num_protected=n)),
    "reduce_tokens, protected": ("num_protected", lambda n: vt.reduce_tokens(STATE, TOKENS, ROW, r=2, num_protected=n)),
    "normalise_sharpness, protected": ("num_protected", lambda n: ops.normalise_sharpness(ROW, num_protected=n)),
    "attention_saliency, protected": (
        "num_protected",
        lambda n: ops.attention_saliency(jnp.ones((1, 1, 4, 4)), num_protected=n),
    ),
    "attend, protected": ("num_protected", lambda n: ops.attend(QKV, QKV, QKV, with_saliency=True, num_protected=n)),
    "attend, block": ("block_size", lambda n: ops.attend(QKV, QKV, QKV, block_size=n)),
    "attend, saliency": ("with_saliency", lambda n: ops.attend(QKV, QKV, QKV, with_saliency=n)),
    "attend_received, protected": ("num_protected", lambda n: ops.attend_received(QKV, QKV, QKV, num_protected=n)),
    "a schedule": ("schedule", lambda r: parse_schedule(r)),
    "a layer of a schedule": ("r", lambda r: parse_schedule((100, r))),
}


@pytest.mark.parametrize(("name", "call"), TRACED.values(), ids=TRACED)
def test_a_traced_number_that_decides_a_shape_is_an_error_that_says_it_must_be_static(name, call):
    with pytest.raises(ValueError) as error:
        jax.jit(call)(2)
    message = str(error.value).splitlines()[0]
    assert message.startswith(f"{name} is static: it decides shapes")
    assert f"static_argnames={name!r}" in message


def test_the_advice_about_a_traced_r_works():
    expected = ops.match_tokens(TOKENS, r=3)
    for function, options in (
        (jax.jit(ops.match_tokens, static_argnames="r"), {"r": 3}),
        (jax.jit(functools.partial(ops.match_tokens, r=3)), {}),
    ):
        jax.tree.map(np.testing.assert_array_equal, function(TOKENS, **options), expected)


@pytest.mark.parametrize("r", [np.int64(3), np.int32(3), jnp.asarray(3)])
def test_a_whole_number_of_any_library_is_an_r(r):
    jax.tree.map(np.testing.assert_array_equal, ops.match_tokens(TOKENS, r=r), ops.match_tokens(TOKENS, r=3))
    assert vt.reduce_tokens(STATE, TOKENS, None, r=r).tokens.shape == (2, 9, 8)


@pytest.mark.parametrize("number", [np.int64(3), jnp.asarray(3), np.array(3)])
def test_one_number_of_any_library_is_a_schedule(number):
    assert parse_schedule(number) == (3,)


@pytest.mark.parametrize("r", [2.0, 0.25, "2", None])
def test_an_r_that_is_no_whole_number_is_refused(r):
    with pytest.raises(
        ValueError, match=r"^r is a whole number; got .*; resolve a schedule first where it is a ratio\.$"
    ):
        ops.match_tokens(TOKENS, r=r)


def test_arrays_that_don_t_belong_together_are_refused():
    with pytest.raises(ValueError) as error:
        ops.merge_tokens(STATE, PLAN, jnp.ones((2, 8)))
    assert str(error.value) == (
        "[B, N] of weight is that of tokens, (2, 12); got (2, 8); pass both of one batch and one number of tokens."
    )
    with pytest.raises(ValueError, match=r"\[B, N\] of features is that of tokens, \(2, 12\); got \(2, 11\)"):
        vt.reduce_tokens(STATE, TOKENS[:, 1:], None, r=4)
    with pytest.raises(ValueError, match=r"\[B, N\] of saliency is that of tokens, \(2, 12\); got \(1, 12\)"):
        vt.reduce_tokens(STATE, TOKENS, ROW[:1], r=4)


def test_what_is_no_array_is_refused_by_its_type():
    with pytest.raises(ValueError, match=r"^features is an array; got a list; make an array of it: jnp.asarray\(feat"):
        ops.match_tokens([[1.0, 2.0]], r=0)
    with pytest.raises(ValueError, match="got None; make an array of it"):
        vt.reduce_tokens(STATE, None, None, r=2)
    with pytest.raises(ValueError, match=r"^query holds real numbers; got dtype <U1; convert it first"):
        ops.attend(np.full(QKV.shape, "a"), QKV, QKV)


UMT = vt.models.get_preset("umt-b16")


def test_what_was_given_is_told_in_one_short_line():
    for value, told in (
        (np.zeros((2, 3)), "an array of shape (2, 3)"),
        (np.float32(2), "np.float32(2.0)"),
        ((1, "a", None), "(1, 'a', None)"),
        ([[1.0], [2.0]], "a list"),
        (list(range(10**6)), "a list"),
        (STATE, "a MergeState"),
    ):
        assert describe(value) == told
    assert len(describe("x" * 10**6)) < 100


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_tokens": 20}, "S of partner is the number of even tokens, 10 of 20; got 6; pass the num_tokens of what"),
        ({"num_protected": -1}, "num_protected is from 0 to 11 for 12 tokens; got -1"),
    ],
)
def test_pairs_of_another_number_of_tokens_are_refused(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ops.absorb_pairs(PARTNER, ROW[:, :6], **{"r": 2, "num_tokens": 12, **wrong})


def test_a_source_of_another_batch_or_of_fractions_is_refused():
    for source in (STATE.source[:1], STATE.source.astype(jnp.float32)):
        with pytest.raises(ValueError, match=r"^source has a row of whole numbers for each of 2 examples; got an "):
            ops.unmerge_tokens(TOKENS, source)


@pytest.mark.parametrize("size", [{"num_tokens": -1}, {"num_protected": 13}, {"num_layers": 0}, {"num_first": -1}])
def test_a_schedule_is_resolved_for_a_model_that_can_be(size):
    with pytest.raises(ValueError, match=r"^num_\w+ is at least \d+; got -?\d+; pass another number\.$"):
        vt.resolve_schedule("2", **{"num_tokens": 12, "num_layers": 2, **size})


def test_numbers_of_numpy_make_a_schedule_of_plain_numbers():
    sizes = {"num_tokens": np.int64(12), "num_layers": np.int32(2), "num_protected": np.int64(1)}
    resolved = vt.resolve_schedule("2", **sizes)
    assert {type(number) for number in (*resolved.r, *resolved.tokens)} == {int}


def test_features_without_channels_are_all_alike():
    assert ops.match_tokens(jnp.zeros((2, 4, 0)), r=1).kept.shape == (2, 3)


@pytest.mark.parametrize("frames", [0, -4])
def test_a_clip_without_frames_is_not_counted(frames):
    with pytest.raises(ValueError, match=f"^frames are a multiple of the model's tubelet, 1; got {frames};"):
        vt.count_macs(UMT, None, num_frames=frames)
