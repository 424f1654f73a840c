"""How a clip is made for a model: which frames, what size, which crop, what normalisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from vidtldr_jax.trust.fields import check_choices, check_counts, is_finite, list_fields, list_given, read_fields

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "sampling": ("middle", "uniform", "dense", "windows", "starts"),
    "resize": ("squash", "shortest_edge"),
    "kernel": ("bicubic", "bicubic_antialias", "bilinear", "bilinear_antialias"),
    "crop": ("center", "three", "three_up"),
}
NUM_COLOURS: Final = 3  # red, green and blue: what videos are read as
_COUNTS: Final = ("num_frames", "image_size", "stride", "num_clips")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What happens to a video before a model sees it.

    Attributes:
      num_frames: frames of a clip.
      image_size: rows and columns of a frame in the end, pixels.
      sampling: "middle" of equal segments (UMT), "starts" of them (transformers), "uniform" from first to last,
        "dense": a window of frames `stride` apart (VideoMAE, Kinetics), or "windows": the same as Scenic places it.
      stride: distance of a clip's frames; only "dense" and "windows" use it.
      num_clips: clips taken from a video.
      resize: "squash" to the square whatever the aspect ratio, or "shortest_edge": the aspect ratio stays, then a crop.
      shortest_edge: what the shorter side becomes, pixels; None for image_size. Only for resize "shortest_edge".
      longest_edge: what the longer side becomes at most, pixels, where the shorter one gets shorter than shortest_edge
        for it; what is missing of a square is black. None for no such limit. Only for resize "shortest_edge".
      kernel: how pixels are interpolated, see `vidtldr_jax.data.resize`.
      crop: "center", or "three" crops along the longer side; "three_up" rounds the place of the middle one up (Scenic,
        SlowFast). Three only for resize "shortest_edge".
      mean: per colour, subtracted from values in [0, 1].
      std: per colour, divided by after that.
      first_seconds: only what is shown before this time is sampled from; None for all.
    """

    num_frames: int
    image_size: int
    sampling: Literal["middle", "starts", "uniform", "dense", "windows"] = "middle"
    stride: int = 1
    num_clips: int = 1
    resize: Literal["squash", "shortest_edge"] = "squash"
    shortest_edge: int | None = None
    longest_edge: int | None = None
    kernel: Literal["bicubic", "bicubic_antialias", "bilinear", "bilinear_antialias"] = "bicubic"
    crop: Literal["center", "three", "three_up"] = "center"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    first_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        faults = check_counts(self, _COUNTS) + check_choices(self, _CHOICES)
        for name in ("mean", "std"):
            if not _is_colour(getattr(self, name)):
                faults.append(f"{name} = {getattr(self, name)!r} is not three finite numbers")
            elif name == "std" and min(self.std) <= 0:
                faults.append(f"std = {self.std!r} is not above 0")
        if self.first_seconds is not None and not (is_finite(self.first_seconds) and self.first_seconds > 0):
            faults.append(f"first_seconds = {self.first_seconds!r} is not a finite number above 0")
        if not faults:
            faults = self._find_misfits()
        if faults:
            raise ValueError(f"{'; '.join(faults)}; change these fields.")

    def _find_misfits(self) -> list[str]:
        if self.resize == "squash":
            edges = ("shortest_edge", "longest_edge")
            faults = [f"{name} = {getattr(self, name)!r}" for name in edges if getattr(self, name) is not None]
            faults += [f'crop = "{self.crop}"'] if self.num_crops > 1 else []
            return [f'{fault} needs resize = "shortest_edge"' for fault in faults]
        faults = check_counts(self, list_given(self, ("shortest_edge", "longest_edge")))
        if faults:
            return faults
        if self.shortest_edge is not None and self.shortest_edge < self.image_size:
            return [f"shortest_edge = {self.shortest_edge} is below image_size = {self.image_size}"]
        return []

    @property
    def num_crops(self) -> int:
        """Squares that are cut out of a frame."""
        return 1 if self.crop == "center" else 3

    @property
    def num_views(self) -> int:
        """Clips times crops."""
        return self.num_clips * self.num_crops

    def take_one_view(self) -> Self:
        """Returns the same for one clip, from the middle, and one crop, at the centre."""
        return dataclasses.replace(self, num_clips=1, crop="center")

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain data for JSON."""
        return list_fields(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Builds a Preprocessing from plain data.

        Args:
          fields: what `to_dict` returned.

        Returns:
          The Preprocessing.

        Raises:
          ValueError: unknown or missing fields, all named together, or values that don't fit.
        """
        return read_fields(cls, fields, place="the preprocessing in config.json")


def _is_colour(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(is_finite(part) for part in value)
