"""Counts how often a model is traced: once for each compilation."""

import pytest

from vidtldr_jax.inference import model as model_module
from vidtldr_jax.models import VideoViT


@pytest.fixture
def traced_shapes(monkeypatch):
    """The shapes of the videos that a `VideoViT` is traced with, as they come; nothing is compiled before."""
    shapes = []
    apply = VideoViT.apply

    def count(module, variables, video, **kwargs):
        shapes.append(video.shape)
        return apply(module, variables, video, **kwargs)

    monkeypatch.setattr(VideoViT, "apply", count)
    model_module._compiled_encoder.cache_clear()
    yield shapes
    model_module._compiled_encoder.cache_clear()
