"""UMT's and VideoMAE's classifiers give the original's numbers when converted; a faulty one gives all its faults."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints_convert import FAMILIES, ConversionError, convert_checkpoint
from checkpoints_convert.facts import find_facts
from tests.reference.files import load_golden, require_torch
from vidtldr_jax.inference.load import load_model

torch = require_torch()

Find = Callable[[str], Path]
SETTINGS = {"heads": 4, "image_size": 32}
NAMES = ("umt", "videomae")


def read_state(find_golden: Find, name: str = "umt") -> dict[str, torch.Tensor]:
    return torch.load(find_golden(f"cls_{name}.pth"), weights_only=True)["module"]


def save(tmp_path: Path, state: dict[str, Any]) -> Path:
    torch.save({"module": state}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def convert_faulty(tmp_path: Path, state: dict[str, Any], settings: dict[str, Any] | None = None) -> ConversionError:
    """Converts what has faults and checks that nothing was written."""
    source = save(tmp_path, state)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(source, tmp_path / "model", settings=SETTINGS if settings is None else settings)
    assert sorted(tmp_path.iterdir()) == before
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_golden_classifiers_give_the_original_logits_plain_and_merged(find_golden: Find, tmp_path: Path, name: str):
    golden = load_golden(f"cls_{name}.npz")
    convert_checkpoint(find_golden(f"cls_{name}.pth"), tmp_path / "model", settings=SETTINGS)
    model = load_model(tmp_path / "model")
    video = golden["video"].transpose(0, 1, 3, 4, 2)  # [B, T, Y, X, C]
    merging = model.with_schedule([int(r) for r in golden["r"]])
    merged = merging.encode_video(video, trace=True)

    # float32 rounding of three layers of width 24; the goldens' own is 5e-7.
    np.testing.assert_allclose(model.classify(video), golden["logits_plain"], atol=2e-5, rtol=0)
    np.testing.assert_allclose(merged.logits, golden["logits_merged"], atol=2e-5, rtol=0)
    np.testing.assert_allclose(merged.size, golden["size"], atol=2e-5, rtol=0)
    holder = np.where((golden["source"] > 0).any(1), (golden["source"] > 0).argmax(1), -1)
    np.testing.assert_array_equal(merged.trace.source, holder)


@pytest.mark.parametrize("name", NAMES)
def test_what_weights_cannot_tell_is_asked_for_by_name(find_golden: Find, tmp_path: Path, name: str):
    with pytest.raises(ConversionError, match=r"num_heads \(give heads=12\)") as caught:
        convert_checkpoint(find_golden(f"cls_{name}.pth"), tmp_path / "model")
    assert "image_size (give image_size=224)" in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_the_record_names_source_digest_settings_and_preprocessing(find_golden: Find, tmp_path: Path):
    source = find_golden("cls_umt.pth")
    labels = [f"motion {n}" for n in range(10)]
    report = convert_checkpoint(
        source, tmp_path / "model", settings={**SETTINGS, "labels": labels, "mean": "0.5,0.5,0.5"}
    )
    written = json.loads((tmp_path / "model" / "config.json").read_text())
    assert written["source"]["name"] == "cls_umt.pth"
    assert written["source"]["sha256"] == {"cls_umt.pth": hashlib.sha256(source.read_bytes()).hexdigest()}
    assert written["source"]["converter_version"] == 3
    assert written["source"]["family"] == report.family == "single_modality"
    assert written["labels"] == labels
    assert written["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    assert written["preprocessing"]["sampling"] == "middle"
    assert written["preprocessing"]["kernel"] == "bicubic"
    assert report.origins["num_heads"] == "settings"
    assert report.origins["num_frames"] == "the position table"
    assert report.config.num_frames == 4


def test_frames_and_image_size_follow_from_each_other_by_the_position_table(find_golden: Find, tmp_path: Path):
    source = find_golden("cls_videomae.pth")
    by_frames = convert_checkpoint(source, tmp_path / "a", settings={"heads": "4", "frames": "8"})
    by_size = convert_checkpoint(source, tmp_path / "b", settings=SETTINGS)
    assert by_frames.config == by_size.config
    assert (by_frames.config.num_frames, by_frames.config.image_size) == (8, 32)
    with pytest.raises(ConversionError, match=r"16 frames of 32 x 32 are 128 tokens; the position table .* has 64"):
        convert_checkpoint(source, tmp_path / "c", settings={"heads": 4, "frames": 16, "image_size": 32})


@pytest.mark.parametrize("prefix", ["backbone.", "encoder."])
def test_prefixes_of_wrapped_encoders_and_decoder_weights_are_known(find_golden: Find, tmp_path: Path, prefix: str):
    state = read_state(find_golden)
    wrapped = {prefix + key: value for key, value in state.items()} | {"mask_token": torch.zeros(1, 1, 8)}
    plain = convert_checkpoint(save(tmp_path, state), tmp_path / "a", settings=SETTINGS)
    report = convert_checkpoint(save(tmp_path, wrapped), tmp_path / "b", settings=SETTINGS)
    assert report.left_out == ("mask_token",)
    assert report.num_parameters == plain.num_parameters
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


def test_a_fixed_position_table_is_made_when_the_file_has_none(find_golden: Find, tmp_path: Path):
    state = {key: value for key, value in read_state(find_golden).items() if key != "pos_embed"}
    report = convert_checkpoint(save(tmp_path, state), tmp_path / "model", settings={**SETTINGS, "frames": 4})
    assert report.config.positions == "sincos"
    assert report.config.position_grid == (4, 4, 4)


def test_a_published_shape_needs_no_settings():
    shapes = {"patch_embed.proj.weight": (768, 3, 1, 16, 16), "patch_embed.proj.bias": (768,)}
    for layer in range(12):
        shapes |= {f"blocks.{layer}.norm1.weight": (768,), f"blocks.{layer}.mlp.fc1.bias": (3072,)}
    family = FAMILIES["single_modality"]
    facts = find_facts(family, shapes, config=None, settings={})
    assert {name: facts[name].value for name in ("num_heads", "num_frames", "image_size")} == {
        "num_heads": 12,
        "num_frames": 8,
        "image_size": 224,
    }
    longer = find_facts(family, {**shapes, "pos_embed": (1, 9216, 768)}, config=None, settings={})
    assert (longer["num_frames"].value, longer["image_size"].value) == (16, 384)
    told = find_facts(family, shapes, config={"num_frames": 4, "input_size": 112}, settings={"image_size": 96})
    assert (told["num_frames"].value, told["image_size"].value) == (4, 96)


def test_a_renamed_key_is_named_with_its_nearest(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    state["blocks.1.mlp.fc3.weight"] = state.pop("blocks.1.mlp.fc1.weight")
    error = convert_faulty(tmp_path, state)
    assert len(error.faults) == 2
    assert "unknown key blocks.1.mlp.fc3.weight (nearest: blocks.1.mlp.fc1.weight)" in error.faults[0]
    assert "nothing fills encoder/block_1/mlp/fc1/kernel; it comes from blocks.1.mlp.fc1.weight" in error.faults[1]


def test_a_dropped_key_is_named(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    del state["blocks.2.attn.q_bias"], state["fc_norm.bias"], state["head.weight"]
    faults = convert_faulty(tmp_path, state).faults
    assert len(faults) == 3
    assert all(
        any(name in fault for fault in faults) for name in ("blocks.2.attn.q_bias", "fc_norm.bias", "head.weight")
    )


def test_a_transposed_key_is_named_with_both_shapes(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    state["blocks.0.mlp.fc2.weight"] = state["blocks.0.mlp.fc2.weight"].T.contiguous()
    state["blocks.1.attn.qkv.weight"] = state["blocks.1.attn.qkv.weight"].T.contiguous()
    faults = convert_faulty(tmp_path, state).faults
    assert "blocks.0.mlp.fc2.weight (96, 24) gives encoder/block_0/mlp/fc2/kernel (24, 96)" in faults[0]
    assert "should be (96, 24)" in faults[0]
    assert any("blocks.1.attn.qkv.weight (24, 72)" in fault for fault in faults)


def test_a_parameter_that_two_keys_fill_is_named(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    state["backbone.head.bias"] = state["head.bias"].clone()
    assert convert_faulty(tmp_path, state).faults == ("head/bias is filled by head.bias and backbone.head.bias",)


def test_whole_numbers_where_parameters_belong_are_named(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    state["head.weight"] = torch.ones(10, 24, dtype=torch.int8)
    assert "head.weight has dtype int8" in convert_faulty(tmp_path, state).faults[0]


def test_odd_settings_are_named(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    assert "'head' (nearest: heads)" in str(convert_faulty(tmp_path, state, {**SETTINGS, "head": 4}))
    assert "num_heads from settings" in str(convert_faulty(tmp_path, state, {**SETTINGS, "heads": "four"}))
    assert "dim = 24 is not a multiple of num_heads = 5" in str(
        convert_faulty(tmp_path, state, {**SETTINGS, "heads": 5})
    )
    assert "one label for each of 10 classes" in str(convert_faulty(tmp_path, state, {**SETTINGS, "labels": ["a"]}))


def test_a_stray_layer_number_is_refused_before_a_model_of_that_depth_is_made(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    state["blocks.9000.norm1.weight"] = torch.ones(24)
    assert "depth from the weights is 9001, and there are only" in str(convert_faulty(tmp_path, state))


def test_a_foreign_checkpoint_is_not_guessed_at(tmp_path: Path):
    error = convert_faulty(tmp_path, {"conv1.weight": torch.ones(3), "layer1.0.bn1.bias": torch.ones(3)})
    assert "its keys are like conv1.weight, layer1.0.bn1.bias" in str(error)
    with pytest.raises(ConversionError, match=f"families are {', '.join(FAMILIES)}; got 'vit'"):
        convert_checkpoint(tmp_path / "weights.pth", tmp_path / "model", family="vit")


def test_a_taken_destination_is_left_alone(find_golden: Find, tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"is no checkpoint folder of this .*; nothing was written"):
        convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["thesis.txt"]


def test_conversion_works_where_torch_is_not_installed(find_golden: Find, tmp_path: Path):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from checkpoints_convert import convert_checkpoint\n"
        "convert_checkpoint(sys.argv[1], sys.argv[2], settings={'heads': 4, 'image_size': 32})\n"
    )
    arguments = [str(find_golden("cls_umt.pth")), str(tmp_path / "model")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, cwd=Path(__file__).parents[2], timeout=120)
    assert (tmp_path / "model" / "model.safetensors").is_file()
