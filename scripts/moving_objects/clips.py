"""Batches of clips at the model's size: a split, a seed and a number give one batch, always the same."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, UInt8
from pictures import Pictures, Split, load_pictures
from scenes import EASY, LABELS, Look, Scenes, draw_scenes, render_scenes, shrink_photos

NUM_FRAMES = 16
IMAGE_SIZE = 48
BRIGHTNESS = 0.5  # of the photos
HARD_BRIGHTNESS = 0.8  # of those of the accuracy benchmark
MEAN, STD = 0.5, 0.5  # of values 0 to 1, every colour
_SPLIT_SEEDS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}


def load_small_pictures(split: Split) -> Pictures:
    """Loads the pictures of a split, photos no larger than the model can use."""
    pictures = load_pictures(split)
    return pictures._replace(photos=shrink_photos(pictures.photos, image_size=IMAGE_SIZE))


def draw_clips(
    pictures: Pictures,
    split: Split,
    batch: int,
    *,
    batch_size: int,
    seed: int = 0,
    brightness: float = BRIGHTNESS,
    look: Look = EASY,
) -> tuple[UInt8[np.ndarray, "B T Y X 3"], Int[np.ndarray, " B"]]:
    """Renders one batch at the model's size; it depends on the arguments alone.

    Args:
      pictures: the split's, photos already shrunk.
      split: which one; it has random numbers of its own.
      batch: which batch.
      batch_size: clips.
      seed: another seed, other clips.
      brightness: of the photos.
      look: how hard the clips are to read.

    Returns:
      Clips and labels, indices into `look.labels`.
    """
    scenes = draw_batch_scenes(pictures, split, batch, batch_size=batch_size, seed=seed, look=look)
    clips = render_scenes(scenes, pictures.digits, pictures.photos, image_size=IMAGE_SIZE, brightness=brightness)
    return clips, np.searchsorted([LABELS.index(name) for name in look.labels], scenes.label)


def draw_batch_scenes(
    pictures: Pictures, split: Split, batch: int, *, batch_size: int, seed: int = 0, look: Look = EASY
) -> Scenes:
    """Draws what `draw_clips` renders; the arguments are the same."""
    rng = np.random.default_rng((seed, _SPLIT_SEEDS[split], batch))
    counts = {"num_digits": len(pictures.digits), "num_photos": len(pictures.photos)}
    return draw_scenes(rng, batch_size, num_frames=NUM_FRAMES, look=look, **counts)
