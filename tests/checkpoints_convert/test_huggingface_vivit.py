"""Hugging Face's own ViViT and its conversion give the same numbers, under today's names and the hub's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints_convert import ConversionError, convert_checkpoint
from checkpoints_convert.export import export_checkpoint
from tests.reference.files import require_module
from tests.reference.hidden_states import collect_hidden_states
from tests.reference.huggingface import VIVIT_SHAPES, make_vivit, rename_for_hub, save_vivit
from vidtldr_jax.inference.load import load_model

torch = require_module("torch")
transformers = require_module("transformers")
safetensors_torch = require_module("safetensors.torch")


def check_same_numbers(twin: Any, checkpoint: Path) -> None:
    config = twin.config
    shape = (2, config.num_frames, config.image_size, config.image_size, 3)
    video = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with torch.no_grad():
        theirs = twin(torch.from_numpy(video.transpose(0, 1, 4, 2, 3)), output_hidden_states=True)
    ours = load_model(checkpoint).encode_video(video)
    hidden = collect_hidden_states(checkpoint, video)
    # float32 rounding of two layers.
    assert len(theirs.hidden_states) == len(hidden) + 1
    for layer, (mine, his) in enumerate(zip(hidden, theirs.hidden_states[1:])):
        np.testing.assert_allclose(mine, his.numpy(), atol=2e-5, rtol=1e-5, err_msg=f"layer {layer}")
    np.testing.assert_allclose(ours.logits, theirs.logits.numpy(), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", ["today", "memory", "hub"])
@pytest.mark.parametrize("fields", VIVIT_SHAPES.values(), ids=VIVIT_SHAPES)
def test_every_layout_gives_the_original_logits_and_hidden_states(tmp_path: Path, layout: str, fields: dict[str, Any]):
    twin = make_vivit(**fields)
    report = convert_checkpoint(save_vivit(twin, tmp_path / "hub", layout), tmp_path / "model")
    assert report.family == "huggingface_vivit"
    check_same_numbers(twin, tmp_path / "model")


def test_what_comes_back_is_loaded_strictly_bit_for_bit(tmp_path: Path):
    twin = make_vivit()
    convert_checkpoint(save_vivit(twin, tmp_path / "hub", "hub"), tmp_path / "model")
    export_checkpoint(tmp_path / "model", tmp_path / "back.pth")
    other = transformers.VivitForVideoClassification(twin.config)
    other.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(twin.state_dict().values(), other.state_dict().values()))


def test_a_model_with_a_pooler_keeps_its_encoder_and_names_what_is_left_out(tmp_path: Path):
    twin = make_vivit()
    whole = transformers.VivitModel(twin.config)
    whole.save_pretrained(tmp_path / "hub")
    report = convert_checkpoint(
        tmp_path / "hub", tmp_path / "model", settings={"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5"}
    )
    assert report.left_out == ("pooler.dense.bias", "pooler.dense.weight")
    assert report.config.num_classes is None


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({}, 0.5, 0.5),  # p / 127.5 - 1
        ({"offset": False, "rescale_factor": 1 / 255, "do_normalize": True}, 0.5, 0.5),  # (p / 255 - 0.5) / 0.5
        ({"do_normalize": True}, 0.75, 0.25),  # (p / 127.5 - 1 - 0.5) / 0.5: the class's defaults, twice
        ({"offset": False, "rescale_factor": 1 / 255}, 0.0, 1.0),
    ],
)
def test_the_processors_file_is_followed_even_where_it_rescales_twice(tmp_path: Path, changes, mean, std):
    folder = save_vivit(make_vivit(), tmp_path / "hub", "today")
    written = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**written, **changes}))
    recipe = convert_checkpoint(folder, tmp_path / "model").preprocessing
    np.testing.assert_allclose(recipe.mean, [mean] * 3, atol=1e-12)
    np.testing.assert_allclose(recipe.std, [std] * 3, atol=1e-12)
    assert (recipe.sampling, recipe.stride, recipe.shortest_edge) == ("dense", 2, 36)


@pytest.mark.parametrize("fault", ["rename", "drop", "transpose"])
def test_a_faulty_key_is_named(tmp_path: Path, fault: str):
    state = rename_for_hub(make_vivit().state_dict())
    key = "vivit.encoder.layer.1.intermediate.dense.weight"
    if fault == "rename":
        state["vivit.encoder.layer.1.intermediat.dense.weight"] = state.pop(key)
    elif fault == "drop":
        del state[key]
    else:
        state[key] = state[key].T.contiguous()
    folder = save_vivit(make_vivit(), tmp_path / "hub", "hub")
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ConversionError, match=r"encoder\.layer\.1\.intermediate\.dense\.weight"):
        convert_checkpoint(folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()
