"""What is recorded of a clip is what the models did: on every kind of model that merges."""

import dataclasses

import numpy as np
import pytest

from tests.data.making import write_video
from tests.reference.inputs import make_params
from tests.visualize.histories import GRID, MODELS, draw_by_hand, make_frames, make_model, record
from vidtldr_jax.data.clip import read_clip
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.visualize import LayerMap, make_history, record_history


@pytest.mark.parametrize("name", MODELS)
def test_groups_weights_and_answers_are_those_of_the_models(name):
    model, history = make_model(name), record(name)
    recipe = model.preprocessing
    batch = ((make_frames() / 255 - recipe.mean) / recipe.std).astype(np.float32)[None]
    merged, plain = model.encode_video(batch, trace=True), model.with_schedule(None).encode_video(batch)
    sizes = np.bincount(history.group[history.group >= 0], history.weight[history.group >= 0], merged.size.shape[1])
    is_patch = sizes > 0
    np.testing.assert_allclose(sizes[is_patch], np.asarray(merged.size)[0][is_patch], rtol=1e-5)
    num_cls = model.config.num_cls_tokens * history.num_sequences
    assert is_patch.sum() == merged.size.shape[1] - num_cls
    assert [layer.layer for layer in history.layers] == [0, 1, 2]
    one, other = (np.asarray(out.pooled, float)[0] for out in (plain, merged))
    assert history.cosine == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-6)
    if model.config.num_classes:
        best = np.asarray(merged.logits)[0].argmax()
        assert history.merged.predictions[0]["index"] == best
    else:
        assert history.merged.predictions is None
    assert history.plain.tokens[-1] == history.plain.tokens[0]
    assert history.merged.tokens == tuple(model.schedule.tokens)


@pytest.mark.parametrize("name", ["factorised encoder", "clip, per frame"])
def test_groups_of_a_model_that_encodes_frames_apart_stay_within_a_step(name):
    group = record(name).group
    for token in np.unique(group[group >= 0]):
        assert len(np.unique(np.argwhere(group == token)[:, 0])) == 1
    assert record(name).num_sequences == group.shape[0]


def test_layers_that_merge_nothing_are_recorded_when_every_layer_is_asked_for():
    history = record("video_vit")
    middle = history.layers[1]
    np.testing.assert_array_equal(middle.group, history.layers[0].group)
    assert np.nanmin(middle.saliency) == 0
    assert np.nanmax(middle.saliency) == pytest.approx(1)


def test_layers_that_are_shown_are_those_that_reduce_first_and_last_among_them():
    history = record("video_vit")
    assert [layer.layer for layer in history.pick_layers(3)] == [0, 2]
    assert [layer.layer for layer in history.pick_layers(1)] == [0]
    assert [layer.layer for layer in record("video_vit", "3,2,1").pick_layers(2)] == [0, 2]
    assert [layer.layer for layer in record("video_vit", "none").pick_layers(3)] == [0]


def test_a_model_that_merges_nothing_holds_every_patch_on_its_own():
    history = record("video_vit", "none")
    assert np.unique(history.group).size == 18
    assert (history.weight == 1).all()
    assert history.cosine == pytest.approx(1)


def test_a_model_that_needs_its_whole_grid_has_no_layers_to_show():
    fields = dataclasses.asdict(MODELS["vivit"][0]) | {"attention": "factorized_self_attention", "pooling": "mean"}
    config = ViViTConfig(**fields)
    model = VideoModel(make_params(config, 0), config, preprocessing=make_model("vivit").preprocessing)
    history = make_history(model, make_frames())
    assert history.layers == ()
    np.testing.assert_array_equal(history.group, np.arange(18).reshape(GRID))
    assert history.merged.predictions[0]["label"].startswith("class ")


def test_a_video_file_is_read_as_the_model_sees_it_and_drawn_in_more_pixels(tmp_path):
    path = write_video(tmp_path / "a clip.mp4", num_frames=12)
    model = make_model("video_vit")
    history = record_history(model, path, picture_size=100)
    assert history.frames.shape == (4, 120, 120, 3)
    assert history.title == "a clip.mp4"
    assert history.notices == ()
    logits = np.asarray(model.classify(read_clip(path, model.preprocessing)[None]))[0]
    assert history.merged.predictions[0]["index"] == logits.argmax()
    small = history.frames.reshape(4, 24, 5, 24, 5, 3).mean((2, 4))
    seen = read_clip(path, model.preprocessing) * model.preprocessing.std + model.preprocessing.mean
    assert np.abs(small / 255 - seen).mean() < 0.1


def test_frames_that_are_not_pixels_are_refused():
    with pytest.raises(ValueError, match="frames are pixels of 0 to 255 as uint8; got dtype float32; "):
        make_history(make_model("video_vit"), make_frames().astype(np.float32))


def test_a_video_that_is_too_short_is_told(tmp_path):
    history = record_history(make_model("video_vit"), write_video(tmp_path / "a.mp4", num_frames=2))
    assert len(history.notices) == 1
    assert "the model looks at 4" in history.notices[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"frames": np.zeros((4, 8, 8, 3), np.float32)},
            r"frames are \[T, Y, X, 3\] uint8; got float32 of",
        ),
        (
            {"frames": np.zeros((3, 8, 8, 3), np.uint8)},
            r"its first number divides 3 frames; got shapes \[\(2, 3, 3\)\]",
        ),
        (
            {"layers": (LayerMap(0, np.ones((2, 2, 2)), np.ones(GRID, int), np.ones(GRID)),)},
            r"the grid's shape, \(2, 3",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        draw_by_hand(**changes)
