"""ViViT: the class token is never merged, r = 0 is the plain model, frames are reduced alike, batches are examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests.reference.inputs import make_params
from vidtldr_jax import ops
from vidtldr_jax.models.vivit import ViViT
from vidtldr_jax.models.vivit_config import ViViTConfig

FIELDS = {
    "num_frames": 4, "image_size": 24, "patch_size": 8, "tubelet_size": 2,
    "dim": 16, "depth": 3, "num_heads": 2, "mlp_dim": 32, "num_classes": 5,
}  # fmt: skip
CONFIGS = {
    "spacetime cls": ViViTConfig(**FIELDS),
    "spacetime mean": ViViTConfig(**FIELDS, pooling="mean"),
    "factorized cls": ViViTConfig(**FIELDS, attention="factorized_encoder", temporal_depth=2),
    "factorized mean": ViViTConfig(**FIELDS, attention="factorized_encoder", temporal_depth=2, pooling="mean"),
}


# Without merging: every block needs the whole grid.
FACTORIZED = {
    "self attention": ViViTConfig(**FIELDS, attention="factorized_self_attention", pooling="mean"),
    "dot product": ViViTConfig(**FIELDS, attention="factorized_dot_product", pooling="mean"),
}
EVERY = {**CONFIGS, **FACTORIZED}


@functools.cache
def make(config, seed=0):
    params = traverse_util.unflatten_dict(make_params(config, seed), sep="/")
    video = jax.random.normal(jax.random.key(seed + 2), (2, config.num_frames, config.image_size, config.image_size, 3))
    return params, video


@functools.partial(jax.jit, static_argnums=0, static_argnames="trace")
def run(model, params, video, trace=False):
    return model.apply({"params": params}, video, trace=trace)


@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY)
def test_nothing_absorbed_is_the_plain_model(config):
    params, video = make(config)
    plain, none = (
        str(jax.make_jaxpr(lambda p, m=model: m.apply({"params": p}, video))(params))
        for model in (ViViT(config), ViViT(config, r=(0, 0, 0)))
    )
    assert plain == none  # one program, so the same bits


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_merging_leaves_the_tokens_that_the_schedule_says_and_changes_the_logits(config):
    params, video = make(config)
    plain = run(ViViT(config), params, video)
    merged = run(ViViT(config, r=(3, 1, 0)), params, video, trace=True)
    sequences = config.grid[0] if config.attention == "factorized_encoder" else 1
    assert merged.tokens.shape == (2, sequences * (config.num_tokens - 4), config.dim)
    assert plain.tokens.shape == (2, sequences * config.num_tokens, config.dim)
    assert np.abs(merged.logits - plain.logits).max() > 1e-4
    holders = np.asarray(merged.trace.source)
    assert holders.shape == (2, sequences * config.num_tokens)
    assert holders.max() < merged.tokens.shape[1]


@pytest.mark.parametrize("name", ["spacetime cls", "factorized cls"])
def test_the_class_token_stays_first_and_alone(name):
    config = CONFIGS[name]
    params, video = make(config)
    merged = run(ViViT(config, r=(4, 2, 0)), params, video, trace=True)
    sequences = config.grid[0] if config.attention == "factorized_encoder" else 1
    holders = np.asarray(merged.trace.source).reshape(2, sequences, -1)
    sizes = np.asarray(merged.size).reshape(2, sequences, -1)
    first = np.arange(sequences) * sizes.shape[-1]
    np.testing.assert_array_equal(holders[:, :, 0], np.broadcast_to(first, (2, sequences)))
    assert not np.any(holders[:, :, 1:] == first[:, None]), "another token was absorbed by the class token"
    np.testing.assert_array_equal(sizes[:, :, 0], 1.0)


@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY)
def test_a_batch_gives_what_its_examples_give(config):
    params, video = make(config)
    model = ViViT(config, r=(3, 1, 0) if config.is_mergeable else ())
    together = run(model, params, video, trace=config.is_mergeable)  # as above, so that it is compiled already
    alone = [run(model, params, video[n : n + 1]) for n in range(2)]
    np.testing.assert_allclose(together.logits, np.concatenate([out.logits for out in alone]), atol=1e-5)


def test_frames_are_reduced_on_their_own():
    config = CONFIGS["factorized cls"]
    params, video = make(config)
    model = ViViT(config, r=(4, 0, 0))
    changed = video.at[:, 2:].set(0.0)
    before, after = (run(model, params, clip).tokens for clip in (video, changed))
    half = before.shape[1] // 2
    np.testing.assert_allclose(before[:, :half], after[:, :half], atol=1e-6)
    assert np.abs(before[:, half:] - after[:, half:]).max() > 0.1


@pytest.mark.parametrize("config", FACTORIZED.values(), ids=FACTORIZED)
def test_factorised_attention_reaches_over_time_and_space_but_not_across_both_at_once(config):
    one = ViViTConfig(**{**config.to_dict(), "depth": 1, "attention_order": "time_space"})
    params, video = make(one)
    changed = video.at[:, :2, :8, :8].add(1.0)  # the first patch of the first moment
    before, after = (run(ViViT(one), params, clip).tokens.reshape(2, 2, 9, -1) for clip in (video, changed))
    apart = np.abs(before - after).max((0, -1))
    assert apart[0].min() > 1e-4, "every place of the same moment sees it"
    assert apart[1, 0] > 1e-4, "the same place sees it later"
    if config.attention == "factorized_dot_product":
        np.testing.assert_allclose(apart[1, 1:], 0, atol=1e-6)


@pytest.mark.parametrize("form", ["dense", "blocked"])
@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY)
def test_every_attention_takes_the_form_that_is_asked_for(config, form, monkeypatch):
    forms = []
    attend = ops.attend

    def record(*args, **options):
        forms.append(options["form"])
        return attend(*args, **options)

    monkeypatch.setattr(ops, "attend", record)
    params, video = make(config)
    forms.clear()
    jax.eval_shape(lambda p, v: ViViT(config, form=form).apply({"params": p}, v), params, video)
    assert forms
    assert set(forms) == {form}


def test_a_form_that_there_is_not_is_refused_by_every_model(shapes_unchecked):
    for config in EVERY.values():
        params, video = make(config)
        with pytest.raises(ValueError, match="form is one of auto, by_head"):
            ViViT(config, form="denser").apply({"params": params}, video)


def test_clips_of_another_size_get_interpolated_positions():
    for config in EVERY.values():
        params, _ = make(config)
        video = jnp.ones((1, 8, 32, 32, 3))
        assert run(ViViT(config), params, video).logits.shape == (1, 5)


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(ValueError, match="temporal_depth = None is neither 0 nor a positive int"):
        ViViTConfig(**FIELDS, attention="factorized_encoder")
    with pytest.raises(ValueError, match="temporal_depth = 2 needs attention = 'factorized_encoder'"):
        ViViTConfig(**FIELDS, temporal_depth=2)
    with pytest.raises(ValueError, match="temporal_num_heads = 2 needs attention = 'factorized_encoder'"):
        ViViTConfig(**FIELDS, temporal_num_heads=2)
    with pytest.raises(ValueError, match="dim = 16 is not a multiple of temporal_num_heads = 3"):
        ViViTConfig(**FIELDS, attention="factorized_encoder", temporal_depth=1, temporal_num_heads=3)
    with pytest.raises(ValueError, match="pooling = 'best' is none of cls, first, mean, max, sum"):
        ViViTConfig(**FIELDS, pooling="best")
    with pytest.raises(ValueError, match="representation_dim = 0 is not a positive int"):
        ViViTConfig(**FIELDS, representation_dim=0)
    config = CONFIGS["spacetime cls"]
    params, video = make(config)
    with pytest.raises(ValueError, match="r has one number for each of 3 blocks; got 2"):
        run(ViViT(config, r=(1, 1)), params, video)
    with pytest.raises(ValueError, match=r"T a multiple of 2 and Y, X of 8; got shape \(2, 3, 24, 24, 3\)"):
        run(ViViT(config), params, video[:, :3])
    for config in FACTORIZED.values():
        with pytest.raises(ValueError, match=f"{config.attention} needs the whole grid in every block"):
            run(ViViT(config, r=(1, 0, 0)), *make(config))
        with pytest.raises(ValueError, match="pooling = 'cls' has no class token to take"):
            ViViTConfig(**FIELDS, attention=config.attention)
        with pytest.raises(ValueError, match="pooling = 'first' has no token that sees all others"):
            ViViTConfig(**FIELDS, attention=config.attention, pooling="first")
    with pytest.raises(ValueError, match="num_heads = 1 can't be halved"):
        ViViTConfig(**{**FIELDS, "num_heads": 1}, attention="factorized_dot_product", pooling="mean")


@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY)
def test_a_description_survives_json(config):
    assert ViViTConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown field 'dims'"):
        ViViTConfig.from_dict({**config.to_dict(), "dims": 3})
