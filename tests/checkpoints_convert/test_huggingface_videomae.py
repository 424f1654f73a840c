"""Hugging Face's own VideoMAE and its conversion give the same numbers, in every layout that it is saved in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints_convert import ConversionError, convert_checkpoint
from tests.reference.files import require_module
from tests.reference.hidden_states import collect_hidden_states
from tests.reference.huggingface import VIDEOMAE_SHAPES, make_videomae, save_videomae
from vidtldr_jax.inference.load import load_model

torch = require_module("torch")
transformers = require_module("transformers")
safetensors_torch = require_module("safetensors.torch")


def check_same_numbers(twin: transformers.VideoMAEForVideoClassification, checkpoint: Path) -> None:
    config = twin.config
    shape = (2, config.num_frames, config.image_size, config.image_size, 3)
    video = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with torch.no_grad():
        theirs = twin(torch.from_numpy(video.transpose(0, 1, 4, 2, 3)), output_hidden_states=True)
        tokens = twin.videomae(torch.from_numpy(video.transpose(0, 1, 4, 2, 3))).last_hidden_state
    ours = load_model(checkpoint).encode_video(video)
    hidden = collect_hidden_states(checkpoint, video)
    # float32 rounding of two layers.
    assert len(theirs.hidden_states) == len(hidden) + 1
    for layer, (mine, his) in enumerate(zip(hidden, theirs.hidden_states[1:])):
        np.testing.assert_allclose(mine, his.numpy(), atol=2e-5, rtol=1e-5, err_msg=f"layer {layer}")
    np.testing.assert_allclose(ours.tokens, tokens.numpy(), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(ours.logits, theirs.logits.numpy(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", ["today", "memory", "hub", "shards"])
def test_every_layout_gives_the_original_logits_and_tokens(tmp_path: Path, layout: str):
    twin = make_videomae(**VIDEOMAE_SHAPES["tubelets of 2"])
    folder = save_videomae(twin, tmp_path / "hub", layout)
    report = convert_checkpoint(folder, tmp_path / "model")
    assert report.family == "huggingface_videomae"
    check_same_numbers(twin, tmp_path / "model")


@pytest.mark.parametrize("fields", list(VIDEOMAE_SHAPES.values())[1:], ids=list(VIDEOMAE_SHAPES)[1:])
def test_other_configs_give_the_original_logits_and_tokens(tmp_path: Path, fields: dict[str, Any]):
    twin = make_videomae(**fields)
    convert_checkpoint(save_videomae(twin, tmp_path / "hub", "today"), tmp_path / "model")
    check_same_numbers(twin, tmp_path / "model")


@pytest.mark.parametrize("layout", ["today", "hub"])
def test_without_mean_pooling_the_first_patch_is_read_and_never_merged(tmp_path: Path, layout: str):
    twin = make_videomae(use_mean_pooling=False, num_frames=8)
    report = convert_checkpoint(save_videomae(twin, tmp_path / "hub", layout), tmp_path / "model")
    assert (report.config.pooling, report.config.final_norm, report.config.pool_norm) == ("first", True, False)
    check_same_numbers(twin, tmp_path / "model")
    video = np.random.default_rng(0).standard_normal((2, 8, 32, 32, 3), dtype=np.float32)
    merged = load_model(tmp_path / "model", schedule="20,10").encode_video(video, trace=True)
    assert merged.tokens.shape[1] == 64 - 30
    np.testing.assert_array_equal(merged.trace.source[:, 0], 0)
    np.testing.assert_array_equal(merged.size[:, 0], 1)
    np.testing.assert_array_equal(merged.pooled, merged.tokens[:, 0])


@pytest.mark.parametrize("use_mean_pooling", [True, False])
@pytest.mark.parametrize("name", ["VideoMAEModel", "VideoMAEForPreTraining"])
def test_models_without_a_classifier_give_their_tokens(tmp_path: Path, name: str, use_mean_pooling: bool):
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, decoder_num_hidden_layers=1, decoder_hidden_size=12, decoder_num_attention_heads=2,
        decoder_intermediate_size=24, use_mean_pooling=use_mean_pooling,
    )  # fmt: skip
    torch.manual_seed(2)
    whole = getattr(transformers, name)(config).eval()
    whole.save_pretrained(tmp_path / "hub")
    settings = {"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5"}
    report = convert_checkpoint(tmp_path / "hub", tmp_path / "model", settings=settings)
    assert report.config.num_classes is None
    assert report.config.pooling == "mean"
    assert all(key.startswith(("decoder", "encoder_to_decoder", "mask_token")) for key in report.left_out)
    video = np.random.default_rng(0).standard_normal((2, 4, 32, 32, 3), dtype=np.float32)
    encoder = whole if name == "VideoMAEModel" else whole.videomae
    with torch.no_grad():
        theirs = encoder(torch.from_numpy(video.transpose(0, 1, 4, 2, 3))).last_hidden_state
    np.testing.assert_allclose(load_model(tmp_path / "model").encode_video(video).tokens, theirs, atol=1e-5, rtol=1e-5)


def test_the_last_norm_has_an_epsilon_of_its_own(tmp_path: Path):
    twin = make_videomae(layer_norm_eps=0.1)
    report = convert_checkpoint(save_videomae(twin, tmp_path / "hub", "today"), tmp_path / "model")
    assert (report.config.norm_eps, report.config.pool_norm_eps) == (0.1, 1e-5)
    check_same_numbers(twin, tmp_path / "model")


def test_labels_and_preprocessing_come_from_the_files(tmp_path: Path):
    names = {number: f"motion {number}" for number in range(5)}
    twin = make_videomae(id2label=names)
    report = convert_checkpoint(save_videomae(twin, tmp_path / "hub", "today"), tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert model.labels == report.labels == list(names.values())
    recipe = model.preprocessing
    assert (recipe.resize, recipe.shortest_edge, recipe.image_size) == ("shortest_edge", 36, 32)
    assert (recipe.kernel, recipe.crop, recipe.sampling, recipe.stride) == ("bilinear_antialias", "center", "dense", 4)
    assert recipe.mean == pytest.approx((0.485, 0.456, 0.406))
    assert recipe.std == pytest.approx((0.229, 0.224, 0.225))


def test_placeholder_labels_are_no_labels(tmp_path: Path):
    report = convert_checkpoint(save_videomae(make_videomae(), tmp_path / "hub", "today"), tmp_path / "model")
    assert report.labels is None


def change_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_another_rescaling_is_folded_into_mean_and_std(tmp_path: Path):
    folder = save_videomae(make_videomae(), tmp_path / "hub", "today")
    change_json(folder / "preprocessor_config.json", rescale_factor=1 / 127.5, resample=3)
    recipe = convert_checkpoint(folder, tmp_path / "model").preprocessing
    pixel = 200 / 255
    assert (pixel - recipe.mean[0]) / recipe.std[0] == pytest.approx((200 / 127.5 - 0.485) / 0.229)
    assert recipe.kernel == "bicubic_antialias"


def test_a_folder_without_its_files_asks_for_what_they_would_tell(tmp_path: Path):
    folder = save_videomae(make_videomae(), tmp_path / "hub", "today")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ConversionError, match=r"mean \(give mean=0.485,0.456,0.406\); std"):
        convert_checkpoint(folder, tmp_path / "model")
    report = convert_checkpoint(folder, tmp_path / "model", settings={"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5"})
    assert report.preprocessing.mean == (0.5, 0.5, 0.5)
    (folder / "config.json").unlink()
    with pytest.raises(ConversionError, match=r"num_frames .*; image_size .*; num_heads .*; gelu .*; norm_eps"):
        convert_checkpoint(folder, tmp_path / "other")


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("config.json", {"hidden_act": "relu"}, "hidden_act = 'relu' is none of 'gelu'"),
        ("config.json", {"use_mean_pooling": 3}, "use_mean_pooling = 3 is none of True, False"),
        # Without mean pooling the last norm is another one, and there is none on the pooled token.
        ("config.json", {"use_mean_pooling": False}, "nothing fills encoder/norm/bias"),
        ("config.json", {"num_hidden_layers": 3}, "nothing fills encoder/block_2/attn/key/kernel"),
        ("config.json", {"hidden_size": 48}, r"classifier.weight \(5, 24\) gives head/kernel \(24, 5\), .* \(48, 5\)"),
        ("preprocessor_config.json", {"crop_size": 16}, "crop_size = .* is not the model's 32"),
        ("preprocessor_config.json", {"do_center_crop": False}, "frames would not be square"),
        ("preprocessor_config.json", {"resample": 0}, "resample = 0 is none of"),
    ],
)
def test_what_is_not_built_or_does_not_fit_is_named(tmp_path: Path, file: str, fields: dict[str, Any], message: str):
    folder = save_videomae(make_videomae(), tmp_path / "hub", "today")
    change_json(folder / file, **fields)
    with pytest.raises(ConversionError, match=message):
        convert_checkpoint(folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_odd_folders_give_one_line(tmp_path: Path):
    folder = save_videomae(make_videomae(), tmp_path / "hub", "shards")
    convert_checkpoint(folder, tmp_path / "model")
    with pytest.raises(ConversionError, match="is converted already"):
        convert_checkpoint(tmp_path / "model", tmp_path / "again")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ConversionError, match=r"missing: .'model-00002-of-00002.safetensors'"):
        convert_checkpoint(folder, tmp_path / "other")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../etc/passwd"}}')
    with pytest.raises(ConversionError, match=r"outside: .'../../etc/passwd'"):
        convert_checkpoint(folder, tmp_path / "other")
    (folder / "config.json").write_text("{")
    with pytest.raises(ConversionError, match="is not JSON"):
        convert_checkpoint(folder, tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConversionError, match="has nothing; name the file itself"):
        convert_checkpoint(tmp_path / "empty", tmp_path / "other")
