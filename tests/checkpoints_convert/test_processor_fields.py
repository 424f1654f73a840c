"""Every field of a processor's file is used as transformers uses it, refused by name, or named in a note."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from checkpoints_convert import ConversionError, convert_checkpoint
from checkpoints_convert.families import huggingface_processor
from checkpoints_convert.families.huggingface_processor import list_notes, read_processor
from tests.checkpoints_convert.test_processors import assert_within_one_step, draw, run_processor
from tests.reference import huggingface
from tests.reference.files import require_module
from vidtldr_jax.data.clip import read_clip, read_frames
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.sampling import sample_frames, sample_starts
from vidtldr_jax.data.transforms import normalize_frames, transform_frame
from vidtldr_jax.inference.load import load_model

torch = require_module("torch")
transformers = require_module("transformers")
video_utils = require_module("transformers.video_utils")

SIZE = 32
_CROP = {"crop_size": {"height": SIZE, "width": SIZE}}
SHAPES = {"very wide": (30, 200), "very tall": (161, 20), "wide": (48, 85), "square": (57, 57), "as it is": (36, 36)}


@pytest.mark.parametrize("num_frames", [1, 2, 4, 7, 16])
@pytest.mark.parametrize("num_available", [16, 17, 31, 100, 1001])
def test_frames_are_those_that_transformers_samples(num_frames: int, num_available: int):
    metadata = video_utils.VideoMetadata(total_num_frames=num_available, fps=25.0)
    theirs = video_utils.default_sample_indices_fn(metadata, num_frames=num_frames)
    np.testing.assert_array_equal(sample_frames(num_available, num_frames=num_frames, sampling="starts")[0], theirs)


def test_starts_of_several_clips_are_dealt_out_in_turn():
    np.testing.assert_array_equal(sample_starts(16, num_frames=4, num_clips=2), [[0, 4, 8, 12], [2, 6, 10, 14]])
    np.testing.assert_array_equal(sample_starts(2, num_frames=4), [[0, 1, 1, 1]])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("longest", [32, 40, 64, 500])
@pytest.mark.parametrize("name", ["VideoMAEImageProcessorPil", "CLIPImageProcessorPil"])
def test_a_longest_edge_gives_the_pixels_of_the_processor(name: str, longest: int, shape: tuple[int, int]):
    options = {"size": {"shortest_edge": 36, "longest_edge": longest}, **_CROP}
    processor = getattr(transformers, name)(**options)
    written = json.loads(processor.to_json_string())
    fields, _ = read_processor({"image_size": SIZE}, written)
    recipe = Preprocessing(num_frames=1, image_size=SIZE, **fields)
    frame = draw(*shape)
    ours = normalize_frames(transform_frame(frame, recipe), mean=recipe.mean, std=recipe.std)
    assert_within_one_step(ours, run_processor(processor, [frame]), recipe.std)


def test_vivits_image_processor_does_not_use_a_longest_edge():
    processor = transformers.VivitImageProcessor(size={"shortest_edge": 36, "longest_edge": 40}, **_CROP)
    written = json.loads(processor.to_json_string())
    fields, _ = read_processor({"image_size": SIZE}, written)
    assert "longest_edge" not in fields
    assert list_notes(written) == ["longest_edge = 40 is not used, as VivitImageProcessor does not use it"]
    recipe = Preprocessing(num_frames=1, image_size=SIZE, **fields)
    frame = draw(30, 200)
    ours = normalize_frames(transform_frame(frame, recipe), mean=recipe.mean, std=recipe.std)
    assert_within_one_step(ours, run_processor(processor, [frame]), recipe.std)


# Class without torchvision, what its file says beside the model's square: fields that this class ignores or turns off.
AS_THE_CLASS_READS_THEM: dict[str, tuple[str, dict[str, Any]]] = {
    "an offset that CLIP does not know": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 36}, "offset": True}),
    "an offset that VideoMAE does not know": ("VideoMAEImageProcessorPil", {"size": 36, "offset": True}),
    "null rescales nothing": ("VideoMAEImageProcessorPil", {"size": 36, "do_rescale": None, "image_std": 99.0}),
    "null normalises nothing": ("CLIPImageProcessorPil", {"size": 36, "do_normalize": None}),
    "null takes nothing off": ("VivitImageProcessor", {"size": 36, "offset": None}),
    "a square in ViViT's, whatever the default": ("VivitImageProcessor", {"size": 36, "default_to_square": False}),
}


@pytest.mark.parametrize("case", AS_THE_CLASS_READS_THEM)
def test_fields_mean_what_they_mean_to_their_class(case: str):
    name, said = AS_THE_CLASS_READS_THEM[case]
    fields = {"image_processor_type": name.removesuffix("Pil"), **_CROP, **said}
    processor = getattr(transformers, name).from_dict(dict(fields))
    found, _ = read_processor({"image_size": SIZE}, fields)
    recipe = Preprocessing(num_frames=1, image_size=SIZE, **found)
    frame = draw(48, 85)
    ours = normalize_frames(transform_frame(frame, recipe), mean=recipe.mean, std=recipe.std)
    assert_within_one_step(ours, run_processor(processor, [frame]), recipe.std)
    is_unused = said.get("offset") is True
    assert any("offset = True is not used, as" in note for note in list_notes(fields)) == is_unused


@pytest.mark.parametrize("flag", ["do_resize", "do_center_crop"])
def test_null_turns_off_what_makes_frames_square(flag: str):
    with pytest.raises(ConversionError, match=f"{flag} "):
        read_processor({"image_size": SIZE, "num_frames": 4}, make_file(**{flag: None}))


def test_vjepas_class_takes_its_size_from_the_crop():
    """As `VJEPA2VideoProcessor.__init__` does, which needs torchvision: int(crop_size * 256 / 224)."""
    file = {"video_processor_type": "VJEPA2VideoProcessor", **_CROP}
    for size in ({"shortest_edge": 99}, {"height": SIZE, "width": SIZE}, None):
        fields, _ = read_processor({"image_size": SIZE}, {**file, "size": size})
        assert (fields["resize"], fields["shortest_edge"]) == ("shortest_edge", 36)
    assert (fields["mean"], fields["std"]) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert list_notes({**file, "size": {"shortest_edge": 99}}) == [
        "size is not used: VJEPA2VideoProcessor makes the shorter side 256 / 224 of crop_size"
    ]
    assert list_notes({**file, "size": {"shortest_edge": 36}}) == []
    with pytest.raises(ConversionError, match="size"):
        read_processor({"image_size": SIZE}, {**file, "crop_size": {"shortest_edge": SIZE}})


def make_file(**fields: Any) -> dict[str, Any]:
    return {"video_processor_type": "VideoMAEVideoProcessor", "size": {"shortest_edge": 36}, **_CROP, **fields}


@pytest.mark.parametrize("file", ["video_preprocessor_config.json", "processor_config.json"])
def test_from_a_file_that_samples_to_frames_and_pixels(tmp_path: Path, file: str):
    """The whole way: convert, load, read frames from a folder, against transformers' frames and pixels."""
    folder = huggingface.save_videomae(huggingface.make_videomae(num_attention_heads=4), tmp_path / "hub", "hub")
    size = {"shortest_edge": 36, "longest_edge": 60}
    fields = make_file(do_sample_frames=True, num_frames=4, size=size, do_convert_rgb=True)
    whole = {"processor_class": "VideoMAEProcessor", "video_processor": fields}
    (folder / file).write_text(json.dumps(whole if file == "processor_config.json" else fields))
    report = convert_checkpoint(folder, tmp_path / "model")
    assert report.notes == (f"frames are made as {file} says; preprocessor_config.json says otherwise and is not used",)
    recipe = load_model(tmp_path / "model").preprocessing
    assert (recipe.sampling, recipe.longest_edge) == ("starts", 60)
    frames = [draw(48, 100, seed) for seed in range(11)]
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number:03}.png")
    indices = video_utils.default_sample_indices_fn(video_utils.VideoMetadata(total_num_frames=11), num_frames=4)
    np.testing.assert_array_equal(read_frames(tmp_path / "frames", recipe).indices[0], indices)
    processor = transformers.VideoMAEImageProcessorPil(size=size, **_CROP)
    theirs = run_processor(processor, [frames[index] for index in indices])
    assert_within_one_step(read_clip(tmp_path / "frames", recipe), theirs, recipe.std)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another number of frames": ({"do_sample_frames": True, "num_frames": 9}, "num_frames = 9 is not the model's 4"),
    "frames by number and time": (
        {"do_sample_frames": True, "num_frames": 4, "fps": 2}, "num_frames and fps exclude each other",
    ),
    "no number of frames": ({"num_frames": 0}, "num_frames = 0 is not a number of frames"),
    "no rate": ({"fps": "fast"}, "fps = 'fast' is not a number above 0"),
    "words for a flag": ({"do_sample_frames": "yes"}, "do_sample_frames is neither true nor false"),
    "the longest edge alone": ({"size": {"longest_edge": 36}}, "size = longest_edge 36 is not built"),
    "a box": ({"size": {"max_height": 36, "max_width": 36}}, "size = max_height 36, max_width 36 is not built"),
    "a number of pixels": ({"size": {"min_pixels": 9, "max_pixels": 99}}, "min_pixels 9, max_pixels 99 is not built"),
    "height alone": ({"size": {"height": 32}}, "size = height 32 is not built"),
    "an edge and a height": ({"size": {"shortest_edge": 36, "height": 32}}, "is not built"),
    "padding to another size": ({"do_pad": True, "pad_size": {"height": 64, "width": 64}}, "do_pad and pad_size end"),
    "an offset without rescaling": (
        {"video_processor_type": None, "image_processor_type": "VivitImageProcessor", "do_rescale": False},
        "offset needs do_rescale",
    ),
    "another filter": ({"resample": 1}, "resample = 1 is none of"),
    "a square by number that is not the model's": (
        {"size": 36, "default_to_square": True}, "size = height 36, width 36 is not the model's 32",
    ),
    "an unknown class": (
        {"video_processor_type": "NewVideoProcessor", "resample": 2}, "NewVideoProcessor is not known, .* no image_mea",
    ),
    "an unknown class that may not crop": (
        {"image_processor_type": "NewImageProcessor", "video_processor_type": None, "resample": 2, "image_mean": 0.5,
         "image_std": 0.5, "rescale_factor": 1 / 255}, "do_center_crop is off, so frames would not be square",
    ),
    "an unknown class and a size that may be a square": (
        {"image_processor_type": "NewImageProcessor", "video_processor_type": None, "resample": 2, "image_mean": 0.5,
         "image_std": 0.5, "rescale_factor": 1 / 255, "size": 32}, "its file says no default_to_square",
    ),
    "an unknown class with fields of its own": (
        {"image_processor_type": "NewImageProcessor", "video_processor_type": None, "resample": 2, "image_mean": 0.5,
         "image_std": 0.5, "rescale_factor": 1 / 255, "crop_pct": 0.9}, "crop_pct of NewImageProcessor is not built",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_built_is_refused_by_name(case: str):
    fields, message = REFUSED[case]
    with pytest.raises(ConversionError, match=message) as caught:
        read_processor({"image_size": SIZE, "num_frames": 4}, make_file(**fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fields", [{"fps": 2}, {}])
def test_frames_by_time_are_a_question(tmp_path: Path, fields: dict[str, Any]):
    found, _ = read_processor({"image_size": SIZE, "num_frames": 4}, make_file(do_sample_frames=True, **fields))
    assert "sampling" not in found
    folder = huggingface.save_videomae(huggingface.make_videomae(num_attention_heads=4), tmp_path / "hub", "hub")
    (folder / "preprocessor_config.json").write_text(json.dumps(make_file(do_sample_frames=True, **fields)))
    with pytest.raises(ConversionError, match=r"sampling \(give sampling=starts, middle, .* as many frames as a video"):
        convert_checkpoint(folder, tmp_path / "model")
    report = convert_checkpoint(folder, tmp_path / "model", settings={"sampling": "uniform"})
    assert report.preprocessing.sampling == "uniform"


def test_what_nothing_follows_is_named(tmp_path: Path):
    fields = make_file(num_frames=16, fps=2, do_pad=True, crop_pct=0.9, do_thumbnail=False, size_divisor=None)
    fields |= {"data_format": "channels_first", "device": "cpu", "return_metadata": False, "do_convert_rgb": True}
    unused = (
        "in the processor's file is not used: do_sample_frames is off, so that frames are picked as the family's "
        "evaluation does"
    )
    assert list_notes(fields) == [
        "crop_pct = 0.9 in the processor's file is not used, as VideoMAEVideoProcessor does not use it",
        f"num_frames = 16 {unused}",
        f"fps = 2 {unused}",
        "do_pad = True changes nothing: frames end as squares of one size",
    ]
    assert list_notes({"video_processor_type": "VivitVideoProcessor", "offset": False}) == [
        "offset = False is not used: VivitVideoProcessor always takes 1 off"
    ]
    found, _ = read_processor(
        {"image_size": SIZE}, {"video_processor_type": "VivitVideoProcessor", "offset": False, **_CROP}
    )
    assert found["mean"][0] == pytest.approx(0.75)
    folder = huggingface.save_videomae(huggingface.make_videomae(num_attention_heads=4), tmp_path / "hub", "hub")
    (folder / "preprocessor_config.json").write_text(json.dumps(fields))
    report = convert_checkpoint(folder, tmp_path / "model")
    assert len(report.notes) == 4
    assert json.loads((tmp_path / "model/config.json").read_text())["source"]["notes"] == list(report.notes)


def test_thousands_of_fields_are_counted(tmp_path: Path):
    folder = huggingface.save_videomae(huggingface.make_videomae(num_attention_heads=4), tmp_path / "hub", "hub")
    fields = make_file(**{f"field_{number}": 1 for number in range(5000)})
    (folder / "preprocessor_config.json").write_text(json.dumps(fields))
    notes = convert_checkpoint(folder, tmp_path / "model").notes
    assert (len(notes), notes[-1]) == (21, "... and 4,980 more notes of this kind")


def test_every_field_that_transformers_knows_is_used_or_has_no_effect():
    kwargs = require_module("transformers.processing_utils")
    known = {*kwargs.ImagesKwargs.__annotations__, *kwargs.VideosKwargs.__annotations__}
    assert known <= huggingface_processor._USED | huggingface_processor._WITHOUT_EFFECT
    for name in ("VivitImageProcessor", "VideoMAEImageProcessorPil", "CLIPImageProcessorPil"):
        assert list_notes(json.loads(getattr(transformers, name)().to_json_string())) == []


def test_a_square_by_number_is_squashed():
    fields, _ = read_processor({"image_size": SIZE}, make_file(size=SIZE, default_to_square=True))
    assert fields["resize"] == "squash"
    fields, _ = read_processor({"image_size": SIZE}, make_file(size=36))
    assert (fields["resize"], fields["shortest_edge"]) == ("shortest_edge", 36)
    with pytest.raises(ValueError, match='longest_edge = 40 needs resize = "shortest_edge"'):
        Preprocessing(num_frames=1, image_size=SIZE, longest_edge=40)
    with pytest.raises(ValueError, match="longest_edge = 0 is not a positive int"):
        Preprocessing(num_frames=1, image_size=SIZE, resize="shortest_edge", longest_edge=0)
