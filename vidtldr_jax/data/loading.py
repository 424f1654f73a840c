"""Many videos, read while whoever asked is still busy with those before: by a thread, or by worker processes.

    with contextlib.closing(read_videos(paths, model.preprocessing, num_workers=2)) as videos:
        for video in videos:
            ...  # video.clip.frames [V, T, Y, X, 3] uint8, or video.error

Frames stay uint8, a quarter of what `normalize_frames` makes of them; the consumer normalises.
"""

from __future__ import annotations

import collections
import functools
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent import futures
from typing import Final, NamedTuple, TypeVar

from vidtldr_jax.data.clip import Clip, read_frames
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.workers import map_in_workers

READ_AHEAD: Final = 2  # videos; one is being read while another one waits

Item = TypeVar("Item")
Result = TypeVar("Result")


class LoadedVideo(NamedTuple):
    """One video of a list: what was read of it, or why that failed.

    Attributes:
      path: as it was given.
      clip: its frames, before normalisation; None if it can't be read.
      error: None if it was read.
    """

    path: str
    clip: Clip | None
    error: VideoReadError | OSError | None


def read_videos(
    paths: Sequence[str | os.PathLike[str]], preprocessing: Preprocessing, *, num_workers: int = 0
) -> Generator[LoadedVideo, None, None]:
    """Reads videos in order, ahead of the consumer; one that can't be read stops no other.

    Memory is bounded: without workers at most `READ_AHEAD` videos are read that were not asked for yet, with workers at
    most four per worker. Closing the generator, or any exception in it, ends the thread or the workers; that waits for
    the video that is being read. The pixels are the same to the bit whoever reads.

    Args:
      paths: of videos, GIFs, images or folders of images.
      preprocessing: which frames, and how they are resized and cropped.
      num_workers: processes that read; 0 is one thread of this process. A process takes seconds to start and keeps to
        itself what Python can do in one process only at a time, so it pays for many videos and idle cores. A script
        that asks for workers runs its own code under `if __name__ == "__main__":`, as for all of Python's processes.

    Returns:
      A generator of every video in the order of `paths`. Nothing is read before its first item is asked for.

    Raises:
      ValueError: `paths` is a single path, or num_workers is negative.
      WorkerError: workers are asked for and grain is not installed; or, while reading, a worker ended.
    """
    if isinstance(paths, (str, os.PathLike)):
        raise ValueError(f"paths is a list; got the single path {os.fspath(paths)!r}; put it in a list.")
    if num_workers < 0:
        raise ValueError(f"num_workers is at least 0; got {num_workers}; take 0 to read in a thread.")
    read = functools.partial(_read_video, preprocessing=preprocessing)
    names = [os.fspath(path) for path in paths]
    if num_workers and names:
        return map_in_workers(read, names, num_workers=min(num_workers, len(names)))
    return map_in_thread(read, names, read_ahead=READ_AHEAD)


def map_in_thread(
    function: Callable[[Item], Result], items: Iterable[Item], *, read_ahead: int
) -> Generator[Result, None, None]:
    """Applies a function in a thread of its own, ahead of the consumer.

    Args:
      function: what to do with an item; it should let go of Python's lock, as decoding does.
      items: in order.
      read_ahead: how many results at most are made that were not asked for yet.

    Yields:
      The results in order.
    """
    remaining = iter(items)
    pool = futures.ThreadPoolExecutor(1, thread_name_prefix="vidtldr-read")
    try:
        waiting = collections.deque(pool.submit(function, item) for item in itertools.islice(remaining, read_ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
            yield result
            del result
    finally:
        pool.shutdown(cancel_futures=True)


def _read_video(path: str, preprocessing: Preprocessing) -> LoadedVideo:
    try:
        return LoadedVideo(path, read_frames(path, preprocessing), None)
    except (VideoReadError, OSError) as error:
        # A traceback would keep every frame that was decoded until then, and so would that of a cause.
        error.__cause__ = error.__context__ = None
        return LoadedVideo(path, None, error.with_traceback(None))
