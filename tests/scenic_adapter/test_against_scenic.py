"""Against google-research/scenic itself, where it is on the path: same parameters, same first values, same logits."""

import dataclasses
import functools
import warnings

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from checkpoints_convert import convert_checkpoint
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.reduction import count_xla_gmacs, resolve_schedule
from vidtldr_jax.scenic_adapter.availability import find_scenic_fault
from vidtldr_jax.scenic_adapter.modules import MergingViViT
from vidtldr_jax.scenic_adapter.settings import read_architecture

FAULT = find_scenic_fault()
pytestmark = [
    pytest.mark.skipif(FAULT is not None, reason=f"nothing is compared with Scenic: {FAULT}"),
    pytest.mark.filterwarnings("ignore:SelfAttention will be deprecated:DeprecationWarning"),  # Scenic calls it
]

FORMS = (
    ("spacetime", ("token", "0", "gap", "gmp", "gsp")),
    ("factorized_encoder", ("token", "0", "gap", "gmp", "gsp")),
    ("factorized_self_attention_block", ("gap", "gmp", "gsp")),
    ("factorized_dot_product_attention", ("gap",)),
)
CASES = [(form, classifier) for form, classifiers in FORMS for classifier in classifiers]
META = {"num_classes": 7, "target_is_onehot": True}


@functools.cache
def get_models():
    """Returns our model classes, with Scenic's; what TensorFlow warns of at its import is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vidtldr_jax.scenic_adapter import models
    return models


def make_config(form="spacetime", classifier="token", *, width=32, **model):
    tower = {"num_heads": 4, "mlp_dim": 2 * width, "num_layers": 2}
    fields = {
        "hidden_size": width,
        "representation_size": None,
        "classifier": classifier,
        "attention_config": {"type": form, "attention_order": "space_time"},
        "patches": {"size": (8, 8, 2)},
        # Scenic's central_frame_initializer keeps a column of each patch instead of a frame; ours keeps the frame.
        "temporal_encoding_config": {"method": "3d_conv"},
        "dropout_rate": 0.0,
        "attention_dropout_rate": 0.0,
    }
    if form == "factorized_encoder":
        fields |= {"spatial_transformer": tower, "temporal_transformer": {**tower, "num_layers": 1, "num_heads": 2}}
    else:
        fields |= tower
    data = {"num_frames": 8, "crop_size": 32, "num_classes": 7}
    return ml_collections.ConfigDict({"model": fields | model, "dataset_configs": data})


def make_video(batch=2):
    return jax.random.normal(jax.random.key(1), (batch, 8, 32, 32, 3))


def flatten(params):
    return flax.traverse_util.flatten_dict(flax.core.unfreeze(params), sep="/")


def shake(params):
    """Adds noise everywhere: at 0 and 1 a swap does not show."""
    leaves, tree = jax.tree.flatten(flax.core.unfreeze(params))
    keys = jax.random.split(jax.random.key(2), len(leaves))
    return jax.tree.unflatten(tree, [x + 0.2 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys)])


@functools.cache
def make_scenic(form, classifier):
    """Returns Scenic's module, its first parameters, noisy ones and their logits."""
    module = get_models().get_model_cls("vivit_classification")(make_config(form, classifier), META).flax_model
    first = module.init(jax.random.key(0), make_video(), train=False)["params"]
    noisy = shake(first)
    logits = jax.jit(lambda p, x: module.apply({"params": p}, x, train=False))(noisy, make_video())
    return module, first, noisy, logits


