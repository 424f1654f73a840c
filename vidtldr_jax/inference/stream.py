"""Many videos through a model: reading, batching and computing at the same time.

    with contextlib.closing(encode_videos(model, paths, output="logits", batch_size=8)) as videos:
        for video in videos:
            ...  # video.outputs [V, num_classes], or video.error

With a tuple of names, such as ("embedding", "tokens"), `outputs` is a tuple of arrays in that order.

Frames go to the device as uint8 and are normalised there. While the device computes one batch, the next one is put
together here and sent, and more videos are read behind.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import jax
import numpy as np

from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.loading import LoadedVideo, read_videos
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.finite import NotFiniteError, find_not_finite
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.sharding import round_up_batch
from vidtldr_jax.ops.checks import check_count

Output = Literal["logits", "embedding", "pooled", "tokens"]
OUTPUTS: Final = get_args(Output)

_MOST_IN_FLIGHT: Final = 2  # batches on the device: one that computes and the one behind it


class EncodedVideo(NamedTuple):
    """What a model says about one video of a list, or why it can't.

    Attributes:
      path: as it was given.
      outputs: [V, ...], one row per view, or a tuple of such; always finite; None where there is an error.
      notices: what a user should know about the video.
      error: why it can't be read, or that an output is not finite; None if all went well.
    """

    path: str
    outputs: Any
    notices: tuple[str, ...]
    error: VideoReadError | OSError | NotFiniteError | None


def encode_videos(
    model: VideoModel,
    paths: Sequence[str | os.PathLike[str]],
    *,
    output: Output | tuple[Output, ...],
    batch_size: int,
    num_workers: int = 0,
    num_videos: int | None = None,
) -> Generator[EncodedVideo, None, None]:
    """Encodes videos in order; one that can't be read, or whose outputs are not finite, stops no other.

    Batches have one size, so that there is one compilation, and reach over the videos' borders; the last one is filled
    up with copies of its last view. A batch of uint8 pixels is sent to the device, and its program queued, before the
    result of the batch before is waited for; two are there at most.

    Args:
      model: what to run.
      paths: of videos, GIFs, images or folders of images.
      output: the field of `VideoOutput` that is wanted, "logits", "embedding", "pooled" or "tokens", or several.
      batch_size: views per run; fewer where all videos together have fewer. A model over several devices rounds it up
        to a multiple of those that clips are split over.
      num_workers: processes that read, see `read_videos`.
      num_videos: videos of the whole run where `paths` are those that are left of it: a run that was broken off goes on
        with batches of the same size, and so with the same program and the same numbers to the bit.

    Returns:
      A generator of every video in the order of `paths`. Closing it ends the readers. Where reading or computing as a
        whole fails, the videos that were computed before come first, then the error is raised.

    Raises:
      ValueError: the model has no such output, batch_size is less than 1, or what `read_videos` refuses.
      WorkerError: see `read_videos`.
    """
    outputs = (output,) if isinstance(output, str) else output
    _check(model, outputs)
    model = model.with_local_mesh()  # no process waits for the others, whose videos may be fewer or fail
    size = choose_batch_size(model, len(paths) if num_videos is None else num_videos, batch_size)

    def encode(batch: jax.Array) -> tuple[jax.Array, ...]:
        encoded = model.encode_video(batch)
        return tuple(getattr(encoded, name) for name in outputs)

    found = map_videos(
        encode,
        paths,
        preprocessing=model.preprocessing,
        place=model.place_video,
        names=outputs,
        batch_size=size,
        num_workers=num_workers,
    )
    return _take_first(found) if isinstance(output, str) else found


def map_videos(
    function: Callable[[jax.Array], tuple[jax.Array, ...]],
    paths: Sequence[str | os.PathLike[str]],
    *,
    preprocessing: Preprocessing,
    place: Callable[[np.ndarray], jax.Array],
    names: Sequence[str],
    batch_size: int,
    num_workers: int = 0,
) -> Generator[EncodedVideo, None, None]:
    """Apply a function to the views of videos in batches of one size; see `encode_videos`, which does so with a model.

    Args:
      function: of a batch on the device, `[batch_size, T, Y, X, 3]` uint8 pixels; returns arrays with a leading batch
        axis, and waits for nothing.
      paths: of videos, GIFs, images or folders of images.
      preprocessing: how views are sampled and resized.
      place: puts a batch on the device without waiting for it, such as `VideoModel.place_video`.
      names: of the arrays that the function returns, for errors.
      batch_size: views per call; the last batch is filled up with copies of its last view.
      num_workers: processes that read, see `read_videos`.

    Returns:
      A generator of every video in the order of `paths`; `outputs` is a tuple of arrays in the order of `names`.

    Raises:
      ValueError: batch_size is less than 1, or what `read_videos` refuses.
      WorkerError: see `read_videos`.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is at least 1; got {batch_size}; give another.")
    videos = read_videos(paths, preprocessing, num_workers=num_workers)

    def dispatch(views: Sequence[np.ndarray]) -> tuple[jax.Array, ...]:
        batch = place(_stack_views(views, batch_size))  # is sent while the batch before computes
        results = function(batch)
        for result in results:
            result.copy_to_host_async()
        return results

    return _run(dispatch, videos, names, batch_size)


