"""A model and a clip -> what merging did to it, layer by layer, next to what the plain model says.

    history = record_history(model, "dive.mp4")
    write_page("dive.html", history)

Everything that draws takes a `ClipHistory`; nothing that draws runs a model.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from vidtldr_jax.data.clip import Clip, read_frames
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.finite import check_output
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.predictions import Prediction, average_views, list_top
from vidtldr_jax.models.video_vit import VideoOutput
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.reduction.schedule import ResolvedSchedule
from vidtldr_jax.visualize.maps import Grid, LayerMap, drop_class_tokens, make_layer_maps

PICTURE_SIZE: Final = 256
_DEFAULT_FPS: Final = 8.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model says of the clip, and at what cost.

    Attributes:
      predictions: the most probable classes; None without a classifier.
      tokens: tokens that come into each layer, and those that leave the last.
      gmacs: multiply-accumulates of one clip, in units of 10^9.
    """

    predictions: tuple[Prediction, ...] | None
    tokens: tuple[int, ...]
    gmacs: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipHistory:
    """What happened to one clip.

    Attributes:
      title: name of the video.
      frames: `[T, Y, X, 3]` uint8, pictures of what the model saw, of any size and in the clip's shape.
      fps: frames per second at which they show the motion in its own time.
      grid: patches over time, rows and columns.
      layers: of each layer, in order; of an early method the first alone, without blocks that can merge none.
      schedule: what was merged where.
      num_sequences: sequences of tokens that were reduced one by one, the frames of a factorised encoder or one; token
        counts are those of each.
      plain: the answer without merging.
      merged: the answer with it.
      cosine: of the two models' pooled outputs, -1 to 1.
      notices: what a user should know of the clip, see `data.clip.Clip`.
    """

    title: str
    frames: UInt8[np.ndarray, "T Y X 3"]
    fps: float
    grid: Grid
    layers: tuple[LayerMap, ...]
    schedule: ResolvedSchedule
    num_sequences: int
    plain: Answer
    merged: Answer
    cosine: float
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        frames = self.frames
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(
                f"frames are [T, Y, X, 3] uint8; got {frames.dtype} of shape {frames.shape}; "
                "pass the pixels before normalisation."
            )
        shapes = [part.shape for layer in self.layers for part in (layer.saliency, layer.group, layer.weight)]
        if {*shapes} - {self.grid} or len(frames) % self.grid[0]:
            raise ValueError(
                f"maps have the grid's shape, {self.grid}, and its first number divides {len(frames)} "
                f"frames; got shapes {sorted({*shapes})}; pass maps of this clip."
            )

    @property
    def tubelet(self) -> int:
        """Frames that share one step of the maps."""
        return len(self.frames) // self.grid[0]

    @property
    def group(self) -> Int[np.ndarray, "t y x"]:
        """Index of the token that holds each patch in the end, -1 where it is dropped."""
        if self.layers:
            return self.layers[-1].group
        return np.arange(np.prod(self.grid), dtype=np.int32).reshape(self.grid)

    @property
    def weight(self) -> Float32[np.ndarray, "t y x"]:
        """Each patch's say in the token that holds it in the end."""
        return self.layers[-1].weight if self.layers else np.ones(self.grid, np.float32)

    def pick_layers(self, most: int) -> tuple[LayerMap, ...]:
        """Returns the layers that reduce, at most so many: first, last and evenly between; a first one if none does."""
        found = [layer for layer in self.layers if self.schedule.r[layer.layer]] or list(self.layers[:1])
        places = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)) if found else ()
        return tuple(found[place] for place in places)


def record_history(
    model: VideoModel,
    path: str | os.PathLike[str],
    *,
    top_k: int = 3,
    picture_size: int = PICTURE_SIZE,
) -> ClipHistory:
    """Reads one clip from the middle of a video and runs a model on it, plain and merged.

    Args:
      model: with a schedule.
      path: of a video, a GIF, an image or a folder of images.
      top_k: classes told.
      picture_size: pixels that the pictures' sides have at least.

    Returns:
      The history.

    Raises:
      VideoReadError: the video can't be read.
      NotFiniteError: what a model says of it is not finite.
    """
    preprocessing = model.preprocessing.take_one_view()
    clip = read_frames(path, preprocessing)
    pictures = read_pictures(path, preprocessing, size=picture_size)
    title, fps = Path(path).resolve().name, find_fps(clip)
    history = make_history(model, clip.frames[0], pictures=pictures, fps=fps, title=title, top_k=top_k)
    return dataclasses.replace(history, notices=clip.notices)


