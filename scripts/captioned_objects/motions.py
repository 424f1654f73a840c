"""What one cut-out may do, and clips of it: the caption's second sentence; positions free of any resolution.

As with the two digits of scripts/moving_objects: the middle of a clip has one distribution whatever the motion, and
the motions are pairs that are each other's reversal in time, so no single frame tells them.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "moving_objects"))  # photos and their rendering are the same
from scenes import Scenes, render_photos, sample_picture

SENTENCES = (
    "It moves left.",
    "It moves right.",
    "It moves up.",
    "It moves down.",
    "It grows.",
    "It shrinks.",
    "It turns clockwise.",
    "It turns anticlockwise.",
)
_SHIFTS = np.array([(0, -1), (0, 1), (-1, 0), (1, 0)] + [(0, 0)] * 4, np.float64)  # (y, x)
_GROWTH = np.array([0, 0, 0, 0, 1, -1, 0, 0], np.float64)
_TURN = np.array([0, 0, 0, 0, 0, 0, 1, -1], np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """How hard clips are to read; ranges are (least, most), lengths are fractions of the frame.

    Attributes:
      side: of the cut-out's square in the middle of the clip.
      middle: its place then, rows and columns alike.
      shift: way of one that goes left, right, up or down, over the whole clip.
      growth: log of the growth.
      turn: radians.
      pan_share: part of the clips in which the camera pans.
      pan_length: of a pan, over the whole clip.
    """

    side: tuple[float, float] = (0.34, 0.5)
    middle: tuple[float, float] = (0.35, 0.65)
    shift: tuple[float, float] = (0.24, 0.38)
    growth: tuple[float, float] = (0.55, 0.8)
    turn: tuple[float, float] = (1.0, 1.7)
    pan_share: float = 0.75
    pan_length: tuple[float, float] = (0.1, 0.3)


LOOK = Look()


def draw_scenes(
    rng: np.random.Generator,
    cutout: Int[np.ndarray, " B"],
    motion: Int[np.ndarray, " B"],
    *,
    num_photos: int,
    num_frames: int = 16,
    look: Look = LOOK,
) -> Scenes:
    """Draws clips of given cut-outs and motions.

    Args:
      rng: where all chance comes from.
      cutout: which cut-out each clip shows.
      motion: what it does there, indices into `SENTENCES`.
      num_photos: photos to choose from.
      num_frames: frames of a clip, evenly over its time.
      look: how hard they are to read.

    Returns:
      Scenes of one object: `label` is the motion, `digit` the cut-out; there is no tint.
    """
    count = len(cutout)
    time = np.linspace(-0.5, 0.5, num_frames)  # 0 is the middle of the clip
    strength = rng.uniform(0.0, 1.0, count)  # slow to fast, within each motion's range
    shift, growth, turn = (
        (least + (most - least) * strength)[:, None] * time for least, most in (look.shift, look.growth, look.turn)
    )  # [B, T]
    middle = rng.uniform(*look.middle, (count, 2))
    side, angle = rng.uniform(*look.side, count), rng.uniform(-0.3, 0.3, count)
    is_panned, way = rng.random(count) < look.pan_share, rng.uniform(0, 2 * np.pi, count)
    length = is_panned * rng.uniform(*look.pan_length, count)
    place = middle[:, None] + shift[..., None] * _SHIFTS[motion][:, None]  # [B, T, 2]
    return Scenes(
        label=motion,
        digit=cutout[:, None],
        tint=np.ones((count, 1, 3)),
        place=place[:, :, None],
        side=(side[:, None] * np.exp(growth * _GROWTH[motion][:, None]))[..., None],
        angle=(angle[:, None] + turn * _TURN[motion][:, None])[..., None],
        photo=rng.integers(num_photos, size=count),
        window=np.stack([rng.random(count), rng.random(count), rng.uniform(0.3, 0.65, count)], -1),
        pan=length[:, None] * np.stack([np.sin(way), np.cos(way)], -1),
        is_mirrored=rng.integers(2, size=count),
        gain=rng.uniform(0.6, 1.0, (count, 3)),
    )


def render_scenes(
    scenes: Scenes,
    pictures: Float[np.ndarray, "num side side 4"],
    photos: Sequence[Image.Image],
    *,
    image_size: int,
    brightness: float,
) -> UInt8[np.ndarray, "B T Y X 3"]:
    """Renders scenes of one cut-out each.

    Args:
      scenes: what happens.
      pictures: the cut-outs, colours times alpha and alpha, 0 to 1.
      photos: RGB.
      image_size: rows and columns of a frame, pixels.
      brightness: of the photos, 0 to 1; the cut-outs stay as bright as they are.

    Returns:
      The clips, values 0 to 255.
    """
    frames = render_photos(scenes, photos, image_size=image_size)  # [B, T, Y, X, 3]
    frames *= brightness * scenes.gain[:, None, None, None].astype(np.float32)
    for clip, cutout in enumerate(scenes.digit[:, 0]):
        paste_cutout(
            frames[clip],
            pictures[cutout],
            centre=scenes.place[clip, :, 0].astype(np.float32) * image_size,
            side=scenes.side[clip, :, 0].astype(np.float32) * image_size,
            angle=scenes.angle[clip, :, 0].astype(np.float32),
        )
    return np.rint(frames).astype(np.uint8)


def paste_cutout(
    frames: Float[np.ndarray, "T Y X 3"],
    picture: Float[np.ndarray, "side side 4"],
    *,
    centre: Float[np.ndarray, "T 2"],
    side: Float[np.ndarray, " T"],
    angle: Float[np.ndarray, " T"],
) -> None:
    """Blends a cut-out into the frames of one clip, in place; lengths are in pixels."""
    size, scale = frames.shape[1], picture.shape[0] / side[:, None]
    extent = min(size, int(np.ceil(side.max() * 1.42)) + 2)  # one square for all frames, corners included
    corner = np.clip(np.floor(centre - extent / 2).astype(np.int32), 0, size - extent)  # [T, 2]
    steps = np.arange(extent, dtype=np.int32)
    rows, columns = corner[:, :1] + steps, corner[:, 1:] + steps  # [T, extent]
    y, x = (rows + 0.5 - centre[:, :1]) * scale, (columns + 0.5 - centre[:, 1:]) * scale
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    v = ((y * cos)[:, :, None] - (x * sin)[:, None, :]).astype(np.float32)
    u = ((y * sin)[:, :, None] + (x * cos)[:, None, :]).astype(np.float32)  # [T, extent, extent]
    half = picture.shape[0] / 2
    seen = np.nonzero((np.abs(v) < half) & (np.abs(u) < half))
    frame = seen[0]
    places = (frame, rows[frame, seen[1]], columns[frame, seen[2]])
    values = sample_picture(picture, v[seen], u[seen])  # [pixels, 4]
    frames[places] = frames[places] * (1 - values[:, 3:]) + 255 * values[:, :3]
