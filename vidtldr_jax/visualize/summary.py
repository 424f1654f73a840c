"""What stands below the pictures: the plain and the merged answer side by side, and the tokens of every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from vidtldr_jax.visualize.colours import GROUP_COLOURS
from vidtldr_jax.visualize.history import Answer, ClipHistory
from vidtldr_jax.visualize.labels import INK, PAPER, draw_text, fit_text, measure_text

_COLUMN: Final = 250  # pixels that a column needs
_MARGIN: Final = 6
_BAR: Final = tuple(int(part) for part in GROUP_COLOURS[1])


def draw_summary(history: ClipHistory, width: int, *, size: int) -> UInt8[np.ndarray, "Y X 3"]:
    """Draws both answers and the token counts, side by side where the width allows, else one below the other.

    Args:
      history: of the clip.
      width: of the picture, pixels.
      size: of the text, pixels.

    Returns:
      The picture.
    """
    per_row = int(np.clip(width // _COLUMN, 1, 3))
    column = width // per_row
    rows = max(len(history.plain.predictions or ()), 3) + 2
    height = rows * (size + 6) + 2 * _MARGIN
    parts = [
        _draw_lines(describe_answer("plain", history.plain), (column, height), size),
        _draw_lines(describe_answer("merged", history.merged) + _describe_cosine(history), (column, height), size),
        _draw_bars(history, (column, height), size),
    ]
    image = Image.new("RGB", (width, height * -(-len(parts) // per_row)), PAPER)
    for number, part in enumerate(parts):
        image.paste(part, (number % per_row * column, number // per_row * height))
    return np.asarray(image)


def describe_answer(name: str, answer: Answer) -> list[str]:
    """Says in lines what a model costs and answers.

    Args:
      name: of the model.
      answer: its answer.

    Returns:
      A heading, then a line per class; the heading alone without a classifier.
    """
    lines = [f"{name}: {answer.tokens[0]} to {answer.tokens[-1]} tokens, {answer.gmacs:.4g} GMACs"]
    for one in answer.predictions or ():
        lines.append(f"{100 * one['probability']:5.1f} %  {one['label']}")
    return lines


def _describe_cosine(history: ClipHistory) -> list[str]:
    """The pooled outputs' cosine says how far merging moved them, where there is no class to tell it."""
    return [] if history.merged.predictions else [f"cosine with plain: {history.cosine:.4f}"]


def _draw_lines(lines: Sequence[str], shape: tuple[int, int], size: int) -> Image.Image:
    image = Image.new("RGB", shape, PAPER)
    for number, line in enumerate(lines):
        place = (_MARGIN, _MARGIN + (number + 0.5) * (size + 6))
        draw_text(image, place, fit_text(line, size, shape[0] - 2 * _MARGIN), size=size)
    return image


def _draw_bars(history: ClipHistory, shape: tuple[int, int], size: int) -> Image.Image:
    """Draws a bar for the tokens after every layer, and one for those that come in."""
    image = Image.new("RGB", shape, PAPER)
    pen = ImageDraw.Draw(image)
    of_each = " of each frame" if history.num_sequences > 1 else ""
    heading = fit_text(f"tokens{of_each} in, and after each layer", size, shape[0] - 2 * _MARGIN)
    draw_text(image, (_MARGIN, _MARGIN + 0.5 * (size + 6)), heading, size=size)
    counts = history.merged.tokens
    top, bottom = _MARGIN + size + 12, shape[1] - _MARGIN
    step = (shape[0] - 2 * _MARGIN) / len(counts)
    small = size - 3
    has_numbers = measure_text(str(max(counts)), small) + 2 <= step
    ceiling = top + (small + 4 if has_numbers else 0)
    for number, count in enumerate(counts):
        left = _MARGIN + number * step
        peak = bottom - (bottom - ceiling) * count / max(counts)
        pen.rectangle((left, peak, left + max(step - 3, 1), bottom), fill=_BAR if number else INK)
        if has_numbers:
            draw_text(image, (left + (step - 3) / 2, peak - 2), str(count), size=small, anchor="mb")
    return image
