"""Batches of captioned clips: a split, a seed and a number give one batch, always the same.

Cut-outs are the same everywhere; photos are split as in scripts/moving_objects, and of every cut-out one motion is
never trained (`is_held_out`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from motions import LOOK, SENTENCES, Look, draw_scenes, render_scenes
from pictures import Split
from PIL import Image
from scenes import Scenes

NUM_FRAMES = 16
IMAGE_SIZE = 48
BRIGHTNESS = 0.9  # of the photos
_SPLIT_SEEDS: dict[Split, int] = {"train": 10, "validation": 11, "test": 12}


def is_held_out(cutout: Int[np.ndarray, " B"], motion: Int[np.ndarray, " B"]) -> Bool[np.ndarray, " B"]:
    """Says which pairs of cut-out and motion training never shows: one motion of every cut-out."""
    return cutout % len(SENTENCES) == motion


def find_caption(cutout: Int[np.ndarray, " B"], motion: Int[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
    """Returns the row of a caption, as `write_captions` orders them."""
    return cutout * len(SENTENCES) + motion


def draw_training_pairs(
    rng: np.random.Generator, batch_size: int, *, num_cutouts: int
) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
    """Draws cut-outs and motions so that a batch shows few cut-outs in many motions, which makes motions count."""
    num_motions = len(SENTENCES)
    some = rng.permutation(num_cutouts)[: -(-batch_size // num_motions)]
    cutout = np.repeat(some, num_motions)[:batch_size]
    motion = np.concatenate([rng.permutation(num_motions) for _ in some])[:batch_size]
    repeated = is_held_out(cutout, motion)
    motion[repeated] = (motion[repeated] + rng.integers(1, num_motions, repeated.sum())) % num_motions
    return cutout, motion


def draw_training_clips(
    pictures: Float[np.ndarray, "num side side 4"],
    photos: list[Image.Image],
    batch: int,
    *,
    batch_size: int,
    seed: int,
    brightness: float = BRIGHTNESS,
    look: Look = LOOK,
) -> tuple[UInt8[np.ndarray, "B T Y X 3"], Int[np.ndarray, " B"]]:
    """Renders one batch for training; it depends on the arguments alone.

    Args:
      pictures: the cut-outs.
      photos: the training split's, already shrunk.
      batch: which batch.
      batch_size: clips.
      seed: another seed, other clips.
      brightness: of the photos.
      look: how hard the clips are to read.

    Returns:
      Clips, and the row of each one's caption; a caption may occur twice.
    """
    rng = np.random.default_rng((seed, _SPLIT_SEEDS["train"], batch))
    cutout, motion = draw_training_pairs(rng, batch_size, num_cutouts=len(pictures))
    scenes = draw_scenes(rng, cutout, motion, num_photos=len(photos), num_frames=NUM_FRAMES, look=look)
    clips = render_scenes(scenes, pictures, photos, image_size=IMAGE_SIZE, brightness=brightness)
    return clips, find_caption(cutout, motion)


def draw_gallery(
    pictures: Float[np.ndarray, "num side side 4"], photos: list[Image.Image], split: Split, *, seed: int = 0
) -> UInt8[np.ndarray, "B T Y X 3"]:
    """Renders one clip of every caption, in the captions' order.

    Args:
      pictures: the cut-outs.
      photos: the split's, already shrunk.
      split: it has random numbers of its own.
      seed: another seed, other clips of the same captions.

    Returns:
      As many clips as captions.
    """
    scenes = draw_gallery_scenes(len(pictures), len(photos), split, seed=seed)
    return render_scenes(scenes, pictures, photos, image_size=IMAGE_SIZE, brightness=BRIGHTNESS)


def draw_gallery_scenes(num_cutouts: int, num_photos: int, split: Split, *, seed: int = 0) -> Scenes:
    """Draws what `draw_gallery` renders."""
    rng = np.random.default_rng((seed, _SPLIT_SEEDS[split]))
    cutout, motion = (part.ravel() for part in np.mgrid[:num_cutouts, : len(SENTENCES)])
    return draw_scenes(rng, cutout, motion, num_photos=num_photos, num_frames=NUM_FRAMES)