def make_history(
    model: VideoModel,
    frames: UInt8[np.ndarray, "T Y X 3"],
    *,
    pictures: UInt8[np.ndarray, "T Y X 3"] | None = None,
    fps: float = _DEFAULT_FPS,
    title: str = "clip",
    top_k: int = 3,
) -> ClipHistory:
    """Runs a model on a clip, plain and merged, and keeps where every patch went.

    Args:
      model: with a schedule.
      frames: of the clip, resized and cropped for the model, not normalised.
      pictures: the same frames in more pixels, to be drawn on; None takes the frames.
      fps: frames per second of the clip.
      title: name of the clip.
      top_k: classes told.

    Returns:
      The history.

    Raises:
      ValueError: the frames are not uint8, or don't fit the model.
      NotFiniteError: what a model says of them is not finite.
    """
    batch = np.asarray(frames)[None]
    if batch.dtype != np.uint8:
        raise ValueError(
            f"frames are pixels of 0 to 255 as uint8; got dtype {batch.dtype}; pass them as they were before they were "
            "normalised."
        )
    plain, merged = model.with_schedule(None), model
    outputs = [plain.encode_video(batch), merged.encode_video(batch, trace="every_layer")]
    for name, output in zip(("plain", "merged"), outputs):
        check_output(output, of=f"{title}, {name} model")
    schedule = merged.schedule_for(batch.shape)
    grid = _find_grid(model, batch.shape)
    num_sequences = model.config.count_sequences(batch.shape[1])
    cosine = _compare(*(np.asarray(output.pooled, np.float64)[0] for output in outputs))
    answers = [_describe(one, output, batch.shape, top_k) for one, output in zip((plain, merged), outputs)]
    return ClipHistory(
        title=title,
        frames=frames if pictures is None else pictures,
        fps=fps,
        grid=grid,
        layers=_map_layers(model, outputs[1], grid, num_sequences),
        schedule=schedule,
        num_sequences=num_sequences,
        plain=answers[0],
        merged=answers[1],
        cosine=cosine,
    )


def read_pictures(
    path: str | os.PathLike[str], preprocessing: Preprocessing, *, size: int = PICTURE_SIZE
) -> UInt8[np.ndarray, "T Y X 3"]:
    """Reads the frames that a model looks at, cut the same way, in more pixels than it sees.

    Args:
      path: of the video.
      preprocessing: of the model, one view.
      size: pixels that the sides have at least; they are a multiple of what the model sees.

    Returns:
      The frames.

    Raises:
      VideoReadError: the video can't be read.
    """
    factor = -(-size // preprocessing.image_size)
    edge, longest = preprocessing.shortest_edge, preprocessing.longest_edge
    large = dataclasses.replace(
        preprocessing,
        image_size=preprocessing.image_size * factor,
        shortest_edge=None if edge is None else edge * factor,
        longest_edge=None if longest is None else longest * factor,
    )
    return read_frames(path, large).frames[0]


def find_fps(clip: Clip) -> float:
    """Returns the rate at which sampled frames show the motion in its own time, 1 to 30 frames per second."""
    steps = np.diff(clip.indices[0])
    stride = float(steps[steps > 0].mean()) if (steps > 0).any() else 1.0
    return float(np.clip((clip.fps or _DEFAULT_FPS * stride) / stride, 1.0, 30.0))


def _find_grid(model: VideoModel, shape: Sequence[int]) -> Grid:
    made_for = model.config.grid
    size = (model.config.num_frames, model.config.image_size, model.config.image_size)
    t, y, x = (count * length // planned for count, length, planned in zip(made_for, shape[1:4], size))
    return t, y, x


def _map_layers(model: VideoModel, output: VideoOutput, grid: Grid, num_sequences: int) -> tuple[LayerMap, ...]:
    if output.trace is None:
        raise RuntimeError("the model returned no trace.")
    trace = drop_class_tokens(output.trace, num_cls_tokens=model.config.num_cls_tokens, num_sequences=num_sequences)
    return make_layer_maps(trace, grid=grid)


def _describe(model: VideoModel, output: VideoOutput, shape: Sequence[int], top_k: int) -> Answer:
    schedule = model.schedule_for(tuple(shape))
    predictions = None
    if output.logits is not None:
        predictions = tuple(list_top(average_views(np.asarray(output.logits)), model.labels, k=top_k))
    macs = count_macs(model.config, schedule, num_frames=shape[1])
    return Answer(predictions=predictions, tokens=tuple(schedule.tokens), gmacs=macs.gmacs)


def _compare(one: Float[np.ndarray, " D"], other: Float[np.ndarray, " D"]) -> float:
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths > 0 else 0.0
