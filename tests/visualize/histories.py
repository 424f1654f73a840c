"""Histories to draw: one by hand, and those of tiny models of every kind that merges."""

import functools

import numpy as np

from tests.reference.inputs import make_params
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction.schedule import resolve_schedule
from vidtldr_jax.visualize import Answer, ClipHistory, LayerMap, make_history

GRID = (2, 3, 3)
LABELS = ["left", "right", "up & away"]
FIELDS = {"num_frames": 4, "image_size": 24, "patch_size": 8, "dim": 16, "num_heads": 2, "depth": 3, "mlp_dim": 32}
MODELS = {
    "video_vit": (VideoViTConfig(**FIELDS, tubelet_size=2, num_classes=3), "5,0,3"),
    "vivit": (ViViTConfig(**FIELDS, tubelet_size=2, num_classes=3), "5,0,3"),
    "factorised encoder": (
        ViViTConfig(**FIELDS, tubelet_size=2, num_classes=3, attention="factorized_encoder", temporal_depth=1),
        "2,0,2",
    ),
    "clip, per frame": (CLIPConfig(**FIELDS, embed_dim=8, encoding="per_frame"), "2,0,2"),
}


@functools.cache
def make_model(name, schedule=None):
    config, usual = MODELS[name]
    recipe = Preprocessing(num_frames=4, image_size=24)
    labels = LABELS if config.num_classes else None
    return VideoModel(make_params(config, 0), config, preprocessing=recipe, labels=labels, schedule=schedule or usual)


def make_frames(num_frames=4, size=24, seed=0):
    """Frames in which neighbours look alike: few colours in blocks of half a patch, so that tokens differ."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (num_frames, size // 4, size // 4, 3)).astype(np.uint8)
    return small.repeat(4, axis=1).repeat(4, axis=2)


@functools.cache
def record(name, schedule=None):
    return make_history(make_model(name, schedule), make_frames(), pictures=make_frames(size=96, seed=1), title=name)


def draw_by_hand(num_layers=2, num_frames=4, size=24, **changes):
    """A history of random maps whose layers all hold the same groups."""
    rng = np.random.default_rng(0)
    group = rng.integers(-1, 6, GRID).astype(np.int32)
    weight = np.where(group < 0, 0, rng.uniform(0.1, 1, GRID)).astype(np.float32)
    saliency = rng.uniform(size=GRID).astype(np.float32)
    pixels = rng.integers(0, 256, (num_frames, size, size, 3)).astype(np.uint8)
    schedule = resolve_schedule([4] + [2] * max(num_layers - 1, 0), num_tokens=18, num_layers=max(num_layers, 1))
    predictions = ({"index": 0, "label": "left", "probability": 0.75}, {"index": 1, "label": "up", "probability": 0.25})
    fields = {
        "title": "by hand",
        "frames": pixels,
        "fps": 8.0,
        "grid": GRID,
        "layers": tuple(LayerMap(layer, saliency, group, weight) for layer in range(num_layers)),
        "schedule": schedule,
        "num_sequences": 1,
        "plain": Answer(predictions=predictions, tokens=(18,) * (num_layers + 1), gmacs=0.25),
        "merged": Answer(predictions=predictions, tokens=tuple(schedule.tokens), gmacs=0.125),
        "cosine": 0.875,
    }
    return ClipHistory(**(fields | changes))
