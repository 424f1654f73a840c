"""Hugging Face's file for a processor of images or videos -> fields of a Preprocessing.

Every field of such a file is used, refused, or named in a note (`list_notes`), as transformers 5 understands it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from checkpoints_convert.errors import ConversionError, show_value
from vidtldr_jax.trust.fields import is_count

_KERNELS: Final = {2: "bilinear_antialias", 3: "bicubic_antialias"}  # Pillow's numbers
_FLAGS: Final = (
    *("do_resize", "do_center_crop", "do_rescale", "do_normalize"),
    *("offset", "do_sample_frames", "do_pad", "default_to_square"),
)
_ANY: Final[dict[str, Any]] = {
    **dict.fromkeys(_FLAGS[:4], True),
    **dict.fromkeys(_FLAGS[4:], False),
    "rescale_factor": 1 / 255,
}
PROCESSOR_ORIGIN: Final = "the processor's file"
_LARGEST: Final = 1e30
_HALF: Final = {"image_mean": 0.5, "image_std": 0.5, "resample": 2}
# What transformers' classes do where their file says nothing.
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
    "VJEPA2": {
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "crop_size": 256,
        "resample": 2,
    },
}
_CLASS: Final = re.compile(
    r"(Vivit|VideoMAE|CLIP|VJEPA2(?=Video))(ImageProcessor|FeatureExtractor|VideoProcessor)(Fast|Pil)?"
)
_VJEPA2: Final = "VJEPA2VideoProcessor"
_CLASS_ENTRIES: Final = ("video_processor_type", "image_processor_type", "feature_extractor_type")
_USED: Final = frozenset(
    (*_ANY, "size", "resample", "image_mean", "image_std", "crop_size", "num_frames", "fps", "pad_size")
)
# What transformers does with these is about arrays and devices, not about the pixels of a video in colour.
_WITHOUT_EFFECT: Final = frozenset(
    (
        *("do_convert_rgb", "data_format", "input_data_format", "device", "return_tensors", "return_metadata"),
        *("video_metadata", "disable_grouping", "image_seq_length", "model_input_names", "transformers_version"),
        *("processor_class", "auto_map", "_processor_class", "_valid_processor_keys", *_CLASS_ENTRIES),
    )
)
_SIZES: Final = ({"shortest_edge"}, {"shortest_edge", "longest_edge"}, {"height", "width"})


def read_processor(
    facts: Mapping[str, Any],
    preprocessor: Mapping[str, Any] | None,
    *,
    sampling: str = "dense",
    stride: int = 4,
    kernel: str = "bilinear_antialias",
) -> tuple[dict[str, Any], str]:
    """Reads what an image or video processor does to a video.

    Args:
      facts: of the model; image_size and num_frames, where they are known, are what clips must end as.
      preprocessor: the file; None leaves mean and std open.
      sampling: how frames are picked where the file leaves that to the caller.
      stride: frames from one sampled frame to the next, likewise.
      kernel: of resizing where the file names none, and no class.

    Returns:
      Fields of a Preprocessing, and where they come from. Without `sampling` where the file takes as many frames as a
      video has.

    Raises:
      ConversionError: the file asks for something that is not built, has values of a wrong kind, or ends at another
        size or number of frames than the model's.
    """
    picked = {"sampling": sampling, "stride": stride}
    image_size = facts.get("image_size")
    if preprocessor is None:
        fields = {"resize": "shortest_edge", "shortest_edge": image_size, "kernel": kernel}
        return {**picked, **fields, "crop": "center"}, "the family's evaluation"
    asked = _fill_in(preprocessor, image_size, kernel)
    faults = [*_find_unknown(preprocessor, asked), *_find_odd_values(asked)]
    fields = {} if faults else {**_read_colours(asked, faults), **_read_sizes(asked, image_size, faults)}
    fields |= {} if faults else _read_sampling(asked, facts.get("num_frames"), picked, faults)
    if faults:
        raise ConversionError.collect(
            "frames are resized and cropped to the model's square",
            faults,
            "fix the processor's file",
        )
    return {**fields, "kernel": _KERNELS[asked["resample"]]}, PROCESSOR_ORIGIN


def list_notes(preprocessor: Mapping[str, Any]) -> list[str]:
    """Names the fields of a processor's file that nothing here follows, for users to know.

    Args:
      preprocessor: the file.

    Returns:
      One line for each; none for fields that have no effect on the pixels of a video.
    """
    said = {name: value for name, value in preprocessor.items() if value is not None}
    who = _name_class(said) or "transformers"
    notes = [
        f"{show_value(name)[1:-1]} = {show_value(value)} in the processor's file is not used, as {who} does not use it"
        for name, value in said.items()
        if name not in _USED and name not in _WITHOUT_EFFECT and value is not False
    ]
    if not said.get("do_sample_frames"):
        notes += [
            f"{name} = {show_value(said[name])} in the processor's file is not used: do_sample_frames is off, so that "
            "frames are picked as the family's evaluation does"
            for name in ("num_frames", "fps")
            if name in said
        ]
    notes += _list_notes_of_class(said)
    if said.get("do_pad"):
        notes.append("do_pad = True changes nothing: frames end as squares of one size")
    return notes


def _list_notes_of_class(said: Mapping[str, Any]) -> list[str]:
    """Names the fields that have a meaning, but none in the class of this file."""
    who, size, offset = _name_class(said), said.get("size"), said.get("offset")
    notes = []
    if _is_vivits_image(who) and isinstance(size, Mapping) and size.get("longest_edge") is not None:
        notes.append(f"longest_edge = {show_value(size['longest_edge'])} is not used, as {who} does not use it")
    if who == "VivitVideoProcessor" and offset is False:
        notes.append(f"offset = False is not used: {who} always takes 1 off")
    if who and not who.startswith("Vivit") and offset is True:
        notes.append(f"offset = True is not used, as {who} does not use it")
    if who == _VJEPA2 and size not in (None, _find_vjepas_size(said.get("crop_size", 256))):
        notes.append(f"size is not used: {who} makes the shorter side 256 / 224 of crop_size")
    return notes


def _name_class(said: Mapping[str, Any]) -> str:
    return next((said[entry] for entry in _CLASS_ENTRIES if isinstance(said.get(entry), str)), "")


def _fill_in(preprocessor: Mapping[str, Any], image_size: Any, kernel: str) -> dict[str, Any]:
    """Adds what the class does where the file says nothing; null turns a flag off and says nothing elsewhere."""
    said = {name: value for name, value in preprocessor.items() if value is not None}
    said |= {name: False for name in _FLAGS if preprocessor.get(name, "") is None}
    name = _name_class(said)
    known = _CLASS.fullmatch(name)
    by_class = _BY_CLASS[known[1]] if known else {"do_center_crop": not name}
    resample = next(number for number, own in _KERNELS.items() if own == kernel)
    asked = {**_ANY, "size": image_size, "crop_size": image_size, "resample": resample, **by_class, **said}
    if name and not _is_vivits_image(name):  # no other class has an offset to choose
        asked["offset"] = name == "VivitVideoProcessor" and asked["do_rescale"] is True
    if name == _VJEPA2:
        asked["size"] = _find_vjepas_size(asked["crop_size"])
    square = ("height", "width")
    asked["size"] = _name_lengths(asked["size"], square if asked["default_to_square"] is True else ("shortest_edge",))
    asked["crop_size"] = _name_lengths(asked["crop_size"], square)
    if _is_vivits_image(name) and isinstance(asked["size"], dict) and "shortest_edge" in asked["size"]:
        asked["size"].pop("longest_edge", None)  # this class does not use it
    return asked


def _name_lengths(size: Any, names: Sequence[str]) -> Any:
    """Returns a size as lengths by name: one number is that of each, and null says nothing."""
    if is_count(size):
        return dict.fromkeys(names, size)
    if isinstance(size, Mapping):
        return {name: length for name, length in size.items() if length is not None}
    return size


def _is_vivits_image(name: str) -> bool:
    return name.startswith(("VivitImage", "VivitFeature"))


def _find_vjepas_size(crop_size: Any) -> dict[str, int] | None:
    """Returns the size that V-JEPA 2's class takes, whatever size its file says."""
    side: Any = crop_size.get("height") if isinstance(crop_size, Mapping) else crop_size
    return {"shortest_edge": side * 256 // 224} if is_count(side) else None


def _find_unknown(preprocessor: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Lists what a class that is not known here leaves open, or says in fields that are not known."""
    name = _name_class(preprocessor)
    if not name or _CLASS.fullmatch(name):
        return []
    shown = show_value(name)[1:-1]
    needed = {
        "size": True,
        "resample": True,
        "image_mean": asked["do_normalize"],
        "image_std": asked["do_normalize"],
        "rescale_factor": asked["do_rescale"],
        "default_to_square": is_count(preprocessor.get("size")),
    }
    said = {field for field, value in preprocessor.items() if value is not None and value is not False}
    open_fields = [field for field, is_needed in needed.items() if is_needed and preprocessor.get(field) is None]
    others = sorted(said - _USED - _WITHOUT_EFFECT, key=str)
    return [
        *(f"{shown} is not known, and its file says no {field}" for field in open_fields),
        *(f"{show_value(field)[1:-1]} of {shown} is not built" for field in others),
    ]


def _find_odd_values(asked: Mapping[str, Any]) -> list[str]:
    faults = [f"{name} is neither true nor false" for name in _FLAGS if not isinstance(asked[name], bool)]
    given = {name: value for name, value in asked.items() if value is not None}
    if not _is_above_0(asked["rescale_factor"]):
        faults.append("rescale_factor is not a number above 0")
    for name in ("image_mean", "image_std"):
        if name in given and not _is_number(given[name]) and not _are_three(given[name]):
            faults.append(f"{name} is neither a number nor three")
    resample = asked["resample"]
    if not isinstance(resample, int):
        faults.append(f"resample = {type(resample).__name__} is none of {_KERNELS}")
    elif resample not in _KERNELS:
        faults.append(f"resample = {resample} is none of {_KERNELS}")
    for name in ("size", "crop_size"):
        if name in given and not _are_lengths(given[name]):
            faults.append(f"{name} is neither a number of pixels nor such numbers by name")
    if "num_frames" in given and not is_count(given["num_frames"]):
        faults.append(f"num_frames = {show_value(given['num_frames'])} is not a number of frames")
    if "fps" in given and not _is_above_0(given["fps"]):
        faults.append(f"fps = {show_value(given['fps'])} is not a number above 0")
    return faults


def _is_above_0(value: Any) -> bool:
    return _is_number(value) and value > 0


def _are_three(values: Any) -> bool:
    return isinstance(values, list | tuple) and len(values) == 3 and all(map(_is_number, values))


def _are_lengths(values: Any) -> bool:
    return isinstance(values, Mapping) and all(map(is_count, values.values()))


def _read_colours(asked: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    """Folds rescaling, the offset and normalising into one mean and one standard deviation of values in [0, 1]."""
    if asked["offset"] and not asked["do_rescale"]:
        faults.append("offset needs do_rescale")
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
        faults.append("do_resize or size leaves frames at their own size")
        return {}
    if crop is not None and dict(crop) != square:
        faults.append(f"crop_size = {_show_sizes(crop)} is not the model's {image_size}")
    padded = asked.get("pad_size") if asked["do_pad"] else None
    if padded is not None and padded not in (image_size, square):
        faults.append("do_pad and pad_size end at another size than the model's")
    if set(size) not in _SIZES:
        faults.append(f"size = {_show_sizes(size)} is not built, only a square, shortest_edge and longest_edge")
    elif "shortest_edge" in size:
        if crop is None:
            faults.append("do_center_crop is off, so frames would not be square")
        longest = {"longest_edge": size["longest_edge"]} if "longest_edge" in size else {}
        return {"resize": "shortest_edge", "shortest_edge": size["shortest_edge"], **longest, "crop": "center"}
    elif dict(size) != square:
        faults.append(f"size = {_show_sizes(size)} is not the model's {image_size}")
    return {"resize": "squash", "crop": "center"}


def _read_sampling(
    asked: Mapping[str, Any], num_frames: Any, picked: Mapping[str, Any], faults: list[str]
) -> dict[str, Any]:
    """Reads which frames are taken: by transformers, if the file says so, else as the caller does."""
    if not asked["do_sample_frames"]:
        return dict(picked)
    wanted, fps = asked.get("num_frames"), asked.get("fps")
    if wanted is not None and fps is not None:
        faults.append("num_frames and fps exclude each other")
    if wanted is None:
        return {"stride": 1}
    if num_frames is not None and wanted != num_frames:
        faults.append(f"num_frames = {wanted} is not the model's {num_frames}")
    return {"sampling": "starts", "stride": 1}


def _show_sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{show_value(name)[1:-1]} {length}" for name, length in list(sizes.items())[:4])


def _is_number(value: Any) -> bool:
    # A comparison takes integers that are too long for a float, and is False for NaN.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