def _stack_views(views: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
    """Return a batch `[batch_size, T, Y, X, 3]` uint8, filled up with copies of the last view."""
    return np.stack([*views, *[views[-1]] * (batch_size - len(views))])


def choose_batch_size(model: VideoModel, num_videos: int, batch_size: int) -> int:
    """Returns how many views a run has: no more than there are, or than are wanted, rounded up to a model's devices."""
    size = min(check_count("batch_size", batch_size), max(1, num_videos * model.preprocessing.num_views))
    return round_up_batch(size, model.mesh)


def _take_first(videos: Generator[EncodedVideo, None, None]) -> Generator[EncodedVideo, None, None]:
    """Puts the only output of each video in place of its tuple."""
    with contextlib.closing(videos):
        for video in videos:
            yield video if video.outputs is None else video._replace(outputs=video.outputs[0])


def _check(model: VideoModel, outputs: Sequence[str]) -> None:
    unknown = [output for output in outputs if output not in OUTPUTS]
    if unknown or not outputs:
        got = unknown[0] if unknown else "none"
        raise ValueError(f"output is one of {', '.join(OUTPUTS)}; got {got!r}; choose one of these.")
    config = model.config
    has = {"logits": config.num_classes is not None, "embedding": config.embed_dim is not None}
    missing = [output for output in outputs if not has.get(output, True)]
    if missing:
        there = ", ".join(name for name in OUTPUTS if has.get(name, True))
        raise ValueError(f"the model must have the output, one of {there}; got {missing[0]}; take of these.")


def _run(
    dispatch: Callable[[Sequence[np.ndarray]], tuple[jax.Array, ...]],
    videos: Generator[LoadedVideo, None, None],
    names: Sequence[str],
    size: int,
) -> Generator[EncodedVideo, None, None]:
    waiting: collections.deque[tuple[EncodedVideo, int]] = collections.deque()  # without outputs; number of views
    views: list[np.ndarray] = []  # [T, Y, X, 3] uint8 each, of no batch yet
    in_flight: collections.deque[tuple[jax.Array, ...]] = collections.deque()
    # Of the waiting videos' views, as far as computed: a row of each output.
    rows: collections.deque[tuple[np.ndarray, ...]] = collections.deque()
    failures: list[Exception] = []
    try:
        with contextlib.closing(videos):
            for video in _read_until_failure(videos, failures):
                frames = [] if video.clip is None else list(video.clip.frames)
                notices = () if video.clip is None else video.clip.notices
                waiting.append((EncodedVideo(video.path, None, notices, video.error), len(frames)))
                views.extend(frames)
                while len(views) >= size:
                    in_flight.append(dispatch(views[:size]))
                    del views[:size]
                    if len(in_flight) == _MOST_IN_FLIGHT:
                        _fetch_next(in_flight, rows)
                yield from _release(waiting, rows, names)
        if views:
            in_flight.append(dispatch(views))
        while in_flight:
            _fetch_next(in_flight, rows)
    except Exception as error:
        failures.append(error)
        with contextlib.suppress(Exception):  # the first failure is the one to tell
            while in_flight:
                _fetch_next(in_flight, rows)
    yield from _release(waiting, rows, names)
    if failures:
        raise failures.pop(0)  # no list of the frame holds on to it


def _read_until_failure(videos: Generator[LoadedVideo, None, None], failures: list[Exception]) -> Iterator[LoadedVideo]:
    """Yields what is read; where reading as a whole fails, what was read before is still computed."""
    try:
        yield from videos
    except Exception as error:
        failures.append(error)


def _fetch_next(
    in_flight: collections.deque[tuple[jax.Array, ...]], rows: collections.deque[tuple[np.ndarray, ...]]
) -> None:
    """Waits for the oldest batch and takes its rows; where it fails, those behind it belong to no video any more."""
    results = in_flight.popleft()
    try:
        rows.extend(_fetch(results))
    except Exception:
        in_flight.clear()
        raise


def _fetch(results: tuple[jax.Array, ...]) -> Iterator[tuple[np.ndarray, ...]]:
    """Waits for a batch and returns its rows."""
    return zip(*(np.asarray(result) for result in results))


def _release(
    waiting: collections.deque[tuple[EncodedVideo, int]],
    rows: collections.deque[tuple[np.ndarray, ...]],
    names: Sequence[str],
) -> Generator[EncodedVideo, None, None]:
    """Yields the videos at the front whose views are all computed, and takes them off."""
    while waiting and len(rows) >= waiting[0][1]:
        video, count = waiting.popleft()
        found = [rows.popleft() for _ in range(count)]
        yield _check_outputs(video, tuple(np.stack(output) for output in zip(*found)), names) if count else video


def _check_outputs(video: EncodedVideo, values: tuple[np.ndarray, ...], names: Sequence[str]) -> EncodedVideo:
    """Gives a video its outputs, or the error that one of them is not finite."""
    for name, value in zip(names, values, strict=True):
        if error := find_not_finite(value, name):
            return video._replace(error=error)
    return video._replace(outputs=values)
