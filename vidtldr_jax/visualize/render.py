"""A clip's history -> pixels: the frames of an overlay video, and a strip.

Pictures are resized smoothly, maps patch by patch. A map has fewer steps in time than the clip has frames where
tubelets are longer than 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vidtldr_jax.visualize.colours import colour_groups
from vidtldr_jax.visualize.history import ClipHistory
from vidtldr_jax.visualize.labels import PAPER, draw_legend, draw_text, fit_text, measure_text
from vidtldr_jax.visualize.maps import LayerMap
from vidtldr_jax.visualize.panels import draw_merge_map, draw_reconstruction, draw_saliency
from vidtldr_jax.visualize.reconstruct import reconstruct_frames
from vidtldr_jax.visualize.summary import draw_summary

_GAP: Final = 4
_VIDEO_TEXT: Final = 15
_STRIP_TEXT: Final = 14
MOST_LAYERS: Final = 3


class _Panel(NamedTuple):
    """A column of the video, a row of the strip.

    Attributes:
      name: lines of its caption.
      draw: from the number of a frame to its pixels.
    """

    name: tuple[str, ...]
    draw: Callable[[int], np.ndarray]


def draw_overlay_frames(
    history: ClipHistory, *, height: int = 256, most_layers: int = MOST_LAYERS
) -> Iterator[UInt8[np.ndarray, "Y X 3"]]:
    """Draws the frames of a video: original, saliency of layers, merge map and the groups' means, side by side.

    Args:
      history: of the clip.
      height: of a panel, pixels, at least; it grows to a whole number of pixels per patch.
      most_layers: of how many layers the saliency is shown at most; see `ClipHistory.pick_layers`.

    Yields:
      One picture per frame of the clip, with even sides: captions above; legend, both answers and token counts below.
    """
    size = _find_panel_size(history, height)
    panels = _make_panels(history, size, most_layers)
    width = len(panels) * (size[1] + _GAP) - _GAP
    header = Image.new("RGB", (width, _VIDEO_TEXT + 11), PAPER)
    for number, panel in enumerate(panels[1:], start=1):
        text = fit_text(" ".join(panel.name), _VIDEO_TEXT, size[1] - 8)
        draw_text(header, (number * (size[1] + _GAP) + 6, header.height / 2), text, size=_VIDEO_TEXT)
    below = _draw_below(history, width, size=_VIDEO_TEXT - 1)
    spacer = np.full((size[0], _GAP, 3), PAPER, np.uint8)
    for index in range(len(history.frames)):
        row = np.concatenate([part for panel in panels for part in (panel.draw(index), spacer)][:-1], axis=1)
        top = header.copy()
        caption = f"{panels[0].name[0]} {index + 1} of {len(history.frames)}"
        draw_text(top, (6, top.height / 2), caption, size=_VIDEO_TEXT)
        picture = np.concatenate([np.asarray(top), row, below])
        odd = [(0, side % 2) for side in picture.shape[:2]]
        yield np.pad(picture, (*odd, (0, 0)), mode="edge")


def draw_strip(
    history: ClipHistory, *, height: int = 128, max_columns: int = 8, most_layers: int = MOST_LAYERS
) -> UInt8[np.ndarray, "Y X 3"]:
    """Draws one picture of a clip: frames as columns; rows are frame, saliency of layers, merge map, groups' means.

    Args:
      history: of the clip.
      height: of a panel, pixels, at least; it grows to a whole number of pixels per patch.
      max_columns: a longer clip shows so many of its frames, evenly spread.
      most_layers: of how many layers the saliency is shown at most; see `ClipHistory.pick_layers`.

    Returns:
      The picture, with labels, a legend, both answers and token counts.
    """
    size = _find_panel_size(history, height)
    panels = _make_panels(history, size, most_layers)
    count = min(max_columns, len(history.frames))
    indices = np.linspace(0, len(history.frames) - 1, count).round().astype(int).tolist()
    margin = max(measure_text(word, _STRIP_TEXT) for panel in panels for word in panel.name) + 2 * _GAP + 8
    top = _STRIP_TEXT + 12
    rows, columns = (size[0] + _GAP), (size[1] + _GAP)
    image = Image.new("RGB", (margin + columns * count, top + rows * len(panels)), PAPER)
    for row, panel in enumerate(panels):
        for line, word in enumerate(panel.name):
            middle = top + row * rows + size[0] / 2 + (line - (len(panel.name) - 1) / 2) * (_STRIP_TEXT + 4)
            draw_text(image, (_GAP + 4, middle), word, size=_STRIP_TEXT)
        for column, index in enumerate(indices):
            image.paste(Image.fromarray(panel.draw(index)), (margin + column * columns, top + row * rows))
    for column, index in enumerate(indices):
        place = (margin + column * columns + size[1] / 2, top / 2)
        draw_text(image, place, str(index + 1), size=_STRIP_TEXT, anchor="mm")
    return np.concatenate([np.asarray(image), _draw_below(history, image.width, size=_STRIP_TEXT)])


def _make_panels(history: ClipHistory, size: tuple[int, int], most_layers: int) -> Sequence[_Panel]:
    """Lists the panels; what is alike for all frames is made here, once."""
    frames = _resize_frames(history.frames, size)
    colour = colour_groups(history.group)
    means = reconstruct_frames(frames, history.group, history.weight)

    def find_step(index: int) -> int:
        return index // history.tubelet

    def show_saliency(index: int, layer: LayerMap) -> np.ndarray:
        return draw_saliency(frames[index], layer.saliency[find_step(index)])

    def show_merging(index: int) -> np.ndarray:
        return draw_merge_map(frames[index], history.group[find_step(index)], colour[find_step(index)])

    def show_means(index: int) -> np.ndarray:
        return draw_reconstruction(frames[index], means[index], history.group[find_step(index)])

    heats = [
        _Panel(("saliency,", f"layer {layer.layer}"), functools.partial(show_saliency, layer=layer))
        for layer in history.pick_layers(most_layers)
    ]
    merging, mean = _Panel(("merged,", "dropped"), show_merging), _Panel(("mean of", "each group"), show_means)
    return [_Panel(("frame",), frames.__getitem__), *heats, merging, mean]


def _draw_below(history: ClipHistory, width: int, *, size: int) -> np.ndarray:
    legend = draw_legend(width, size=size, has_saliency=bool(history.layers))
    return np.concatenate([legend, draw_summary(history, width, size=size)])


def _find_panel_size(history: ClipHistory, height: int) -> tuple[int, int]:
    _, rows, columns = history.grid
    pixels = -(-height // rows)
    return rows * pixels, columns * pixels


def _resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if frames.shape[1:3] == size:
        return frames
    large = [Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC) for frame in frames]
    return np.stack([np.asarray(frame) for frame in large])
