"""There and back changes no bit, and the original class loads strictly what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import ConversionError, convert_checkpoint
from checkpoints_convert.export import export_checkpoint
from tests.reference.files import require_module, require_torch
from vidtldr_jax.inference.checkpoint import read_checkpoint

torch = require_torch()
transformers = require_module("transformers")

Find = Callable[[str], Path]
SETTINGS = {"heads": 4, "image_size": 32}
TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "num_labels": 5,
}


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Gives every parameter a random value: at 0 and 1 a swap does not show."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("name", ["umt", "videomae"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_classifier_comes_back_bit_for_bit(find_golden: Find, tmp_path: Path, name: str, suffix: str):
    source = find_golden(f"cls_{name}.pth")
    convert_checkpoint(source, tmp_path / "model", settings=SETTINGS)
    report = export_checkpoint(tmp_path / "model", tmp_path / f"back{suffix}")
    before = torch.load(source, weights_only=True)["module"]
    if suffix == ".pth":
        back = torch.load(tmp_path / "back.pth", weights_only=True)
    else:
        loaded = safetensors.numpy.load_file(tmp_path / "back.safetensors")
        back = {key: torch.from_numpy(values) for key, values in loaded.items()}
    assert set(back) == set(before) == set(report.keys)
    assert all(torch.equal(back[key], before[key]) and back[key].dtype == before[key].dtype for key in before)


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_hugging_face_videomae_loads_strictly_what_comes_back(tmp_path: Path, qkv_bias: bool):
    config = transformers.VideoMAEConfig(**TINY, qkv_bias=qkv_bias)
    original = randomise(transformers.VideoMAEForVideoClassification(config))
    original.save_pretrained(tmp_path / "source")
    convert_checkpoint(tmp_path / "source", tmp_path / "model", settings=PREPROCESSING)
    export_checkpoint(tmp_path / "model", tmp_path / "back.pth")
    twin = transformers.VideoMAEForVideoClassification(config)
    twin.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(original.state_dict().values(), twin.state_dict().values()))


def test_hugging_face_videomae_without_classifier_loads_strictly_what_comes_back(tmp_path: Path):
    config = transformers.VideoMAEConfig(**TINY)
    original = randomise(transformers.VideoMAEModel(config))
    original.save_pretrained(tmp_path / "source")
    convert_checkpoint(tmp_path / "source", tmp_path / "model", settings=PREPROCESSING)
    export_checkpoint(tmp_path / "model", tmp_path / "back.pth")
    twin = transformers.VideoMAEModel(config)
    twin.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(original.state_dict().values(), twin.state_dict().values()))


PREPROCESSING = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}


def test_half_precision_comes_back_as_it_was_stored(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS, dtype="bfloat16")
    export_checkpoint(tmp_path / "model", tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    before = torch.load(find_golden("cls_umt.pth"), weights_only=True)["module"]
    assert all(torch.equal(back[key], before[key].to(torch.bfloat16)) for key in before)


def test_a_parameter_without_a_way_back_is_named(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    with pytest.raises(ConversionError, match="every parameter goes back to a key of Hugging Face VideoMAE: pos_embed"):
        export_checkpoint(tmp_path / "model", tmp_path / "back.pth", family="huggingface_videomae")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_place_that_is_no_file_of_weights_is_refused(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    with pytest.raises(ConversionError, match=r"a file that ends in .pth, .pt, .bin, .safetensors; 'back' came"):
        export_checkpoint(tmp_path / "model", tmp_path / "back")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(ConversionError, match="is a folder"):
        export_checkpoint(tmp_path / "model", tmp_path / "folder.pth")


def test_a_checkpoint_of_nobodys_family_asks_for_one(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    description = json.loads((tmp_path / "model" / "config.json").read_text())
    description["source"] = {}
    (tmp_path / "model" / "config.json").write_text(json.dumps(description))
    with pytest.raises(ConversionError, match="this checkpoint says None; give one of these"):
        export_checkpoint(tmp_path / "model", tmp_path / "back.pth")
    export_checkpoint(tmp_path / "model", tmp_path / "back.pth", family="single_modality")
    assert np.all([path in read_checkpoint(tmp_path / "model").params for path in ("head/kernel", "pos_embed")])
