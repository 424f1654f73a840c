"""There and back changes no bit, and the original class loads strictly what comes back."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import ConversionError, convert_checkpoint
from checkpoints_convert.export import export_checkpoint
from checkpoints_convert.sources import open_source
from tests.reference.files import require_module, require_torch
from tests.reference.signing import sign_again
from vidtldr_jax.inference.checkpoint import CheckpointError, read_checkpoint

torch = require_torch()
transformers = require_module("transformers")

Find = Callable[[str], Path]
SETTINGS = {"heads": 4, "image_size": 32}
CLIP_SIZE = {"frames": 4, "image_size": 32}
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


_DROPPED = ("clip_teacher.", "vision_encoder.clip_decoder.", "text_encoder.cls.")


@pytest.mark.parametrize("name", ["umt_retrieval", "umt_qa"])
def test_umt_comes_back_bit_for_bit_with_every_key_of_its_class(find_golden: Find, tmp_path: Path, name: str):
    convert_checkpoint(find_golden(f"{name}.pth"), tmp_path / "model", settings={"text_heads": 4})
    report = export_checkpoint(tmp_path / "model", tmp_path / "back.pth")
    tensors = open_source(find_golden(f"{name}.pth")).tensors
    before = {key: np.asarray(tensor.read()) for key, tensor in tensors.items() if not key.startswith(_DROPPED)}
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert set(back) == set(before)
    assert all(np.array_equal(back[key].numpy(), values) for key, values in before.items())
    assert all(str(back[key].dtype).endswith(values.dtype.name) for key, values in before.items())
    assert ("text_decoder.cls.predictions.bias" in back) == (name == "umt_qa")
    assert report.loads_into in ("UMT", "UMT_QA")
    convert_checkpoint(tmp_path / "back.pth", tmp_path / "again", settings={"heads": 4, "text_heads": 4, **CLIP_SIZE})
    first, second = (read_checkpoint(tmp_path / folder).params for folder in ("model", "again"))
    assert all(np.array_equal(first[path], second[path]) for path in first)


def test_a_copy_that_is_none_is_refused_on_the_way_in(find_golden: Find, tmp_path: Path):
    state = {
        key: torch.tensor(np.asarray(t.read())) for key, t in open_source(find_golden("umt_qa.pth")).tensors.items()
    }
    state["text_decoder.cls.predictions.bias"][3] += 1
    torch.save(state, tmp_path / "weights.pth")
    settings = {"heads": 4, "text_heads": 4, **CLIP_SIZE}
    with pytest.raises(ConversionError, match=r"predictions\.bias is not text_decoder\..*\.decoder\.bias"):
        convert_checkpoint(tmp_path / "weights.pth", tmp_path / "model", settings=settings)
    ignore = ["text_decoder.cls.predictions.bias"]
    convert_checkpoint(tmp_path / "weights.pth", tmp_path / "model", settings=settings, ignore=ignore)


def test_what_can_not_be_given_back_says_which_family_can(find_golden: Find, tmp_path: Path):
    settings = {"heads": 4, "text_heads": 4, **CLIP_SIZE}
    convert_checkpoint(find_golden("umt_pretrained.pth"), tmp_path / "model", settings=settings)
    with pytest.raises(ConversionError, match=r"the head that guesses words was left out .* goes to umt_retrieval"):
        export_checkpoint(tmp_path / "model", tmp_path / "back.pth")
    export_checkpoint(tmp_path / "model", tmp_path / "back.pth", family="umt_retrieval")
    assert "text_encoder.embeddings.word_embeddings.weight" in torch.load(tmp_path / "back.pth", weights_only=True)


def test_another_family_is_refused_where_its_class_would_give_other_numbers(tmp_path: Path):
    config = transformers.VideoMAEConfig(**TINY, hidden_act="gelu_new", layer_norm_eps=1e-3)
    randomise(transformers.VideoMAEForVideoClassification(config)).save_pretrained(tmp_path / "source")
    convert_checkpoint(tmp_path / "source", tmp_path / "model", settings=PREPROCESSING)
    with pytest.raises(ConversionError, match=r"gelu is tanh here and exact there; norm_eps is 0.001 here and 1e-06"):
        export_checkpoint(tmp_path / "model", tmp_path / "back.pth", family="single_modality")


def test_a_checkpoint_folder_is_not_written_into(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    with pytest.raises(ConversionError, match="a checkpoint folder holds its own files alone"):
        export_checkpoint(tmp_path / "model", tmp_path / "model" / "model.safetensors")
    assert read_checkpoint(tmp_path / "model").params
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="is a file; choose another place"):
        export_checkpoint(tmp_path / "model", tmp_path / "file" / "back.pth")


def test_an_encoder_alone_says_how_its_class_takes_it(tmp_path: Path):
    config = transformers.VivitConfig(
        image_size=16, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=24, num_hidden_layers=1,
        num_attention_heads=4, intermediate_size=40,
    )  # fmt: skip
    original = randomise(transformers.VivitModel(config))
    original.save_pretrained(tmp_path / "source")
    convert_checkpoint(tmp_path / "source", tmp_path / "model", settings=PREPROCESSING)
    report = export_checkpoint(tmp_path / "model", tmp_path / "back.pth")
    assert report.loads_into == "VivitModel(config, add_pooling_layer=False)"
    twin = transformers.VivitModel(config, add_pooling_layer=False)
    twin.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True), strict=True)
    assert all(torch.equal(value, original.state_dict()[key]) for key, value in twin.state_dict().items())


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
    with pytest.raises(ConversionError, match=r"every parameter goes back to a key of UMT .*: .*pos_embed"):
        export_checkpoint(tmp_path / "model", tmp_path / "back.pth", family="umt_retrieval")
    with pytest.raises(ConversionError, match="positions is learned here and sincos there; pool_norm_eps is 1e-06"):
        export_checkpoint(tmp_path / "model", tmp_path / "back.pth", family="huggingface_videomae")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_place_that_is_no_file_of_weights_is_refused(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    with pytest.raises(ConversionError, match=r"a file that ends in .pth, .pt, .bin, .safetensors; got 'back'"):
        export_checkpoint(tmp_path / "model", tmp_path / "back")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(ConversionError, match="is a folder"):
        export_checkpoint(tmp_path / "model", tmp_path / "folder.pth")


def test_a_file_that_is_there_is_replaced_only_where_that_is_said(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    place = tmp_path / "back.safetensors"
    place.write_text("mine")
    with pytest.raises(ConversionError, match=r"back.safetensors exists; give another place, or --overwrite"):
        export_checkpoint(tmp_path / "model", place)
    assert place.read_text() == "mine"
    (tmp_path / "link.pth").symlink_to(tmp_path / "nowhere")  # a name that is taken, although it leads nowhere
    with pytest.raises(ConversionError, match=r"link.pth exists"):
        export_checkpoint(tmp_path / "model", tmp_path / "link.pth")
    export_checkpoint(tmp_path / "model", place, overwrite=True)
    assert "head.weight" in safetensors.numpy.load_file(place)


def test_a_checkpoint_of_nobodys_family_asks_for_one(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    description = json.loads((tmp_path / "model" / "config.json").read_text())
    description["source"] = {}
    (tmp_path / "model" / "config.json").write_text(json.dumps(description))
    sign_again(tmp_path / "model")
    with pytest.raises(ConversionError, match="this checkpoint says None; give one of these"):
        export_checkpoint(tmp_path / "model", tmp_path / "back.pth")
    export_checkpoint(tmp_path / "model", tmp_path / "back.pth", family="single_modality")
    assert np.all([path in read_checkpoint(tmp_path / "model").params for path in ("head/kernel", "pos_embed")])


@pytest.mark.parametrize("name", ["back.safetensors", "back.pth"])
def test_a_full_disk_is_named_and_leaves_what_was_there(
    find_golden: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    (tmp_path / name).write_text("before")

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    usual = Path.open

    def open_full(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        return Full() if mode == "wb" else usual(path, mode, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_full)
        with pytest.raises(OSError, match="No space left on device") as error:
            export_checkpoint(tmp_path / "model", tmp_path / name, overwrite=True)
    assert error.value.filename == str(tmp_path / name)
    assert (tmp_path / name).read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["model", name])


@pytest.mark.parametrize("name", ["back.safetensors", "back.pth"])
def test_a_state_dict_has_the_mode_that_the_umask_asks_for(find_golden: Find, tmp_path: Path, name: str):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    before = os.umask(0o027)
    try:
        export_checkpoint(tmp_path / "model", tmp_path / name)
    finally:
        os.umask(before)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o640
