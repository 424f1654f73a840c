"""Hugging Face's file for a processor of images or videos -> fields of a Preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from checkpoints_convert.errors import ConversionError

_KERNELS: Final = {2: "bilinear_antialias", 3: "bicubic_antialias"}  # Pillow's numbers


def read_processor(
    facts: Mapping[str, Any], preprocessor: Mapping[str, Any] | None, *, sampling: str = "dense", stride: int = 4
) -> tuple[dict[str, Any], str]:
    """Reads what an image or video processor does to a frame.

    Args:
      facts: of the model; image_size is what the frames must end as.
      preprocessor: the file; None leaves mean and std open.
      sampling: how frames are picked, which is in no such file.
      stride: frames from one sampled frame to the next, which is in no such file.

    Returns:
      Fields of a Preprocessing, and where they come from.

    Raises:
      ConversionError: the file asks for something that is not built, or for another size than the model's.
    """
    picked = {"sampling": sampling, "stride": stride}
    size = facts.get("image_size")
    if preprocessor is None:
        fields = {"resize": "shortest_edge", "shortest_edge": size, "kernel": "bilinear_antialias", "crop": "center"}
        return {**picked, **fields}, "the family's evaluation"
    faults: list[str] = []
    fields = _read_resize(preprocessor, size, faults)
    scale = 255 * preprocessor.get("rescale_factor", 1 / 255) if preprocessor.get("do_rescale", True) else 255
    # ViViT's processor takes 1 off after rescaling, unless the file says no.
    kinds = (preprocessor.get("image_processor_type"), preprocessor.get("video_processor_type"))
    is_vivit = any("Vivit" in str(kind) for kind in kinds)
    shift = float(bool(preprocessor.get("do_rescale", True) and preprocessor.get("offset", is_vivit)))
    if preprocessor.get("do_normalize", True):
        for name, key, first in (("mean", "image_mean", shift), ("std", "image_std", 0.0)):
            if key in preprocessor:
                values = preprocessor[key]
                per_colour = [values] * 3 if isinstance(values, int | float) else values
                fields[name] = tuple((value + first) / scale for value in per_colour)
    else:
        fields |= {"mean": (shift / scale,) * 3, "std": (1 / scale,) * 3}
    kernel = _KERNELS.get(preprocessor.get("resample", 2))
    if kernel is None:
        faults.append(f"resample = {preprocessor['resample']!r} is none of {_KERNELS}")
    if faults:
        raise ConversionError.collect(
            "read_processor: frames are resized and cropped to the model's square",
            faults,
            "mend the processor's file",
        )
    return {**picked, **fields, "kernel": kernel}, "the processor's file"


def _read_resize(preprocessor: Mapping[str, Any], image_size: Any, faults: list[str]) -> dict[str, Any]:
    size = preprocessor.get("size", image_size)
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = preprocessor.get("crop_size", image_size) if preprocessor.get("do_center_crop", True) else None
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    square = {"height": image_size, "width": image_size}
    if not preprocessor.get("do_resize", True) or not isinstance(size, Mapping):
        faults.append("do_resize or size leaves frames as they come")
        return {}
    if crop is not None and dict(crop) != square:
        faults.append(f"crop_size = {crop!r} is not the model's {image_size}")
    if "shortest_edge" in size:
        if crop is None:
            faults.append("do_center_crop is off, so frames would not be square")
        return {"resize": "shortest_edge", "shortest_edge": size["shortest_edge"], "crop": "center"}
    if dict(size) != square:
        faults.append(f"size = {size!r} is not the model's {image_size}")
    return {"resize": "squash", "crop": "center"}