@pytest.mark.parametrize(("form", "classifier"), CASES)
def test_our_vivit_with_scenic_s_weights_gives_scenic_s_logits(tmp_path, form, classifier):
    _, _, params, logits = make_scenic(form, classifier)
    config = read_architecture(make_config(form, classifier))
    (tmp_path / "checkpoint").write_bytes(flax.serialization.msgpack_serialize({"params": params}))
    settings = {name: getattr(config, name) for name in ("attention", "attention_order", "pooling")}
    convert_checkpoint(
        tmp_path / "checkpoint", tmp_path / "model", settings={**settings, "frames": 8, "image_size": 32}
    )
    model = load_model(tmp_path / "model")
    described = {name: getattr(model.config, name) for name in ("attention", "pooling", "depth", "temporal_depth")}
    assert described == {name: getattr(config, name) for name in described}
    # A sum over all tokens is larger than their mean by their number.
    np.testing.assert_allclose(model.classify(make_video()), logits, atol=1e-5 * (100 if classifier == "gsp" else 1))


@pytest.mark.parametrize(("form", "classifier"), [case for case in CASES if not case[0].startswith("factorized_") or
                                                  case[0] == "factorized_encoder"])  # fmt: skip
def test_the_merging_module_is_scenic_s_until_something_is_merged(form, classifier):
    _, first, noisy, logits = make_scenic(form, classifier)
    module = MergingViViT(read_architecture(make_config(form, classifier)))
    ours = module.init(jax.random.key(0), make_video(), train=False)["params"]
    assert {p: (x.shape, x.dtype) for p, x in flatten(ours).items()} == {
        p: (x.shape, x.dtype) for p, x in flatten(first).items()
    }
    for path, value in flatten(ours).items():
        np.testing.assert_array_equal(value, flatten(first)[path], err_msg=path)
    same = jax.jit(lambda p, x: module.apply({"params": p}, x, train=False))(noisy, make_video())
    np.testing.assert_allclose(same, logits, atol=1e-5 * (100 if classifier == "gsp" else 1))


def test_training_drops_what_scenic_drops():
    rates = {"dropout_rate": 0.3, "attention_dropout_rate": 0.2, "stochastic_droplayer_rate": 0.6}
    config = make_config(**rates)
    theirs = get_models().get_model_cls("vivit_classification")(config, META).flax_model
    ours = MergingViViT(read_architecture(config), **rates)
    params = make_scenic("spacetime", "token")[2]
    for seed in range(2):
        pair = [
            jax.jit(
                lambda p, m=m: m.apply({"params": p}, make_video(), train=True, rngs={"dropout": jax.random.key(7)})
            )
            for m in (theirs, ours)
        ]
        np.testing.assert_allclose(pair[1](params), pair[0](params), atol=1e-5, err_msg=str(seed))


@pytest.mark.parametrize("method", ["3d_conv", "temporal_sampling"])
@pytest.mark.parametrize("init", ["average_frame_initializer", "none"])
def test_every_way_to_embed_a_video_starts_as_scenic_s(method, init):
    encoding = {"method": method, "kernel_init_method": init, "n_sampled_frames": 3}
    size = (8, 8, 2) if method == "3d_conv" else (8, 8)
    merging = {"schedule": "4"}
    config = make_config(temporal_encoding_config=encoding, patches={"size": size}, token_merging=merging)
    models = get_models()
    ours = models.get_model_cls("vivit_classification_token_merging")(config, META).flax_model
    theirs = models.get_model_cls("vivit_classification")(config, META).flax_model
    made = [m.init(jax.random.key(0), make_video(), train=False)["params"] for m in (ours, theirs)]
    jax.tree.map(np.testing.assert_array_equal, *map(flax.core.unfreeze, made))
    plain = dataclasses.replace(ours, schedule=())
    pair = [m.apply({"params": shake(made[1])}, make_video(), train=False) for m in (plain, theirs)]
    np.testing.assert_allclose(*pair, atol=1e-5)


