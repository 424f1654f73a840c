"""Draws the pictures of docs/operator.md from the shipped model and one of its clips.

python docs/pictures/make_pictures.py                      # writes docs/images/operator-*.png; seconds on a CPU
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, Final, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

import vidtldr_jax as vt
from vidtldr_jax import ops
from vidtldr_jax.data import read_frames
from vidtldr_jax.inference.load import find_sample_clip
from vidtldr_jax.visualize import draw_merge_map, draw_saliency, spread_groups, write_image
from vidtldr_jax.visualize.colours import colour_groups, map_heat
from vidtldr_jax.visualize.labels import PAPER, draw_text, measure_text
from vidtldr_jax.visualize.maps import count_members

IMAGES: Final = Path(__file__).resolve().parent.parent / "images"
CLIP: Final = "coming_together"
SCHEDULE: Final = "100,40"
_PANEL: Final = 132
_GAP: Final = 4
_TEXT: Final = 14
_SOURCE: Final = (230, 159, 0)
_DESTINATION: Final = (0, 114, 178)


class Look(NamedTuple):
    """What the first block saw and decided; one clip, N tokens on a grid.

    Attributes:
      grid: moments, rows and columns of patches.
      frames: `[t, Y, X, 3]` uint8, one for each moment.
      attention: `[N, N]`, mean over heads.
      sharpness: `[N]`, negative entropy of each row.
      saliency: `[N]`.
      plan: who is absorbed by whom.
      groups: `[t, y, x]` after each reduction, index of the token that holds each patch.
    """

    grid: tuple[int, int, int]
    frames: np.ndarray
    attention: np.ndarray
    sharpness: np.ndarray
    saliency: np.ndarray
    plan: ops.MergePlan
    groups: tuple[np.ndarray, ...]


def look_inside() -> Look:
    """Runs the shipped model on its clip and keeps what the first block computes on the way."""
    model = vt.load_model("moving-objects", schedule=SCHEDULE)
    path = find_sample_clip(CLIP)
    config, r = model.config, model.schedule.r

    def run(params: Any, clip: jax.Array) -> tuple[Any, ...]:
        seen: dict[str, Any] = {}

        def watch(next_call: Any, arguments: Any, fields: Any, context: Any) -> Any:
            result = next_call(*arguments, **fields)
            if context.module.path[:2] == ("encoder", "block_0"):
                seen[context.module.name] = result
            if context.module.name == "block_0":
                seen["before"] = arguments[0]
            return result

        with nn.intercept_methods(watch):
            trace = vt.models.VideoViT(config, r=r).apply({"params": params}, clip, trace=True).trace
        query, key = (
            seen[name].reshape(1, -1, config.num_heads, config.dim // config.num_heads) for name in ("query", "key")
        )
        logits = jnp.einsum("bqhc,bkhc->bhqk", query, key) * query.shape[-1] ** -0.5
        attention = jax.nn.softmax(logits).mean(1)  # [1, N, N]
        sharpness = ops.negative_entropy(attention)
        plan = ops.match_tokens(seen["before"].tokens + seen["attn"][0], r=r[0])
        return attention, sharpness, ops.normalise_sharpness(sharpness), plan, trace.steps[1].source, trace.source

    found = jax.jit(run)(model.params, vt.read_clip(path, model.preprocessing)[None])
    attention, sharpness, saliency, plan, *sources = jax.tree.map(lambda part: np.asarray(part)[0], found)
    large = dataclasses.replace(model.preprocessing, image_size=_PANEL)
    frames = read_frames(path, large).frames[0][1 :: config.tubelet_size]
    groups = tuple(spread_groups(source, grid=config.grid) for source in sources)
    return Look(config.grid, frames, attention, sharpness, saliency, plan, groups)


def draw_attention(look: Look) -> np.ndarray:
    """Draws where a sharp and a blurred token look, and the saliency that comes of it."""
    sharp, blurred = int(look.sharpness.argmax()), int(look.sharpness.argmin())
    rows = [("frame", list(look.frames))]
    for kind, token in (("a sharp", sharp), ("a blurred", blurred)):
        largest = look.attention[token].max()
        name = f"{kind}\ntoken's\nattention,\nup to {largest:.2f}"
        attention = look.attention[token].reshape(look.grid) / largest
        panels = [draw_saliency(frame, part) for frame, part in zip(look.frames, attention)]
        moment, row, column = np.unravel_index(token, look.grid)
        panels[moment] = _draw_box(panels[moment], row, column, look.grid)
        rows.append((name, panels))
    sharpness = (look.sharpness - look.sharpness.min()) / np.ptp(look.sharpness)
    for name, values in (("sharpness", sharpness), ("saliency", look.saliency)):
        heats = values.reshape(look.grid)
        rows.append((name, [draw_saliency(frame, heat) for frame, heat in zip(look.frames, heats)]))
    return _lay_out(rows, "0 to 1; attention is scaled to its largest. The box is the token that looks.")


def draw_matching(look: Look) -> np.ndarray:
    """Draws sources and destinations, and a line for every source that is absorbed."""
    t, y, x = look.grid
    scale, across = 2, 4
    side = _PANEL * scale
    sheet = Image.new("RGB", (across * (side + _GAP) - _GAP, (t // across) * (side + _GAP) + 26), PAPER)
    ink = ImageDraw.Draw(sheet)

    def find_corner(token: int) -> tuple[float, float]:
        moment, row, column = np.unravel_index(token, look.grid)
        return (moment % across) * (side + _GAP) + column * side / x, moment // across * (side + _GAP) + row * side / y

    for moment, frame in enumerate(look.frames):
        large = Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC).convert("L").convert("RGB")
        dark = Image.fromarray((np.asarray(large) * 0.6).astype(np.uint8))
        sheet.paste(dark, ((moment % across) * (side + _GAP), moment // across * (side + _GAP)))
    half = np.array([side / x / 2, side / y / 2])
    absorbed = set(look.plan.absorbed.tolist())
    for token in range(t * y * x):
        left, top = find_corner(token)
        colour = _SOURCE if token % 2 == 0 else _DESTINATION
        dot = 3 if token % 2 or token in absorbed else 2
        middle = np.array([left, top]) + half
        ink.ellipse([*(middle - dot), *(middle + dot)], fill=colour)
    for token, target in zip(look.plan.absorbed, look.plan.kept[look.plan.target]):
        start, end = (np.array(find_corner(int(one))) + half for one in (token, target))
        weight = float(look.saliency[token])
        colour = tuple(map_heat(np.array([weight]))[0].tolist()) if weight > 0 else (120, 120, 120)
        ink.line([*start, *end], fill=colour, width=3 if weight > 0 else 1)
        ink.ellipse([*(end - 5), *(end + 5)], outline=colour, width=2)
    entries = [("even: may be absorbed", _SOURCE), ("odd: may absorb", _DESTINATION)]
    entries += [("absorbed, of saliency 0: it vanishes", (120, 120, 120))]
    entries += [("absorbed, the more salient the brighter", (94, 201, 98))]
    at = 6
    for text, colour in entries:
        ink.rectangle([at, sheet.height - 18, at + 10, sheet.height - 8], fill=colour)
        draw_text(sheet, (at + 18, sheet.height - 13), text, size=_TEXT)
        at += 18 + measure_text(text, _TEXT) + 22
    return np.asarray(sheet)


def draw_merging(look: Look) -> np.ndarray:
    """Draws which patches share a token after each reduction, and how many tokens are left."""
    start = np.arange(int(np.prod(look.grid)), dtype=np.int32).reshape(look.grid)
    rows: list[tuple[str, list[np.ndarray]]] = []
    for name, group in zip(("before", "after\nlayer 0", "after\nlayer 1"), (start, *look.groups)):
        colour = colour_groups(group)
        panels = [draw_merge_map(*parts) for parts in zip(look.frames, group, colour)]
        left = len(np.unique(group[group >= 0]))
        gone = int((count_members(group) == 0).sum())
        rows.append((f"{name}:\n{left} tokens" + (f",\n{gone} patches\ngone" if gone else ""), panels))
    return _lay_out(rows, None)


def _draw_box(panel: np.ndarray, row: int, column: int, grid: tuple[int, int, int]) -> np.ndarray:
    image = Image.fromarray(panel)
    height, width = panel.shape[0] // grid[1], panel.shape[1] // grid[2]
    corner = (column * width, row * height)
    box = [*corner, corner[0] + width - 1, corner[1] + height - 1]
    ImageDraw.Draw(image).rectangle(box, outline=(255, 255, 255), width=2)
    return np.asarray(image)


def _lay_out(rows: list[tuple[str, list[np.ndarray]]], heat_text: str | None) -> np.ndarray:
    """Puts panels side by side: a row for each name, a column for each moment."""
    margin = max(measure_text(line, _TEXT) for name, _ in rows for line in name.split("\n")) + 14
    top, step = _TEXT + 10, _PANEL + _GAP
    bottom = 0 if heat_text is None else _TEXT + 14
    count = len(rows[0][1])
    image = Image.new("RGB", (margin + count * step - _GAP, top + len(rows) * step - _GAP + bottom), PAPER)
    for column in range(count):
        middle = (margin + column * step + _PANEL / 2, top / 2)
        draw_text(image, middle, f"moment {column}", size=_TEXT, anchor="mm")
    for number, (name, panels) in enumerate(rows):
        lines = name.split("\n")
        for line, text in enumerate(lines):
            height = top + number * step + _PANEL / 2 + (line - (len(lines) - 1) / 2) * (_TEXT + 4)
            draw_text(image, (7, height), text, size=_TEXT)
        for column, panel in enumerate(panels):
            image.paste(Image.fromarray(panel), (margin + column * step, top + number * step))
    if heat_text is not None:
        bar = map_heat(np.tile(np.linspace(0, 1, 90), (_TEXT, 1)))
        image.paste(Image.fromarray(bar), (margin, image.height - _TEXT - 7))
        draw_text(image, (margin + 98, image.height - _TEXT / 2 - 7), heat_text, size=_TEXT)
    return np.asarray(image)


PICTURES: Final = {"attention": draw_attention, "matching": draw_matching, "merging": draw_merging}


def main() -> None:
    """Writes all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=IMAGES, help="where to; docs/images without it")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    look = look_inside()
    for name, draw in PICTURES.items():
        print(write_image(out / f"operator-{name}.png", draw(look)))


if __name__ == "__main__":
    main()
