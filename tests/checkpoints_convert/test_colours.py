"""Models of other than three colours are refused at conversion, whatever the family, and when their folder is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import FAMILIES, ConversionError, convert_checkpoint, open_source
from vidtldr_jax.inference.checkpoint import CheckpointError, read_checkpoint
from vidtldr_jax.models.config import VideoViTConfig

Find = Callable[[str], Path]
# Family -> key of the first layer, its shape with one colour.
FIRST_LAYERS: dict[str, tuple[str, tuple[int, ...]]] = {
    "single_modality": ("patch_embed.proj.weight", (24, 1, 1, 8, 8)),
    "huggingface_videomae": ("videomae.embeddings.patch_embeddings.projection.weight", (24, 1, 2, 8, 8)),
    "huggingface_vivit": ("vivit.embeddings.patch_embeddings.projection.weight", (24, 1, 2, 8, 8)),
    "huggingface_clip": ("vision_model.embeddings.patch_embedding.weight", (24, 1, 8, 8)),
    "openai_clip": ("visual.conv1.weight", (24, 1, 8, 8)),
    "scenic_vivit": ("embedding/kernel", (2, 8, 8, 1, 24)),
    **dict.fromkeys(
        ("umt_retrieval", "umt_pretrained", "umt_qa"),
        ("vision_encoder.encoder.patch_embed.proj.weight", (24, 1, 1, 8, 8)),
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("count", [1, 4])
def test_every_family_refuses_other_colours_by_the_weights(tmp_path: Path, family: str, count: int):
    key, shape = FIRST_LAYERS[family]
    shape = tuple(count if side == 1 and axis in (1, len(shape) - 2) else side for axis, side in enumerate(shape))
    safetensors.numpy.save_file({key: np.zeros(shape, np.float32)}, tmp_path / "weights.safetensors")
    with pytest.raises(ConversionError, match=rf"3 colours.*; the weights of this one says num_channels = {count}; "):
        convert_checkpoint(tmp_path / "weights.safetensors", tmp_path / "model", family=family)
    assert not (tmp_path / "model").exists()


def test_a_config_that_says_so_is_refused(find_golden: Find, tmp_path: Path):
    folder = tmp_path / "hub"
    folder.mkdir()
    key, _ = FIRST_LAYERS["huggingface_videomae"]
    safetensors.numpy.save_file({key: np.zeros((24, 3, 2, 8, 8), np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_channels": 1}))
    with pytest.raises(ConversionError, match="the checkpoint's config of this one says num_channels = 1"):
        convert_checkpoint(folder, tmp_path / "model", family="huggingface_videomae")


def test_a_folder_that_says_so_is_refused_when_it_is_read(find_golden: Find, tmp_path: Path):
    settings: dict[str, Any] = {"heads": 4, "image_size": 32}
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=settings)
    fields = json.loads((tmp_path / "model/config.json").read_text())
    fields["architecture"]["num_channels"] = 1
    fields["digests"]["config.json"] = None
    (tmp_path / "model/config.json").write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match=r"num_channels is 3, for red, green and blue, .*; got 1"):
        read_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("count", [0, -3, True, 3.0, "3"])
def test_a_number_of_colours_is_a_count(count: Any):
    sizes = {"num_frames": 2, "image_size": 8, "patch_size": 8, "tubelet_size": 2, "dim": 8, "depth": 1}
    with pytest.raises(ValueError, match=r"num_channels = .* is not a positive int"):
        VideoViTConfig(**sizes, num_heads=2, mlp_dim=8, num_channels=count)


def test_what_is_read_again_has_the_colours_of_the_golden(find_golden: Find):
    tensors = open_source(find_golden("cls_umt.pth")).tensors
    assert tensors[FIRST_LAYERS["single_modality"][0]].shape[1] == 3
