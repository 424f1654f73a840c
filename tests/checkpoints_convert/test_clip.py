"""CLIP's vision towers give the original's numbers frame by frame, and those of its layers for all frames at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints_convert import ConversionError, convert_checkpoint
from checkpoints_convert.export import export_checkpoint
from checkpoints_convert.verify import verify_checkpoint
from tests.reference.files import require_module
from tests.reference.huggingface import CLIP_SHAPES, make_clip, randomise, rename_as_openai, save_clip
from vidtldr_jax.inference.load import load_model

torch = require_module("torch")
transformers = require_module("transformers")


def make_video(side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 3, side, side, 3), dtype=np.float32)


def run_per_frame(twin: Any, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frames = torch.from_numpy(np.ascontiguousarray(video.reshape(-1, *video.shape[2:]).transpose(0, 3, 1, 2)))
    with torch.no_grad():
        out = twin(pixel_values=frames)
    return out.last_hidden_state.numpy(), out.image_embeds.numpy()


def run_jointly(twin: Any, video: np.ndarray) -> np.ndarray:
    """All frames in one sequence, through the original's own layers."""
    tower = twin.vision_model
    with torch.no_grad():
        frames = torch.from_numpy(np.ascontiguousarray(video.transpose(0, 1, 4, 2, 3)))
        by_frame = [tower.embeddings(frames[:, n]) for n in range(frames.shape[1])]
        tokens = torch.cat([by_frame[0][:, :1], *(tokens[:, 1:] for tokens in by_frame)], dim=1)
        hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(tokens)).last_hidden_state
        return twin.visual_projection(tower.post_layernorm(hidden[:, 0])).numpy()


@pytest.mark.parametrize("fields", CLIP_SHAPES.values(), ids=CLIP_SHAPES)
def test_frame_by_frame_it_is_the_original_averaged(tmp_path: Path, fields: dict[str, Any]):
    twin = make_clip(**fields)
    source = save_clip(twin, tmp_path / "hub")
    report = convert_checkpoint(source, tmp_path / "model", settings={"frames": 3, "encoding": "per_frame"})
    assert report.family == "huggingface_clip"
    video = make_video(twin.config.image_size)
    out = load_model(tmp_path / "model").encode_video(video)
    tokens, embedding = run_per_frame(twin, video)
    # float32 rounding of two layers.
    np.testing.assert_allclose(out.tokens.reshape(tokens.shape), tokens, atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(out.embedding, embedding.reshape(2, 3, -1).mean(1), atol=2e-5, rtol=1e-5)
    check = verify_checkpoint(source, tmp_path / "model")
    assert check.passed
    assert [row.name for row in check.rows] == ["embeddings", "block_0", "block_1", "embedding"]


@pytest.mark.parametrize("fields", CLIP_SHAPES.values(), ids=CLIP_SHAPES)
def test_all_frames_at_once_go_through_the_original_layers(tmp_path: Path, fields: dict[str, Any]):
    twin = make_clip(**fields)
    source = save_clip(twin, tmp_path / "hub")
    convert_checkpoint(source, tmp_path / "model", settings={"frames": 3, "encoding": "joint"})
    video = make_video(twin.config.image_size)
    model = load_model(tmp_path / "model")
    np.testing.assert_allclose(model.encode_video(video).embedding, run_jointly(twin, video), atol=2e-5, rtol=1e-5)
    merged = model.with_schedule("5,3").encode_video(video, trace=True)
    assert merged.tokens.shape[1] == model.config.num_tokens - 8
    assert not np.any(np.asarray(merged.trace.source)[:, 1:] == 0), "another token was absorbed by the class token"
    with pytest.raises(ConversionError, match="takes single frames, and this model encodes them jointly"):
        verify_checkpoint(source, tmp_path / "model")


def test_openais_names_give_the_same_parameters(tmp_path: Path):
    twin = make_clip(num_attention_heads=4)
    state = rename_as_openai(twin.state_dict())
    state |= {
        "logit_scale": torch.ones(()),
        "token_embedding.weight": torch.ones(5, 4),
        "text_projection": torch.ones(4, 4),
    }
    state |= {"transformer.resblocks.0.ln_1.weight": torch.ones(4), "context_length": torch.tensor(77)}
    torch.save(state, tmp_path / "clip.pt")
    settings = {"frames": 3, "encoding": "per_frame", "heads": 4, "gelu": "quick"}
    report = convert_checkpoint(tmp_path / "clip.pt", tmp_path / "model", settings=settings)
    assert report.family == "openai_clip"
    assert len(report.left_out) == 5
    video = make_video()
    embedding = load_model(tmp_path / "model").encode_video(video).embedding
    np.testing.assert_allclose(embedding, run_per_frame(twin, video)[1].reshape(2, 3, -1).mean(1), atol=2e-5, rtol=1e-5)


def test_the_tower_of_a_whole_model_is_taken_and_goes_back_bit_for_bit(tmp_path: Path):
    vision = make_clip(num_attention_heads=4).config
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": 30, "bos_token_id": 1, "eos_token_id": 2}
    whole = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=vision.to_dict(), projection_dim=16)
    ).eval()
    randomise(whole)
    report = convert_checkpoint(
        save_clip(whole, tmp_path / "hub"), tmp_path / "model", settings={"frames": 3, "encoding": "per_frame"}
    )
    assert report.origins["num_heads"] == "the checkpoint's config"
    assert all(key.startswith("text_") or key == "logit_scale" for key in report.left_out)
    assert verify_checkpoint(tmp_path / "hub", tmp_path / "model").passed

    export_checkpoint(tmp_path / "model", tmp_path / "back.pth")
    tower = transformers.CLIPVisionModelWithProjection(vision)
    tower.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True), strict=True)
    for name, value in tower.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name


def test_what_an_image_model_can_not_tell_is_asked_for(tmp_path: Path):
    source = save_clip(make_clip(num_attention_heads=4), tmp_path / "hub")
    with pytest.raises(ConversionError, match=r"num_frames .*; encoding \(give encoding=per_frame or encoding=joint\)"):
        convert_checkpoint(source, tmp_path / "model")
    with pytest.raises(ConversionError, match="encoding = 'both' is none of joint, per_frame"):
        convert_checkpoint(source, tmp_path / "model", settings={"frames": 3, "encoding": "both"})
    (source / "preprocessor_config.json").unlink()
    wrong = {"frames": 3, "encoding": "joint", "image_size": 24, "mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5"}
    with pytest.raises(ConversionError, match="9 patches and a class token; the position table in the weights has 17"):
        convert_checkpoint(source, tmp_path / "model", settings=wrong)
