"""A model is frozen, and a pytree: an argument and a result of transformed functions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.inference.test_model import make_model, make_video
from vidtldr_jax.inference import RetrievalModel, load_model
from vidtldr_jax.inference.model import VideoModel

SCANNED = (False, True)


@pytest.mark.parametrize("scan_layers", SCANNED)
def test_a_model_is_an_argument_of_a_compiled_function(scan_layers):
    model, video = make_model("8,4", scan_layers=scan_layers), make_video()
    compiled = jax.jit(lambda model, video: model(video).logits)
    np.testing.assert_allclose(compiled(model, video), model.classify(video), atol=1e-6)


def test_models_with_other_weights_share_a_compilation_and_those_with_other_schedules_do_not():
    traced = []

    @jax.jit
    def encode(model, video):
        traced.append(model.schedule.text)
        return model(video).pooled

    model, video = make_model("8,4"), make_video()
    doubled = jax.tree.map(lambda leaf: 2 * leaf, model)
    one, other = encode(model, video), encode(doubled, video)
    assert traced == ["8,4"]
    assert not np.allclose(one, other)
    encode(model.with_schedule(None), video)
    assert traced == ["8,4", "none"]


def test_the_gradient_of_a_loss_over_a_model_is_a_model_of_gradients():
    model, video = make_model("8,4"), make_video()
    gradient = jax.grad(lambda model: jnp.square(model.classify(video)).sum())(model)
    assert isinstance(gradient, VideoModel)
    norms = [float(jnp.linalg.norm(leaf)) for leaf in jax.tree.leaves(gradient.weights)]
    assert np.isfinite(norms).all()
    assert sum(norm > 0 for norm in norms) > len(norms) / 2
    stepped = jax.tree.map(lambda value, slope: value - 1e-4 * slope, model, gradient)
    loss = [float(jnp.square(one.classify(video)).sum()) for one in (model, stepped)]
    assert loss[1] < loss[0]


def test_every_fact_of_a_model_survives_its_taking_apart():
    model = make_model("8,4", labels=list("abcde"), source={"files": [{"name": "a.pt"}]}, dtype=jnp.bfloat16)
    leaves, structure = jax.tree.flatten(model)
    again = jax.tree.unflatten(structure, leaves)
    for field in dataclasses.fields(VideoModel):
        assert getattr(again, field.name) == getattr(model, field.name) or field.name == "weights", field.name
    assert jax.tree.structure(again) == structure
    assert hash(jax.tree.structure(again)) == hash(structure)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(model)]
    assert ".weights['head']['bias']" in paths


@pytest.mark.parametrize(
    ("change", "value"), [("labels", list("vwxyz")), ("source", {"files": []}), ("attention", "blocked")]
)
def test_models_that_differ_in_a_fact_have_another_structure(change, value):
    assert jax.tree.structure(make_model()) != jax.tree.structure(make_model(**{change: value}))


def test_a_model_can_not_be_changed():
    model = make_model("8,4")
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.schedule = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.anything = 1


def test_the_classes_with_texts_are_pytrees_of_their_own():
    model = load_model("moving-objects-retrieval", schedule="100,40")
    again = jax.tree.map(lambda leaf: leaf, model)
    assert type(again) is RetrievalModel
    ids, mask, _ = model.tokenize(["a digit moves left"], max_tokens=16)
    encode = jax.jit(lambda model, ids, mask: model.encode_text(ids, mask).embedding)
    np.testing.assert_allclose(encode(again, ids, mask), model.encode_text(ids, mask).embedding, atol=1e-6)


def test_a_model_is_shown_by_architecture_size_dtype_and_schedule():
    assert repr(make_model("8,4", dtype=jnp.bfloat16)) == (
        "VideoModel(video_vit, 12,901 parameters, bfloat16, r = 8,4: 32 -> 20 tokens over 3 layers)"
    )
    assert repr(make_model(scan_layers=True)) == (
        "VideoModel(video_vit, 12,901 parameters, float32, no merging, 32 tokens in all 3 layers)"
    )
    assert "ShapeDtypeStruct" not in repr(jax.eval_shape(lambda: make_model()))
    repr(jax.tree.map(lambda _: None, make_model()))  # leaves of any kind, as transformations put in
