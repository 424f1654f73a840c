"""What is dropped in training: expected values, whole updates per example, the same program when nothing is dropped."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

import vidtldr_jax as vt
from tests.models.test_stacking import CONFIGS, make, nest
from tests.reference.inputs import make_params, make_qkv, make_size
from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.block import MLP
from vidtldr_jax.models.dropout import (
    BlockDrop,
    DropRates,
    attend_with_dropout,
    drop_update,
    drop_values,
    find_block_drop,
)
from vidtldr_jax.models.encoder import Encoder
from vidtldr_jax.models.stacking import stack_blocks

KEY = jax.random.key(7)
RATES = ("tokens", "attention", "update", "hidden", "path", "head")
EVERY = DropRates(tokens=0.1, attention=0.2, update=0.1, hidden=0.3, path=0.5, head=0.2)


@functools.cache
def train(name, rates=EVERY, r=(), is_stacked=False, form="auto"):
    """Returns a compiled call in training, of parameters, video and key."""
    module = vt.make_module(CONFIGS[name], r=r, is_stacked=is_stacked, form=form, drop_rates=rates)
    return jax.jit(lambda v, x, key: module.apply(v, x, deterministic=False, rngs={"dropout": key}))


def test_values_are_dropped_at_their_rate_and_the_rest_divided_by_the_rate_of_keeping():
    values = np.random.default_rng(0).uniform(1, 2, (400, 500)).astype(np.float32)
    found = np.asarray(drop_values(jnp.asarray(values), 0.3, KEY))
    is_kept = np.asarray(jax.random.bernoulli(KEY, 0.7, values.shape))
    np.testing.assert_allclose(found, np.where(is_kept, values / 0.7, 0), rtol=1e-6)
    deviation = np.sqrt(0.3 * 0.7 / values.size)
    assert abs((found == 0).mean() - 0.3) < 5 * deviation
    assert abs(found.mean() / values.mean() - 1) < 5 * deviation / 0.7
    half = drop_values(jnp.asarray(values, jnp.bfloat16), 0.3, KEY)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(half == 0, ~is_kept)


@pytest.mark.parametrize(("rescale", "factor"), [(True, 1 / 0.6), (False, 1.0)])
def test_stochastic_depth_drops_whole_updates_of_single_examples(rescale, factor):
    update = np.random.default_rng(0).normal(size=(2000, 3, 2)).astype(np.float32)
    drop = BlockDrop(KEY, jnp.float32(0.4))
    rates = DropRates(path=0.8, rescale_path=rescale)
    first, second = (np.asarray(drop_update(jnp.asarray(update), rates, drop, place)) for place in (1, 3))
    is_kept = first.any((1, 2))
    np.testing.assert_allclose(first, np.where(is_kept[:, None, None], update * factor, 0), rtol=1e-6)
    deviation = np.sqrt(0.4 * 0.6 / len(update))
    assert abs(is_kept.mean() - 0.6) < 5 * deviation
    both = (is_kept & second.any((1, 2))).mean()
    assert abs(both - 0.36) < 5 * deviation, "the places of a block draw apart"


def test_rates_of_stochastic_depth_grow_linearly_from_0():
    rates = DropRates(path=0.3)
    found = [float(find_block_drop(rates, KEY, layer, depth=4).path_rate) for layer in range(4)]
    np.testing.assert_allclose(found, [0, 0.1, 0.2, 0.3], rtol=1e-6)
    under_scan = jax.vmap(lambda layer: find_block_drop(rates, KEY, layer, depth=4).path_rate)(jnp.arange(4))
    np.testing.assert_array_equal(found, under_scan)
    assert float(find_block_drop(rates, KEY, 0, depth=1).path_rate) == 0
    assert find_block_drop(rates, None, 2, depth=4) is None


def test_attention_with_dropout_is_that_of_numpy_with_the_same_mask():
    query, key, value = make_qkv((2, 5, 2, 4))
    size = make_size((2, 5))
    is_kept = np.asarray(jax.random.bernoulli(KEY, 0.75, (2, 2, 5, 5)))
    expected = np.zeros(value.shape)
    for b in range(2):
        for h in range(2):
            logits = query[b, :, h].astype(np.float64) @ key[b, :, h].T / 2 + np.log(size[b])
            attention = np.exp(logits - logits.max(1, keepdims=True))
            attention /= attention.sum(1, keepdims=True)
            expected[b, :, h] = np.where(is_kept[b, h], attention / 0.75, 0) @ value[b, :, h]
    found = attend_with_dropout(*map(jnp.asarray, (query, key, value, size)), rate=0.25, dropout_key=KEY)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("block_size", [10**6, 4])
def test_hidden_values_of_an_mlp_are_dropped_in_every_block_of_tokens(block_size):
    config = vt.VideoViTConfig(
        num_frames=2, image_size=8, patch_size=4, tubelet_size=1, dim=40, depth=1, num_heads=2, mlp_dim=40
    )
    # Hidden values are all gelu(1), and the second layer passes them on.
    dense = {"kernel": jnp.zeros((40, 40)), "bias": jnp.ones(40)}
    variables = {"params": {"fc1": dense, "fc2": {"kernel": jnp.eye(40), "bias": jnp.zeros(40)}}}
    mlp = MLP(config, block_size=block_size, dropout_rate=0.25)
    found = np.asarray(jax.jit(mlp.apply)(variables, jnp.zeros((3, 8, 40)), KEY))
    kept = found[found != 0]
    np.testing.assert_allclose(kept, float(jax.nn.gelu(1.0, approximate=False)) / 0.75, rtol=1e-6)
    assert abs(kept.size / found.size - 0.75) < 5 * np.sqrt(0.25 * 0.75 / found.size)
    assert len({tuple(row) for row in (found != 0).reshape(24, 40).tolist()}) == 24


def trace(module, name, *, deterministic):
    flat, video = make(name)
    rngs = {} if deterministic else {"rngs": {"dropout": KEY}}
    return jax.make_jaxpr(lambda v, x: module.apply(v, x, deterministic=deterministic, **rngs))(
        nest(flat), jnp.asarray(video)
    )


def count_draws(jaxpr):
    """Counts the equations that draw random numbers, in whatever is called."""
    found = 0
    for equation in jaxpr.eqns:
        found += equation.primitive.name == "random_bits"
        for parameter in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns")):
            found += count_draws(parameter) if hasattr(parameter, "eqns") else 0
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_that_drops_nothing_is_the_program_of_inference(name):
    plain, dropping = (vt.make_module(CONFIGS[name], drop_rates=rates) for rates in (DropRates(), EVERY))
    flat, video = make(name)
    expected = jax.make_jaxpr(plain.apply)(nest(flat), jnp.asarray(video))
    assert count_draws(expected) == 0
    assert str(trace(dropping, name, deterministic=True)) == str(expected)
    assert str(trace(plain, name, deterministic=False)) == str(expected), "without rates there is nothing to draw"


# Blocks, the attentions and encoders of each, and whether there is a classifier.
PLACES = {
    "joint": (3, 3, 1, 1),
    "clip": (3, 3, 1, 0),
    "vivit spacetime cls": (3, 3, 1, 1),
    "vivit factorized mean": (5, 5, 2, 1),
    "vivit self attention": (3, 6, 1, 1),
    "vivit dot product": (3, 6, 1, 1),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_rate_drops_at_all_of_its_places(name):
    blocks, attentions, encoders, heads = PLACES[name]
    updates = 9 if name == "vivit self attention" else 2 * blocks
    expected = {
        "tokens": encoders, "attention": attentions, "update": updates, "hidden": blocks, "path": updates,
        "head": heads,
    }  # fmt: skip
    modules = {rate: vt.make_module(CONFIGS[name], drop_rates=DropRates(**{rate: 0.5})) for rate in RATES}
    found = {rate: count_draws(trace(module, name, deterministic=False)) for rate, module in modules.items()}
    assert found == expected


def test_drop_rates_and_remat_leave_the_parameters_as_they_are():
    for config in CONFIGS.values():
        video = jnp.zeros((1, config.num_frames, config.image_size, config.image_size, 3))
        plain, trained = (
            jax.eval_shape(vt.make_module(config, **fields).init, KEY, video)
            for fields in ({}, {"drop_rates": EVERY, "remat": True})
        )
        assert plain == trained
        module = vt.make_module(config, drop_rates=EVERY)
        in_training = jax.eval_shape(functools.partial(module.init, deterministic=False), KEY, video)
        assert plain == in_training


def test_a_loaded_module_is_trained_as_a_copy_with_rates():
    module, variables = vt.load_module("moving-objects", schedule="100,40")
    video = jnp.zeros((2, 16, 48, 48, 3))
    copy = module.clone(drop_rates=DropRates(path=0.2), remat=True)
    assert (copy.r, copy.remat) == (module.r, True)
    draws = jax.make_jaxpr(lambda v, x: copy.apply(v, x, deterministic=False, rngs={"dropout": KEY}))(variables, video)
    assert count_draws(draws) == 2 * len(module.r)
    assert count_draws(jax.make_jaxpr(copy.apply)(variables, video)) == 0


def test_the_video_encoder_of_a_umt_drops_as_it_does_alone():
    text = BertConfig(vocab_size=8, max_positions=4, dim=16, depth=2, num_heads=2, mlp_dim=16, fusion_from_layer=1)
    vision = dataclasses.replace(CONFIGS["joint"], num_classes=None, embed_dim=6)
    config = vt.UMTConfig(task="retrieval", vision=vision, text=text)
    module = vt.make_module(config, drop_rates=EVERY, remat=True)
    variables = {"params": traverse_util.unflatten_dict(make_params(config), sep="/")}
    video = jnp.asarray(make("joint")[1])
    apply = functools.partial(module.apply, deterministic=False, rngs={"dropout": KEY})
    draws = jax.make_jaxpr(apply)(variables, video)
    assert count_draws(draws) == 1 + 3 * 6  # tokens; weights, two updates, two paths and hidden values of each block
    assert count_draws(jax.make_jaxpr(module.apply)(variables, video)) == 0


@pytest.mark.parametrize(("name", "r"), [("joint", (2, 2, 0)), ("vivit factorized mean", (2, 0, 0))])
def test_rates_near_0_give_the_values_of_inference_through_merging(name, r):
    flat, video = make(name)
    almost = DropRates(**dict.fromkeys(RATES, 1e-7))
    found = train(name, almost, r)(nest(flat), video, KEY)
    expected = jax.jit(vt.make_module(CONFIGS[name], r=r).apply)(nest(flat), video)
    for one, other in ((found.tokens, expected.tokens), (found.size, expected.size), (found.logits, expected.logits)):
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.parametrize(("name", "r"), [("joint", (2, 0, 0)), ("vivit dot product", ())])
def test_stacked_blocks_draw_the_same_numbers_as_blocks_one_by_one(name, r):
    flat, video = make(name)
    expected = train(name, EVERY, r)(nest(flat), video, KEY)
    found = train(name, EVERY, r, is_stacked=True)(nest(stack_blocks(flat)), video, KEY)
    np.testing.assert_allclose(found.tokens, expected.tokens, atol=2e-5)
    np.testing.assert_allclose(found.logits, expected.logits, atol=2e-5)
    other = train(name, EVERY, r)(nest(flat), video, jax.random.key(8))
    assert np.abs(other.logits - expected.logits).max() > 1e-2


def test_examples_whose_last_block_is_dropped_leave_the_block_before_it():
    config = vt.VideoViTConfig(
        num_frames=2, image_size=8, patch_size=4, tubelet_size=1, dim=8, depth=2, num_heads=2, mlp_dim=8
    )
    tokens = jax.random.normal(KEY, (64, 8, 8))
    encoder = Encoder(config, drop_rates=DropRates(path=0.6))
    variables = encoder.init(jax.random.key(1), tokens)
    after = np.asarray(jax.jit(lambda v: encoder.apply(v, tokens, dropout_key=KEY)[0].tokens)(variables))
    shorter = Encoder(vt.VideoViTConfig(**{**config.to_dict(), "depth": 1}))
    before = np.asarray(jax.jit(lambda v: shorter.apply(v, tokens)[0].tokens)(variables))
    is_same = np.isclose(after, before, atol=1e-6).all((1, 2))
    assert 0.36 - 5 * 0.06 < is_same.mean() < 0.36 + 5 * 0.06
    assert is_same.any()
    assert not is_same.all()


def test_the_classifier_reads_the_mean_of_what_is_dropped_before_it():
    flat, video = make("joint")
    module = vt.make_module(CONFIGS["joint"], drop_rates=DropRates(head=0.5))
    keys = jax.random.split(KEY, 4000)

    def run(variables, video, key):
        return module.apply(variables, video, deterministic=False, rngs={"dropout": key})

    out = jax.jit(jax.vmap(run, in_axes=(None, None, 0)))(nest(flat), video, keys)
    expected = jax.jit(vt.make_module(CONFIGS["joint"]).apply)(nest(flat), video)
    np.testing.assert_allclose(out.pooled[0], expected.pooled, atol=1e-5)
    error = np.abs(out.logits.mean(0) - expected.logits) / (out.logits.std(0) / np.sqrt(len(keys)))
    assert error.max() < 5
    assert out.logits.std(0).min() > 0.05


@pytest.mark.parametrize(
    ("fields", "fault"),
    [({"path": 1.0}, "path = 1.0"), ({"head": -0.1}, "head = -0.1"), ({"tokens": float("nan")}, "tokens = nan"),
     ({"update": True, "hidden": "0.1"}, "update = True, hidden = '0.1'")],
)  # fmt: skip
def test_rates_that_are_no_probabilities_are_refused(fields, fault):
    with pytest.raises(ValueError) as caught:
        DropRates(**fields)
    assert str(caught.value) == f"drop rates are numbers from 0 to below 1; got {fault}; change them."


@pytest.mark.parametrize("name", CONFIGS)
def test_a_missing_key_is_asked_for(name):
    flat, video = make(name)
    module = vt.make_module(CONFIGS[name], drop_rates=DropRates(path=0.1))
    message = "got no 'dropout' among rngs; pass rngs={\"dropout\": key}."
    with pytest.raises(ValueError, match=re.escape(message)):
        module.apply(nest(flat), jnp.asarray(video), deterministic=False)
