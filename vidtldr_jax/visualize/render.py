"""Maps and frames -> pixels: panels, the frames of an overlay video, and a strip.

Frames are `[T, Y, X, 3]` uint8 of any size; they are resized smoothly, maps patch by patch. A map has fewer steps in
time than the clip has frames where tubelets are longer than 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from vidtldr_jax.visualize.colours import GROUP_COLOURS, colour_groups, map_heat
from vidtldr_jax.visualize.labels import PAPER, draw_legend, draw_text, fit_text, measure_text
from vidtldr_jax.visualize.maps import DROPPED, LayerMap

_HEAT_SHARE: Final = 0.6  # the rest is the frame, in grey
_TINT_SHARE: Final = 0.5  # the rest is the frame, in grey
_DROPPED_LIGHT: Final = 0.12
_CROSS_LIGHT: Final = 72
_GAP: Final = 4
_VIDEO_TEXT: Final = 15
_STRIP_TEXT: Final = 14


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """All that is drawn of one clip.

    Attributes:
      frames: `[T, Y, X, 3]` uint8, of any size and in the clip's shape.
      group: `[t, y, x]` int, index of the token that holds each patch in the end; -1 where it is dropped.
      layers: the layers whose saliency is shown.
    """

    frames: UInt8[np.ndarray, "T Y X 3"]
    group: Int[np.ndarray, "t y x"]
    layers: tuple[LayerMap, ...] = ()

    def __post_init__(self) -> None:
        frames, group = self.frames, self.group
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(
                f"Drawing: frames are [T, Y, X, 3] uint8; {frames.dtype} of shape {frames.shape} came; "
                "pass the pixels before normalisation."
            )
        shapes = [group.shape, *(layer.saliency.shape for layer in self.layers)]
        if len(group.shape) != 3 or len(set(shapes)) > 1 or len(frames) % group.shape[0]:
            raise ValueError(
                f"Drawing: maps are [t, y, x], all alike, and t divides {len(frames)} frames; shapes {shapes} came; "
                "pass maps of this clip."
            )

    @property
    def tubelet(self) -> int:
        """Frames that share one step of the maps."""
        return len(self.frames) // self.group.shape[0]


def draw_saliency(frame: UInt8[np.ndarray, "Y X 3"], saliency: Float[np.ndarray, "y x"]) -> UInt8[np.ndarray, "Y X 3"]:
    """Lays the heat of every patch over a grey frame; patches dropped before (NaN) are nearly black.

    Args:
      frame: the pixels; rows and columns are multiples of the map's.
      saliency: of every patch, in [0, 1].

    Returns:
      The panel.
    """
    grey = frame.mean(-1, keepdims=True)
    values = _enlarge(saliency, frame.shape)
    blend = grey * (1 - _HEAT_SHARE) + map_heat(values) * np.float32(_HEAT_SHARE)
    panel = np.where(np.isnan(values)[..., None], grey * _DROPPED_LIGHT, blend)
    return np.rint(panel).astype(np.uint8)


def draw_merge_map(
    frame: UInt8[np.ndarray, "Y X 3"], group: Int[np.ndarray, "y x"], colour: Int[np.ndarray, "y x"]
) -> UInt8[np.ndarray, "Y X 3"]:
    """Shows what became of every patch: tinted and bordered if merged, dark and crossed out if dropped, else untouched.

    Args:
      frame: the pixels; rows and columns are multiples of the map's.
      group: index of the token that holds each patch; -1 where it is dropped.
      colour: of every patch, as `colour_groups` returns it.

    Returns:
      The panel. Patches of one group that touch have no border between them.
    """
    large_group, large_colour = _enlarge(group, frame.shape), _enlarge(colour, frame.shape)
    is_merged = (large_colour != DROPPED)[..., None]
    inks = GROUP_COLOURS[np.maximum(large_colour, 0)].astype(np.float32)
    grey = frame.mean(-1, keepdims=True)
    panel = np.where(is_merged, grey * (1 - _TINT_SHARE) + inks * np.float32(_TINT_SHARE), frame)
    dropped = np.where(_find_diagonals(frame.shape, group.shape)[..., None], _CROSS_LIGHT, grey * _DROPPED_LIGHT)
    panel = np.where((large_group == DROPPED)[..., None], dropped, panel)
    width = max(min(2, frame.shape[0] // group.shape[0] // 4), frame.shape[0] // group.shape[0] // 14, 1)
    border = _find_borders(large_group, width)[..., None] & is_merged
    return np.rint(np.where(border, inks, panel)).astype(np.uint8)


def draw_overlay_frames(drawing: Drawing, *, height: int = 256) -> Iterator[UInt8[np.ndarray, "Y X 3"]]:
    """Draws the frames of a video: original, saliency of each layer, and merge map, side by side.

    Args:
      drawing: what is drawn.
      height: of a panel, at least; it grows to a whole number of pixels per patch.

    Yields:
      One picture per frame of the clip, with even sides, captions above and the legend below.
    """
    size = _find_panel_size(drawing, height)
    frames = _resize_frames(drawing.frames, size)
    captions = ["frame", *(f"saliency, layer {layer.layer}" for layer in drawing.layers), "merged and dropped"]
    width = len(captions) * (size[1] + _GAP) - _GAP
    header = Image.new("RGB", (width, _VIDEO_TEXT + 11), PAPER)
    for number, caption in enumerate(captions[1:], start=1):
        text = fit_text(caption, _VIDEO_TEXT, size[1] - 8)
        draw_text(header, (number * (size[1] + _GAP) + 6, header.height / 2), text, size=_VIDEO_TEXT)
    legend = draw_legend(width, size=_VIDEO_TEXT - 1, has_saliency=bool(drawing.layers))
    colour = colour_groups(drawing.group)
    spacer = np.full((size[0], _GAP, 3), PAPER, np.uint8)
    for index, frame in enumerate(frames):
        panels = _draw_panels(drawing, frame, index, colour)
        row = np.concatenate([part for panel in panels for part in (panel, spacer)][:-1], axis=1)
        top = header.copy()
        caption = f"{captions[0]} {index + 1} of {len(frames)}"
        draw_text(top, (6, top.height / 2), caption, size=_VIDEO_TEXT)
        picture = np.concatenate([np.asarray(top), row, legend])
        odd = [(0, side % 2) for side in picture.shape[:2]]
        yield np.pad(picture, (*odd, (0, 0)), mode="edge")


def draw_strip(drawing: Drawing, *, height: int = 128, max_columns: int = 8) -> UInt8[np.ndarray, "Y X 3"]:
    """Draws one picture of a clip: frames as columns; rows are frame, saliency of each layer, and merge map.

    Args:
      drawing: what is drawn.
      height: of a panel, at least; it grows to a whole number of pixels per patch.
      max_columns: a longer clip shows so many of its frames, evenly spread.

    Returns:
      The picture, with labels and a legend.
    """
    size = _find_panel_size(drawing, height)
    count = min(max_columns, len(drawing.frames))
    indices = np.linspace(0, len(drawing.frames) - 1, count).round().astype(int).tolist()
    frames = _resize_frames(drawing.frames[indices], size)
    names = [("frame",), *(("saliency,", f"layer {layer.layer}") for layer in drawing.layers), ("merged,", "dropped")]
    margin = max(measure_text(word, _STRIP_TEXT) for name in names for word in name) + 2 * _GAP + 8
    top = _STRIP_TEXT + 12
    rows, columns = (size[0] + _GAP), (size[1] + _GAP)
    image = Image.new("RGB", (margin + columns * count, top + rows * len(names)), PAPER)
    for number, name in enumerate(names):
        for line, word in enumerate(name):
            middle = top + number * rows + size[0] / 2 + (line - (len(name) - 1) / 2) * (_STRIP_TEXT + 4)
            draw_text(image, (_GAP + 4, middle), word, size=_STRIP_TEXT)
    colour = colour_groups(drawing.group)
    for column, (index, frame) in enumerate(zip(indices, frames)):
        left = margin + column * columns
        draw_text(image, (left + size[1] / 2, top / 2), str(index + 1), size=_STRIP_TEXT, anchor="mm")
        for row, panel in enumerate(_draw_panels(drawing, frame, index, colour)):
            image.paste(Image.fromarray(panel), (left, top + row * rows))
    legend = draw_legend(image.width, size=_STRIP_TEXT, has_saliency=bool(drawing.layers))
    return np.concatenate([np.asarray(image), legend])


def _draw_panels(drawing: Drawing, frame: np.ndarray, index: int, colour: np.ndarray) -> list[np.ndarray]:
    step = index // drawing.tubelet
    heats = [draw_saliency(frame, layer.saliency[step]) for layer in drawing.layers]
    return [frame, *heats, draw_merge_map(frame, drawing.group[step], colour[step])]


def _find_panel_size(drawing: Drawing, height: int) -> tuple[int, int]:
    _, rows, columns = drawing.group.shape
    pixels = -(-height // rows)
    return rows * pixels, columns * pixels


def _resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if frames.shape[1:3] == size:
        return frames
    large = [Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC) for frame in frames]
    return np.stack([np.asarray(frame) for frame in large])


def _enlarge(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return values.repeat(shape[0] // values.shape[0], axis=0).repeat(shape[1] // values.shape[1], axis=1)


def _find_diagonals(shape: tuple[int, ...], grid: tuple[int, ...]) -> np.ndarray:
    """Marks a line from the lower left to the upper right corner of every patch, so that dark frames show it too."""
    height, width = shape[0] // grid[0], shape[1] // grid[1]
    rows, columns = np.arange(shape[0])[:, None] % height, np.arange(shape[1]) % width
    return np.abs(rows * width + (columns + 1) * height - height * width) < max(height, width)


def _find_borders(group: np.ndarray, width: int) -> np.ndarray:
    """Marks pixels that lie within a width of another group or of the frame's edge."""
    padded = np.pad(group, width, constant_values=DROPPED - 1)
    rows, columns = group.shape
    border = np.zeros(group.shape, bool)
    for shift in range(1, width + 1):
        for down, right in ((shift, 0), (-shift, 0), (0, shift), (0, -shift)):
            moved = padded[width + down : width + down + rows, width + right : width + right + columns]
            border |= moved != group
    return border
