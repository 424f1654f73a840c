"""Odd settings, configs and processor files: one line that names them, whatever they hold; nothing is written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import FAMILIES, ConversionError, convert_checkpoint
from checkpoints_convert.facts import find_facts, list_missing
from checkpoints_convert.families.huggingface_processor import read_processor
from checkpoints_convert.plan import plan_conversion
from checkpoints_convert.sources import open_source
from vidtldr_jax.inference.checkpoint import CheckpointError, read_checkpoint

Find = Callable[[str], Path]
SETTINGS: dict[str, Any] = {"heads": 4, "image_size": 32}


def expect_refusal(source: Path, folder: Path, message: str, **options: Any) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        convert_checkpoint(source, folder, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.isprintable()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm_eps": "abc"}, "norm_eps from settings is 'abc', not a number between 0 and 1"),
        ({"norm_eps": '"1e-6"'}, "norm_eps from settings is '1e-6'"),
        ({"norm_eps": "[1]"}, "norm_eps from settings is .*, not a number between 0 and 1"),
        ({"norm_eps": "null"}, "norm_eps from settings is None"),
        ({"norm_eps": "Infinity"}, "norm_eps from settings is inf"),
        ({"norm_eps": "true"}, "norm_eps from settings is True"),
        ({"norm_eps": str(10**400)}, "norm_eps from settings is "),
        ({"pool_norm_eps": "0"}, "pool_norm_eps from settings is 0"),
        ({"heads": "abc"}, "num_heads from settings is 'abc', not a whole number of at least 1"),
        ({"heads": "4.0"}, "num_heads from settings is 4.0"),
        ({"frames": "0"}, "num_frames from settings is 0"),
        ({"frames": str(10**12)}, "num_frames from settings is 1000000000000, above 16777216"),
        ({"image_size": "[32,32]"}, "image_size from settings is"),
        ({"heads": "4", "num_heads": "4"}, "a setting is given once; got heads under two names"),
        ({"labels": "a,b"}, "one label for each of 10 classes; got 2"),
        ({"labels": "[" * 100_000}, "one label for each of 10 classes; got 1"),
        ({"labels": '["\\ud800","b","c","d","e","f","g","h","i","j"]'}, "labels are a text for each class"),
        ({"labels": "a,b,c,d,e,f,g,h,i,"}, "labels are a text for each class; got"),
        ({"labels": '["a","b","c","d","e","f","g","h","i","\\u00a0"]'}, "labels are a text for each class; got"),
        ({"mean": "1"}, "mean = 1 is not three finite numbers"),
        ({"std": '["a","b","c"]'}, "is not three finite numbers"),
        ({"first_seconds": "Infinity"}, "first_seconds = inf is not a finite number above 0"),
        ({"gelu": "relu"}, "gelu = 'relu' is none of exact, tanh"),
        ({5: 3}, "settings have names of text"),
    ],
)
def test_an_odd_setting_is_named(find_golden: Find, tmp_path: Path, settings: dict[Any, Any], message: str):
    source = find_golden("cls_umt.pth")
    expect_refusal(source, tmp_path / "model", message, settings={**SETTINGS, **settings})


def test_settings_of_numpy_and_words_that_look_like_numbers_are_read(find_golden: Find, tmp_path: Path):
    settings = {**SETTINGS, "norm_eps": np.float32(1e-6), "heads": np.int64(4), "labels": "1,2,3,4,5,6,7,8,9,0"}
    report = convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=settings)
    assert report.labels == list("1234567890")
    assert isinstance(read_checkpoint(tmp_path / "model").config.norm_eps, float)


def test_a_pattern_may_be_given_alone(find_golden: Find, tmp_path: Path):
    options = {"settings": SETTINGS, "ignore": "head.bias", "allow_missing": "head/bias"}
    report = convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", **options)
    assert (report.ignored, report.fresh) == (("head.bias",), ("head/bias",))


def test_squashing_needs_no_word_about_the_shortest_edge(find_golden: Find, tmp_path: Path):
    settings = {**SETTINGS, "resize": "squash"}
    report = convert_checkpoint(find_golden("cls_videomae.pth"), tmp_path / "model", settings=settings)
    assert (report.preprocessing.resize, report.preprocessing.shortest_edge) == ("squash", None)


@pytest.mark.parametrize(("name", "value"), [("image_size", 32768), ("frames", 2**20)])
def test_a_clip_too_large_for_any_memory_is_refused_before_a_table_is_made(
    find_golden: Find, tmp_path: Path, name: str, value: int
):
    source = open_source(find_golden("cls_umt.pth"))
    arrays = {key: np.asarray(tensor.read()) for key, tensor in source.tensors.items() if key != "pos_embed"}
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    settings = {"heads": 4, "image_size": 32, "frames": 4, name: value}
    expect_refusal(
        tmp_path / "weights.safetensors", tmp_path / "model", "a clip has up to 65536 tokens", settings=settings
    )


@pytest.mark.parametrize("tower", ["text_encoder.encoder.layer", "text_decoder.bert.encoder.layer"])
def test_a_stray_layer_of_a_text_tower_is_refused_before_a_model_of_that_depth_is_made(find_golden: Find, tower: str):
    source = open_source(find_golden("umt_qa.pth"))
    tensors = dict(source.tensors)
    tensors[f"{tower}.9000.attention.self.query.weight"] = tensors[f"{tower}.0.attention.self.query.weight"]
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    with pytest.raises(ConversionError, match=r"depth from the weights is 9001, and there are only \d+ keys"):
        find_facts(FAMILIES["umt_qa"], shapes, config=None, settings={})


BAD_PROCESSORS: dict[str, tuple[dict[str, Any], str]] = {
    "text for a mean": ({"image_mean": "x"}, "image_mean is neither a number nor three"),
    "null in a deviation": ({"image_std": [None] * 3}, "image_std is neither a number nor three"),
    "a dict for a mean": ({"image_mean": {"r": 1}}, "image_mean is neither a number nor three"),
    "two numbers": ({"image_mean": [0.5, 0.5]}, "image_mean is neither a number nor three"),
    "text for a factor": ({"rescale_factor": "x"}, "rescale_factor is not a number above 0"),
    "a factor of 0": ({"rescale_factor": 0}, "rescale_factor is not a number above 0"),
    "a huge factor": ({"rescale_factor": 10**400}, "rescale_factor is not a number above 0"),
    "a list for a filter": ({"resample": [1]}, "resample = list is none of"),
    "a filter of 0": ({"resample": 0}, "resample = 0 is none of"),
    "two numbers for a crop": ({"crop_size": [32, 32]}, "crop_size is neither a number of pixels nor such"),
    "half a pixel": ({"crop_size": 3.5}, "crop_size is neither a number of pixels nor such"),
    "text for a size": ({"size": "32"}, "size is neither a number of pixels nor such"),
    "words for a flag": ({"do_normalize": "no"}, "do_normalize is neither true nor false"),
}


@pytest.mark.parametrize("case", BAD_PROCESSORS)
def test_an_odd_processor_file_is_named(case: str):
    fields, message = BAD_PROCESSORS[case]
    with pytest.raises(ConversionError, match=message):
        read_processor({"image_size": 32}, fields)


@pytest.mark.parametrize(
    ("name", "scale", "mean", "edge", "kernel"),
    [
        ("VivitImageProcessor", 1 / 127.5, 0.75, 256, "bilinear_antialias"),
        ("VivitVideoProcessor", 1 / 127.5, 0.75, 256, "bilinear_antialias"),
        ("VideoMAEImageProcessor", 1 / 255, 0.5, 224, "bilinear_antialias"),
        ("CLIPImageProcessor", 1 / 255, 0.48145466, 224, "bicubic_antialias"),
        ("CLIPFeatureExtractor", 1 / 255, 0.48145466, 224, "bicubic_antialias"),
    ],
)
def test_what_a_file_leaves_out_is_what_its_class_does(name: str, scale: float, mean: float, edge: int, kernel: str):
    entry = "feature_extractor_type" if "Feature" in name else "image_processor_type"
    entry = "video_processor_type" if "Video" in name.removeprefix("VideoMAE") else entry
    fields, _ = read_processor({"image_size": 224}, {entry: name, "do_pad": None, "crop_size": None})
    assert fields["mean"][0] == pytest.approx(mean)
    assert (fields["shortest_edge"], fields["kernel"]) == (edge, kernel)
    deviation = 0.26862954 if "CLIP" in name else 0.5
    assert fields["std"][0] == pytest.approx(deviation / (255 * scale))


def test_numbers_that_a_dtype_does_not_hold_are_refused(find_golden: Find, tmp_path: Path):
    source = open_source(find_golden("cls_umt.pth"))
    arrays = {key: np.asarray(tensor.read()).astype(np.float64) for key, tensor in source.tensors.items()}
    for value, dtype, message in (
        (
            1e300,
            "float32",
            r"float32 holds numbers up to 3.40282e\+38; 'head.bias' of .*safetensors has 1e\+300",
        ),
        (
            3.4e38,
            "bfloat16",
            r"bfloat16 holds numbers up to 3.38953e\+38; 'head.bias' of .*safetensors has 3.4e\+38",
        ),
    ):
        arrays["head.bias"][0] = value
        safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
        expect_refusal(tmp_path / "weights.safetensors", tmp_path / "model", message, settings=SETTINGS, dtype=dtype)
    for value in (np.inf, -np.inf, np.nan):
        arrays["head.bias"][0] = value
        safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
        message = r"weights are finite numbers; 'head.bias' of .* has infinite ones or NaN; .* nothing was written"
        expect_refusal(tmp_path / "weights.safetensors", tmp_path / "model", message, settings=SETTINGS)


@pytest.mark.parametrize("name", ["openai_clip", "huggingface_clip", "huggingface_videomae", "huggingface_vivit"])
def test_a_missing_gelu_names_the_forms_that_the_family_has(name: str):
    family = FAMILIES[name]
    (line,) = list_missing({}, ["gelu"], hints=family.hints)
    assert ("gelu=quick" in line) == ("clip" in name)
    assert "gelu=exact" in line


def test_a_tower_does_not_take_its_facts_from_beside_it():
    family = FAMILIES["huggingface_clip"]
    config = {"hidden_act": "gelu", "image_size": 99, "vision_config": {"image_size": 32}}
    facts = find_facts(family, {}, config=config, settings={})
    assert "gelu" not in facts
    assert facts["image_size"].value == 32
    assert find_facts(family, {}, config={"hidden_act": "gelu"}, settings={})["gelu"].value == "exact"


def test_a_classifier_with_a_norm_on_all_tokens_reads_the_first(find_golden: Find, tmp_path: Path):
    source = open_source(find_golden("cls_videomae.pth"))
    arrays = {key.replace("fc_norm", "norm"): np.asarray(tensor.read()) for key, tensor in source.tensors.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    plan = plan_conversion(open_source(tmp_path / "weights.safetensors"), settings=SETTINGS)
    assert (plan.config.pooling, plan.config.final_norm, plan.config.pool_norm) == ("first", True, False)
    assert not plan.faults


def save_hub_folder(folder: Path, source: Path) -> None:
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(source.read_bytes())


def test_a_folder_of_somebody_elses_is_left_alone(find_golden: Find, tmp_path: Path):
    folder = tmp_path / "bert"
    folder.mkdir()
    files = {"model.safetensors": b"weights", "config.json": b'{"model_type": "bert"}', "tokenizer.json": b"{}"}
    for name, body in files.items():
        (folder / name).write_bytes(body)
    with pytest.raises(CheckpointError, match=r"exists and is no checkpoint folder .*; nothing was written"):
        convert_checkpoint(find_golden("cls_umt.pth"), folder, settings=SETTINGS)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="exists and is no checkpoint folder"):
        convert_checkpoint(find_golden("cls_umt.pth"), folder, settings=SETTINGS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == dict(list(files.items())[:2])


def test_an_own_folder_with_something_else_in_it_is_left_alone(find_golden: Find, tmp_path: Path):
    for _ in range(2):  # alone it is replaced
        convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="or has other files in it; nothing was written"):
        convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS)
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"


def test_a_destination_below_a_file_is_refused(find_golden: Find, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match=r"a part of .*file is a file; choose another place"):
        convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "file" / "model", settings=SETTINGS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id2label": {str(n): f"class {n}" for n in range(12)}}, "one label for each of 10 classes; got 12"),
        ({"id2label": {"0": "a"}}, "labels are a text for each class"),
        ({"id2label": {str(n): "\ud800" for n in range(10)}}, "labels are a text for each class"),
        ({"input_size": "32\x1b[31m\n"}, r"image_size from the checkpoint's config is '32\\x1b"),
    ],
)
def test_an_odd_config_is_named(find_golden: Find, tmp_path: Path, config: dict[str, Any], message: str):
    source = open_source(find_golden("cls_umt.pth"))
    arrays = {key: np.asarray(tensor.read()) for key, tensor in source.tensors.items()}
    (tmp_path / "hub").mkdir()
    safetensors.numpy.save_file(arrays, tmp_path / "hub" / "model.safetensors")
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    settings = {"heads": 4} if "input_size" in config else SETTINGS
    expect_refusal(tmp_path / "hub", tmp_path / "model", message, settings=settings)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_a_source_that_is_no_file_is_told_from_one_that_is_not_there(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.pth")
    for name, message in (
        ("pipe.pth", "a regular file is needed; '.*pipe.pth' is a FIFO; give a file"),
        ("gone.pth", "a source is a file or a folder; there is no .*gone.pth; check the path"),
    ):
        with pytest.raises(ConversionError, match=message):
            open_source(tmp_path / name)
