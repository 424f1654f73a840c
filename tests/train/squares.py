"""Videos of a square that moves, lists of them, and a tiny model to train on them."""

import numpy as np

from tests.data.making import write_video
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference import save_checkpoint
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models.config import VideoViTConfig

WAYS = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0)}
LABELS = list(WAYS)
CONFIG = VideoViTConfig(
    num_frames=4, image_size=16, patch_size=8, tubelet_size=2, dim=16, depth=2, num_heads=2, mlp_dim=32, num_classes=4
)
PREPROCESSING = Preprocessing(num_frames=4, image_size=16, sampling="uniform", kernel="bilinear")


def make_params(config=CONFIG, *, seed=0):
    rng = np.random.default_rng(seed)
    shapes = find_param_shapes(config)
    return {
        path: (0.2 * rng.normal(size=shape) + path.endswith("scale")).astype(np.float32)
        for path, shape in shapes.items()
    }


def save_tiny(folder, *, config=CONFIG, labels=LABELS, preprocessing=PREPROCESSING, **more):
    params = make_params(config)
    return save_checkpoint(folder, params=params, config=config, preprocessing=preprocessing, labels=labels, **more)


def draw_square(way, rng):
    """Returns a function that draws frame after frame: a white square over grey noise."""
    start, step = rng.uniform(10, 14, 2), rng.uniform(1.0, 1.5)
    noise = rng.integers(0, 90, (32, 32, 3), dtype=np.uint8)

    def draw(number, *, height, width):
        top, left = (start + step * (number - 4) * np.array(WAYS[way])).astype(int)
        frame = noise.copy()
        frame[max(top, 0) : top + 8, max(left, 0) : left + 8] = 255
        return frame

    return draw


def make_videos(folder, per_class, *, name="train", seed=0, labels=LABELS):
    """Writes videos and a list of them; returns the list."""
    rng, lines = np.random.default_rng(seed), ["path,label"]
    for number in range(per_class):
        for label in labels:
            file = f"{name}_{label}_{number}.mp4"
            write_video(folder / file, num_frames=9, height=32, width=32, draw=draw_square(label, rng))
            lines.append(f"{file},{label}")
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
