"""Module and variables are a pair under a user's own transformations, whether blocks are stacked or not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tests.models.test_stacking import CONFIGS, SIZES
from tests.models.test_umt import RETRIEVAL
from tests.reference.inputs import make_params
from vidtldr_jax import ops
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference import VideoModel, find_sample_clip, load_model, load_module
from vidtldr_jax.inference.load import SAMPLE_CLIPS
from vidtldr_jax.reduction.methods import METHODS

SCHEDULES = {"joint": "4,2", "clip": "2", "vivit spacetime cls": "4,2", "vivit factorized mean": "1"}
STACKED = (False, True)
# A sum in another order.
TOLERANCE = 1e-5
EVERY = [(name, scan_layers) for name in CONFIGS for scan_layers in STACKED]
FEW = [("joint", False), ("joint", True), ("clip", True), ("vivit factorized mean", True)]


@functools.cache
def make(name, scan_layers):
    """Returns a pair, a video and what the model itself makes of it."""
    config = CONFIGS[name]
    recipe = Preprocessing(num_frames=4, image_size=24)
    model = VideoModel(
        make_params(config), config, preprocessing=recipe, schedule=SCHEDULES.get(name), scan_layers=scan_layers
    )
    video = np.random.default_rng(1).standard_normal((4, 4, SIZES["image_size"], SIZES["image_size"], 3))
    video = jnp.asarray(video, jnp.float32)
    return model.module, model.variables, video, model.encode_video(video).pooled


@pytest.mark.parametrize(("name", "scan_layers"), EVERY)
def test_the_pair_is_the_model(name, scan_layers):
    module, variables, video, expected = make(name, scan_layers)
    np.testing.assert_allclose(jax.jit(module.apply)(variables, video).pooled, expected, atol=TOLERANCE)


@pytest.mark.parametrize("scan_layers", STACKED)
@pytest.mark.parametrize(("name", "method"), [*((name, "vidtldr") for name in SCHEDULES), ("joint", "rlt")])
def test_merging_takes_the_form_that_is_asked_for(name, scan_layers, method, monkeypatch):
    module, variables, video, _ = make(name, scan_layers)
    forms = []
    merge = ops.merge_tokens

    def record(*args, **options):
        forms.append(options["form"])
        return merge(*args, **options)

    monkeypatch.setattr(ops, "merge_tokens", record)
    asked = module.clone(merging="one_hot", method=METHODS[method])
    jax.eval_shape(asked.apply, variables, video)
    assert set(forms) == {"one_hot"}


@pytest.mark.parametrize("form", ["sorted", "one_hot"])
def test_a_model_sums_merged_tokens_in_every_form_alike(form):
    plain, asked = (load_model("moving-objects", schedule="100,40", merging=merging) for merging in ("auto", form))
    module, variables = load_module("moving-objects", schedule="100,40", merging=form)
    assert module.merging == asked.merging == asked.with_schedule("36").merging == form
    video = np.random.default_rng(0).standard_normal((2, 16, 48, 48, 3), np.float32)
    np.testing.assert_allclose(asked.classify(video), plain.classify(video), atol=TOLERANCE)
    np.testing.assert_allclose(jax.jit(module.apply)(variables, video).logits, asked.classify(video), atol=TOLERANCE)


def test_pairs_are_chosen_by_an_exact_top_k():
    model = load_model("moving-objects", schedule="100,40")
    shape = jax.ShapeDtypeStruct((1, 16, 48, 48, 3), jnp.float32)
    program = model.get_encode_function(shape.shape).lower(model.weights, shape).as_text()
    assert "top_k" in program
    assert "approx" not in program.lower()


@pytest.mark.parametrize(("name", "scan_layers"), FEW)
def test_the_pair_vmaps_and_scans_over_clips(name, scan_layers):
    module, variables, video, expected = make(name, scan_layers)

    def encode(clip):
        return module.apply(variables, clip[None]).pooled[0]

    np.testing.assert_allclose(jax.jit(jax.vmap(encode))(video), expected, atol=TOLERANCE)
    _, scanned = jax.jit(lambda clips: jax.lax.scan(lambda none, clip: (none, encode(clip)), None, clips))(video)
    np.testing.assert_allclose(scanned, expected, atol=TOLERANCE)


@pytest.mark.parametrize(("name", "scan_layers"), FEW)
def test_the_pair_has_gradients_in_every_variable_that_matters(name, scan_layers):
    module, variables, video, _ = make(name, scan_layers)
    found = jax.jit(jax.grad(lambda v: jnp.square(module.apply(v, video).pooled).sum()))(variables)
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    norms = [float(jnp.linalg.norm(leaf)) for leaf in jax.tree.leaves(found)]
    assert np.isfinite(norms).all()
    assert sum(norm > 0 for norm in norms) > len(norms) / 2


@pytest.mark.parametrize(("name", "scan_layers"), FEW)
def test_the_pair_runs_under_shard_map(name, scan_layers):
    module, variables, video, expected = make(name, scan_layers)
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("clips",))
    split = jax.shard_map(
        lambda v, clips: module.apply(v, clips).pooled, mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec("clips")),
        out_specs=PartitionSpec("clips"),
    )  # fmt: skip
    np.testing.assert_allclose(jax.jit(split)(variables, video), expected, atol=TOLERANCE)


@pytest.mark.parametrize("scan_layers", STACKED)
def test_a_model_with_texts_is_a_pair_too(scan_layers):
    recipe = Preprocessing(num_frames=RETRIEVAL.num_frames, image_size=RETRIEVAL.image_size)
    model = VideoModel(make_params(RETRIEVAL), RETRIEVAL, preprocessing=recipe, schedule="2", scan_layers=scan_layers)
    shape = (2, RETRIEVAL.num_frames, RETRIEVAL.image_size, RETRIEVAL.image_size, 3)
    video = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    found = jax.jit(model.module.apply)(model.variables, video)
    np.testing.assert_allclose(found.embedding, model.encode_video(video).embedding, atol=TOLERANCE)


@pytest.mark.parametrize("scan_layers", STACKED)
def test_a_checkpoint_is_loaded_as_a_pair(scan_layers):
    module, variables = load_module("moving-objects", schedule="100,40", scan_layers=scan_layers)
    model = load_model("moving-objects", schedule="100,40")
    video = np.random.default_rng(1).standard_normal((1, 16, 48, 48, 3)).astype(np.float32)
    out = jax.jit(module.apply)(variables, video)
    assert out.tokens.shape[1] == model.schedule.tokens[-1]
    np.testing.assert_allclose(out.logits, model.classify(video), atol=1e-4)
    assert ("blocks" in variables["params"]["encoder"]) == scan_layers


def test_variables_of_a_checkpoint_are_named_alike_where_models_are_stacked(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert load_model("moving-objects").is_stacked
    _, variables = load_module("moving-objects")
    assert "block_0" in variables["params"]["encoder"]


def test_the_dtype_is_that_of_the_computation_and_of_the_variables():
    module, variables = load_module("moving-objects", dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.bfloat16)}
    out = jax.eval_shape(module.apply, variables, jnp.zeros((1, 16, 48, 48, 3)))
    assert out.tokens.dtype == jnp.bfloat16


def test_sample_clips_are_named():
    assert sorted(path.stem for path in find_sample_clip().parent.glob("*.mp4")) == sorted(SAMPLE_CLIPS)
    assert find_sample_clip("left").is_file()
    with pytest.raises(ValueError, match=r"sample clips are coming_together, left, .*; got 'right'"):
        find_sample_clip("right")
