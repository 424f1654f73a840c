"""Hugging Face's file for a processor of images or videos -> fields of a Preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from checkpoints_convert.errors import ConversionError

_KERNELS: Final = {2: "bilinear_antialias", 3: "bicubic_antialias"}  # Pillow's numbers
_FLAGS: Final = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "offset")
_ANY: Final[dict[str, Any]] = {
    **dict.fromkeys(_FLAGS[:-1], True),
    "offset": False,
    "rescale_factor": 1 / 255,
    "resample": 2,
}
_LARGEST: Final = 1e30
_HALF: Final = {"image_mean": 0.5, "image_std": 0.5}
# What transformers' classes do where their file says nothing, by a part of the class's name.
_BY_CLASS: Final[dict[str, dict[str, Any]]] = {
    "Vivit": {**_HALF, "size": {"shortest_edge": 256}, "crop_size": 224, "rescale_factor": 1 / 127.5, "offset": True},
    "VideoMAE": {**_HALF, "size": {"shortest_edge": 224}, "crop_size": 224},
    "CLIP": {
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "size": {"shortest_edge": 224},
        "crop_size": 224,
        "resample": 3,
    },
}
_CLASS_ENTRIES: Final = ("image_processor_type", "video_processor_type", "feature_extractor_type")


def read_processor(
    facts: Mapping[str, Any],
    preprocessor: Mapping[str, Any] | None,
    *,
    sampling: str = "dense",
    stride: int = 4,
    kernel: str = "bilinear_antialias",
) -> tuple[dict[str, Any], str]:
    """Reads what an image or video processor does to a frame.

    Args:
      facts: of the model; image_size, where it is known, is what the frames must end as.
      preprocessor: the file; None leaves mean and std open.
      sampling: how frames are picked, which is in no such file.
      stride: frames from one sampled frame to the next, which is in no such file.
      kernel: of resizing where there is no file.

    Returns:
      Fields of a Preprocessing, and where they come from.

    Raises:
      ConversionError: the file asks for something that is not built, has values of a wrong kind, or ends at another
        size than the model's.
    """
    picked = {"sampling": sampling, "stride": stride}
    image_size = facts.get("image_size")
    if preprocessor is None:
        fields = {"resize": "shortest_edge", "shortest_edge": image_size, "kernel": kernel}
        return {**picked, **fields, "crop": "center"}, "the family's evaluation"
    asked = _fill_in(preprocessor, image_size)
    faults = _find_odd_values(asked)
    fields = {} if faults else {**_read_colours(asked), **_read_sizes(asked, image_size, faults)}
    if faults:
        raise ConversionError.collect(
            "read_processor: frames are resized and cropped to the model's square",
            faults,
            "mend the processor's file",
        )
    return {**picked, **fields, "kernel": _KERNELS[asked["resample"]]}, "the processor's file"


def _fill_in(preprocessor: Mapping[str, Any], image_size: Any) -> dict[str, Any]:
    """Adds what the class does where the file says nothing; null says nothing."""
    names = " ".join(str(preprocessor[entry]) for entry in _CLASS_ENTRIES if isinstance(preprocessor.get(entry), str))
    by_class = next((defaults for part, defaults in _BY_CLASS.items() if part in names), {})
    said = {name: value for name, value in preprocessor.items() if value is not None}
    asked = {**_ANY, "size": image_size, "crop_size": image_size, **by_class, **said}
    for name, first in (("size", ("shortest_edge",)), ("crop_size", ("height", "width"))):
        if _is_count(asked[name]):
            asked[name] = dict.fromkeys(first, asked[name])
        elif isinstance(asked[name], Mapping):
            asked[name] = {key: length for key, length in asked[name].items() if length is not None}
    return asked


def _find_odd_values(asked: Mapping[str, Any]) -> list[str]:
    faults = [f"{name} is neither true nor false" for name in _FLAGS if not isinstance(asked[name], bool)]
    if not _is_number(asked["rescale_factor"]) or asked["rescale_factor"] <= 0:
        faults.append("rescale_factor is no number above 0")
    for name in ("image_mean", "image_std"):
        values = asked.get(name)
        are_three = isinstance(values, list | tuple) and len(values) == 3 and all(map(_is_number, values))
        if values is not None and not are_three and not _is_number(values):
            faults.append(f"{name} is neither a number nor three")
    if not isinstance(asked["resample"], int) or asked["resample"] not in _KERNELS:
        shown = asked["resample"] if isinstance(asked["resample"], int) else type(asked["resample"]).__name__
        faults.append(f"resample = {shown} is none of {_KERNELS}")
    for name in ("size", "crop_size"):
        lengths = asked[name]
        if lengths is not None and not (isinstance(lengths, Mapping) and all(map(_is_count, lengths.values()))):
            faults.append(f"{name} is neither a number of pixels nor such numbers by name")
    return faults


def _read_colours(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Folds rescaling, the offset and normalising into one mean and one standard deviation of values in [0, 1]."""
    scale = 255 * asked["rescale_factor"] if asked["do_rescale"] else 255
    shift = float(asked["do_rescale"] and asked["offset"])
    if not asked["do_normalize"]:
        return {"mean": (shift / scale,) * 3, "std": (1 / scale,) * 3}
    fields = {}
    for name, key, first in (("mean", "image_mean", shift), ("std", "image_std", 0.0)):
        values = asked.get(key)
        if values is not None:
            per_colour = [values] * 3 if _is_number(values) else values
            fields[name] = tuple((value + first) / scale for value in per_colour)
    return fields


def _read_sizes(asked: Mapping[str, Any], image_size: Any, faults: list[str]) -> dict[str, Any]:
    size, crop = asked["size"], asked["crop_size"] if asked["do_center_crop"] else None
    square = {"height": image_size, "width": image_size}
    if image_size is None:
        return {}  # said to be missing elsewhere
    if not asked["do_resize"] or not size:
        faults.append("do_resize or size leaves frames as they come")
        return {}
    if crop is not None and dict(crop) != square:
        faults.append(f"crop_size = {dict(crop)} is not the model's {image_size}")
    if "shortest_edge" in size:
        if crop is None:
            faults.append("do_center_crop is off, so frames would not be square")
        return {"resize": "shortest_edge", "shortest_edge": size["shortest_edge"], "crop": "center"}
    if dict(size) != square:
        faults.append(f"size = {dict(size)} is not the model's {image_size}")
    return {"resize": "squash", "crop": "center"}


def _is_number(value: Any) -> bool:
    # A comparison takes integers that are too long for a float, and is False for NaN.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