@pytest.mark.parametrize("kind", ["", "multilabel_", "multihead_"])
def test_model_classes_build_scenic_s_module_or_ours(kind):
    models = get_models()
    theirs, ours = (models.get_model_cls(f"vivit_{kind}classification{suffix}") for suffix in ("", "_token_merging"))
    assert issubclass(ours, theirs)
    assert ours.__name__ == f"{theirs.__name__}TokenMerging"
    plain = make_config()
    plain.dataset_configs.class_splits = (4, 3)
    none, some = (make_config(token_merging={"schedule": schedule, "pooling": "by_size"}) for schedule in ("none", "9"))
    for config in (none, some):
        config.dataset_configs.class_splits = (4, 3)
    for config in (plain, none):
        assert type(ours(config, META).flax_model) is type(theirs(config, META).flax_model)
        assert type(ours(config, META).flax_model).__module__ == "scenic.projects.vivit.model"
    model = ours(some, META)
    assert type(model.flax_model) is MergingViViT
    logits = model.flax_model.apply({"params": make_scenic("spacetime", "token")[2]}, make_video(), train=False)
    batch = {"label": jax.nn.one_hot(jnp.array([0, 5]), 7), "batch_mask": jnp.ones(2)}
    assert np.isfinite(model.loss_function(logits, batch))


def test_the_first_patch_as_class_token_and_both_kinds_of_pooling_differ():
    params = make_scenic("spacetime", "gap")[2]
    build = get_models().get_model_cls("vivit_classification_token_merging")
    logits = [
        build(make_config(classifier="gap", token_merging={"schedule": "20,8", "pooling": pooling}), META)
        .flax_model.apply({"params": params}, make_video(), train=False)
        for pooling in ("plain", "by_size")
    ]  # fmt: skip
    assert np.abs(logits[0] - logits[1]).max() > 1e-4


@pytest.mark.parametrize("form", ["factorized_self_attention_block", "factorized_dot_product_attention"])
def test_forms_that_need_the_whole_grid_refuse_a_schedule(form):
    build = get_models().get_model_cls("vivit_classification_token_merging")
    with pytest.raises(ValueError, match="this attention needs the whole grid in every block"):
        build(make_config(form, "gap", token_merging={"schedule": "9"}), META)
    assert build(make_config(form, "gap", token_merging={"schedule": "none"}), META).flax_model is not None


def test_an_unknown_model_is_answered_with_all_names():
    with pytest.raises(ValueError, match=r"vivit_classification, vivit_classification_token_merging, .*got 'vivid'"):
        get_models().get_model_cls("vivid")


def test_scenic_logs_the_published_gflops_and_fewer_with_merging():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scenic.common_lib import debug_utils
    models = get_models()

    def count(schedule):
        config = make_config(width=768, num_heads=12, num_layers=12, mlp_dim=3072, patches={"size": (16, 16, 2)})
        config.dataset_configs.update({"num_frames": 32, "crop_size": 224, "num_classes": 400})
        if schedule:
            config.model.token_merging = ml_collections.ConfigDict({"schedule": schedule})
        model = models.get_model_cls("vivit_classification_token_merging")(config, {**META, "num_classes": 400})
        video = jnp.zeros((1, 32, 224, 224, 3))
        shapes = jax.eval_shape(lambda: model.flax_model.init(jax.random.key(0), video, train=False))
        variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        apply = functools.partial(model.flax_model.apply, variables, train=False, debug=False, rngs={})
        spec = [((-1, 32, 224, 224, 3), jnp.float32)]
        flops = debug_utils.compute_flops(apply, spec, fuse_multiply_add=True)
        architecture = read_architecture(config)
        sizes = {"num_tokens": 3137, "num_layers": 12, "num_protected": 1}
        return flops / 1e9, count_xla_gmacs(architecture, resolve_schedule(schedule, **sizes))

    plain, expected = count(None)
    assert round(plain, 1) == round(expected, 1) == 455.2
    merged, expected = count("800,270,135")
    # The trainers also count both softmaxes of a block that merges, and its scaled logits.
    assert merged == pytest.approx(expected, rel=0.01)
    assert merged < 0.62 * plain
