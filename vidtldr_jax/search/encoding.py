"""Videos encoded into a store of features, each batch kept as soon as it is there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.stream import choose_batch_size, encode_videos
from vidtldr_jax.search.arrow_parts import Feature
from vidtldr_jax.search.features import FeatureStore


class VideoItem(NamedTuple):
    """One video to encode.

    Attributes:
      key: what its features are found by.
      name: for people.
      path: where it is.
    """

    key: str
    name: str
    path: Path


def encode_videos_into(
    store: FeatureStore,
    model: VideoModel,
    items: Sequence[VideoItem],
    *,
    batch_size: int,
    num_workers: int = 0,
    num_videos: int | None = None,
    with_tokens: bool = True,
    progress: Callable[[VideoItem], None] = lambda item: None,
    noting: Callable[[str, Sequence[str]], None] = lambda name, notices: None,
) -> dict[str, str]:
    """Encodes the videos that a store has not yet; each batch is kept as soon as it is there.

    Args:
      store: where features are and go.
      model: with embeddings.
      items: the videos; each is looked at once, in one view.
      batch_size: videos per run.
      num_workers: processes that read.
      num_videos: videos of the whole run where `items` are a part of it, see `encode_videos`.
      with_tokens: also keep the surviving tokens.
      progress: called after each video.
      noting: called with a video's name and what a user should know about it, where there is something.

    Returns:
      Key -> what is wrong with a video that has no features.

    Raises:
      ValueError: the model has no embeddings, or looks at several views of a video; or what `encode_videos` refuses.
    """
    if model.preprocessing.num_views != 1:
        raise ValueError(
            f"a video is one clip and one crop; got {model.preprocessing.num_views} views; set num_clips and crop."
        )
    rest = [item for item in items if item.key not in store]
    total = len(items) if num_videos is None else num_videos
    size = choose_batch_size(model, total, batch_size)
    errors: dict[str, str] = {}
    waiting: list[Feature] = []
    videos = encode_videos(
        model,
        [item.path for item in rest],
        output=("embedding", "tokens") if with_tokens else ("embedding",),
        batch_size=batch_size,
        num_workers=num_workers,
        num_videos=total,
    )
    try:
        with contextlib.closing(videos):
            for item, video in zip(rest, videos, strict=True):
                if video.outputs is None:
                    errors[item.key] = " ".join(str(video.error).split())
                else:
                    embedding, *tokens = (output[0] for output in video.outputs)
                    waiting.append(Feature(item.key, item.name, embedding, tokens[0] if tokens else None))
                if len(waiting) == size:
                    full, waiting = waiting, []  # what can't be written isn't tried again below
                    store.append(full)
                if video.notices:
                    noting(item.name, video.notices)
                progress(item)
    finally:
        store.append(waiting)  # also where reading or computing failed as a whole
    return errors
