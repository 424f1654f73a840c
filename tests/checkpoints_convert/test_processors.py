"""A converted model's preprocessing gives the pixels of the original's own processor, to within one 8-bit step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from checkpoints_convert import FAMILIES, convert_checkpoint
from tests.reference import huggingface
from tests.reference.files import require_module
from vidtldr_jax.data.clip import read_clip
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.transforms import normalize_frames, transform_frame
from vidtldr_jax.inference.load import load_model

torch = require_module("torch")
transformers = require_module("transformers")

SIZE = 32
FRAMES = {"wide": (48, 85), "tall": (91, 40), "square": (57, 57), "small": (20, 31), "as it is": (36, 36)}
_CROP = {"crop_size": {"height": SIZE, "width": SIZE}}
_VIVIT = {"size": {"shortest_edge": 36}, **_CROP}
# Family, the processor that runs without torchvision, what it is told.
PROCESSORS = {
    "ViViT, its class's defaults: rescales twice": ("huggingface_vivit", "VivitImageProcessor", _VIVIT),
    "ViViT, offset alone": ("huggingface_vivit", "VivitImageProcessor", {**_VIVIT, "do_normalize": False}),
    "ViViT, no offset": (
        "huggingface_vivit", "VivitImageProcessor", {**_VIVIT, "offset": False, "rescale_factor": 1 / 255},
    ),
    "ViViT, numbers as they are": (
        "huggingface_vivit",
        "VivitImageProcessor",
        {**_VIVIT, "offset": False, "do_rescale": False, "image_mean": [100.0, 120.0, 90.0], "image_std": [50.0] * 3},
    ),
    "VideoMAE": (
        "huggingface_videomae",
        "VideoMAEImageProcessorPil",
        {"size": {"shortest_edge": SIZE}, **_CROP, "image_mean": [0.485, 0.456, 0.406],
         "image_std": [0.229, 0.224, 0.225]},
    ),
    "VideoMAE, squashed": (
        "huggingface_videomae", "VideoMAEImageProcessorPil",
        {"size": {"height": SIZE, "width": SIZE}, "do_center_crop": False},
    ),
    "CLIP": ("huggingface_clip", "CLIPImageProcessorPil", {"size": {"shortest_edge": SIZE}, **_CROP}),
}  # fmt: skip


def draw(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth picture with noise on it: steps of resizing show, and so does a shift by one pixel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(y / a + x / b) for a, b in ((5, 9), (11, 4), (7, 17))]
    return (np.stack(waves, -1) + rng.normal(0, 12, (height, width, 3))).clip(0, 255).astype(np.uint8)


def run_processor(processor: Any, frames: list[np.ndarray]) -> np.ndarray:
    """Returns `[T, Y, X, 3]`."""
    given = frames if "CLIP" in type(processor).__name__ else [frames]
    pixels = np.asarray(processor(given, return_tensors="np")["pixel_values"])
    return pixels.reshape(len(frames), *pixels.shape[-3:]).transpose(0, 2, 3, 1)


def assert_within_one_step(ours: np.ndarray, theirs: np.ndarray, std: tuple[float, ...]) -> None:
    assert ours.shape == theirs.shape
    steps = np.abs(ours.astype(np.float64) - theirs) * np.array(std) * 255
    assert steps.max() <= 1.001  # of 255
    assert theirs.std() > 0.1, "the picture has contrast"


@pytest.mark.parametrize("shape", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize(("family", "name", "options"), PROCESSORS.values(), ids=PROCESSORS)
def test_pixels_are_those_of_the_processor(
    tmp_path: Path, family: str, name: str, options: dict[str, Any], shape: tuple[int, int]
):
    processor = getattr(transformers, name)(**options)
    processor.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "preprocessor_config.json").read_text())
    fields, _ = FAMILIES[family].read_preprocessing({"image_size": SIZE}, written)
    recipe = Preprocessing(num_frames=1, image_size=SIZE, **fields)
    frame = draw(*shape)
    ours = normalize_frames(transform_frame(frame, recipe), mean=recipe.mean, std=recipe.std)
    assert_within_one_step(ours, run_processor(processor, [frame]), recipe.std)


@pytest.mark.parametrize(
    "file", ["preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json"]
)
def test_from_a_checkpoint_and_files_to_pixels(tmp_path: Path, file: str):
    """The whole way: convert, load, read frames from a folder."""
    processor = transformers.VivitImageProcessor(**_VIVIT)
    folder = huggingface.save_vivit(huggingface.make_vivit(num_frames=4), tmp_path / "hub", "hub")
    (folder / "preprocessor_config.json").unlink()
    fields = processor.to_dict()
    if file == "video_preprocessor_config.json":  # transformers' class for videos always takes 1 off
        fields = {name: value for name, value in fields.items() if name not in ("image_processor_type", "offset")}
        fields["video_processor_type"] = "VivitVideoProcessor"
    if file == "processor_config.json":
        fields = {"processor_class": "VivitProcessor", "image_processor": fields}
    (folder / file).write_text(json.dumps(fields))
    convert_checkpoint(folder, tmp_path / "model")
    recipe = load_model(tmp_path / "model").preprocessing
    frames = [draw(48, 70, seed) for seed in range(8)]  # every second one is taken
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number:03}.png")
    ours = read_clip(tmp_path / "frames", recipe)
    assert_within_one_step(ours, run_processor(processor, frames[::2]), recipe.std)


def resize_with_torch(frame: np.ndarray, size: tuple[int, int], mode: str) -> Any:
    image = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    return torch.nn.functional.interpolate(image, size=size, mode=mode, align_corners=False, antialias=False)[0]


@pytest.mark.parametrize("shape", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("family", ["umt_retrieval", "umt_pretrained", "umt_qa", "single_modality"])
def test_umt_squashes_with_a_sharp_cubic(family: str, shape: tuple[int, int]):
    fields, origin = FAMILIES[family].read_preprocessing({"image_size": SIZE, "tubelet_size": 1}, None)
    recipe = Preprocessing(num_frames=1, image_size=SIZE, **fields)
    frame = draw(*shape)
    pixels = resize_with_torch(frame, (SIZE, SIZE), "bicubic").round().clamp(0, 255) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    theirs = ((pixels - mean) / std).permute(1, 2, 0)[None].numpy()
    ours = normalize_frames(transform_frame(frame, recipe), mean=recipe.mean, std=recipe.std)
    assert_within_one_step(ours, theirs, recipe.std)
    assert origin == "UMT's evaluation"


@pytest.mark.parametrize("shape", FRAMES.values(), ids=FRAMES)
def test_scenic_resizes_without_antialiasing_and_cuts_fractions_off(shape: tuple[int, int]):
    fields, _ = FAMILIES["scenic_vivit"].read_preprocessing({"image_size": SIZE}, None)
    recipe = Preprocessing(num_frames=1, image_size=SIZE, **fields)
    assert recipe.shortest_edge == 36  # as 256 is to 224
    frame = draw(*shape)
    height, width = (max(36, side * 36 // other) for side, other in (shape, shape[::-1]))
    pixels = resize_with_torch(frame, (height, width), "bilinear").floor()
    top, left = (height - SIZE) // 2, (width - SIZE) // 2
    pixels = pixels[:, top : top + SIZE, left : left + SIZE] * (2 / 255) - 1
    ours = normalize_frames(transform_frame(frame, recipe), mean=recipe.mean, std=recipe.std)
    assert_within_one_step(ours, pixels.permute(1, 2, 0)[None].numpy(), recipe.std)
