"""Text and legends for pictures, with the font that comes with Pillow."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from vidtldr_jax.trust.harmless import make_harmless
from vidtldr_jax.visualize.colours import GROUP_COLOURS, map_heat

INK: Final = (235, 235, 235)
PAPER: Final = (24, 24, 28)
_SWATCH_GAP: Final = 6
_ENTRY_GAP: Final = 22


def make_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns Pillow's own font."""
    return ImageFont.load_default(size)


def measure_text(text: str, size: int) -> int:
    """Returns the width of a text, pixels."""
    left, _, right, _ = make_font(size).getbbox(make_harmless(text))
    return int(np.ceil(right - left))


def fit_text(text: str, size: int, width: int) -> str:
    """Shortens a text at its end so that it fits into a width."""
    text = make_harmless(text)
    if len(text) <= width and measure_text(text, size) <= width:
        return text
    text = text[: max(width, 0)]  # a letter is a pixel wide at least; measuring very long texts takes long
    while text and measure_text(f"{text}...", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}..."


def draw_text(image: Image.Image, place: tuple[float, float], text: str, *, size: int, anchor: str = "lm") -> None:
    """Writes a text into an image at a place; the anchor is Pillow's (two letters, across and down)."""
    ImageDraw.Draw(image).text(place, make_harmless(text), fill=INK, font=make_font(size), anchor=anchor)


def draw_legend(width: int, *, size: int, has_saliency: bool) -> UInt8[np.ndarray, "Y X 3"]:
    """Draws what the colours mean, in as many lines as the width needs.

    Args:
      width: of the picture, pixels.
      size: of the text, pixels.
      has_saliency: whether the heat map is explained too.

    Returns:
      The picture.
    """
    side = size + 4
    entries = [("merged: one colour per token", _swatch_groups(side)), ("dropped", _swatch_dropped(side))]
    entries += [("on its own", _swatch_alone(side))]
    if has_saliency:
        entries.insert(0, ("saliency, 0 to 1", map_heat(np.tile(np.linspace(0, 1, side * 5), (side, 1)))))
    lines: list[list[tuple[int, str, np.ndarray]]] = [[]]
    at = _SWATCH_GAP
    for text, swatch in entries:
        needed = swatch.shape[1] + _SWATCH_GAP + measure_text(text, size)
        if lines[-1] and at + needed > width:
            lines.append([])
            at = _SWATCH_GAP
        lines[-1].append((at, text, swatch))
        at += needed + _ENTRY_GAP
    height = side + 10
    image = Image.new("RGB", (width, height * len(lines)), PAPER)
    for number, line in enumerate(lines):
        for left, text, swatch in line:
            image.paste(Image.fromarray(swatch), (left, number * height + 5))
            place = (left + swatch.shape[1] + _SWATCH_GAP, number * height + height // 2)
            draw_text(image, place, text, size=size)
    return np.asarray(image)


def _swatch_groups(side: int) -> np.ndarray:
    return np.repeat(np.broadcast_to(GROUP_COLOURS[:4], (side, 4, 3)), side, axis=1)


def _swatch_dropped(side: int) -> np.ndarray:
    swatch = np.full((side, side, 3), 12, np.uint8)
    swatch[np.arange(side)[::-1], np.arange(side)] = 90
    return _frame(swatch)


def _swatch_alone(side: int) -> np.ndarray:
    return _frame(np.full((side, side, 3), 120, np.uint8))


def _frame(swatch: np.ndarray) -> np.ndarray:
    swatch[[0, -1], :] = swatch[:, [0, -1]] = 170
    return swatch
