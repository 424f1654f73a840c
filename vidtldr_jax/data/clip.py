"""The door of this package: a path in, a model's clips out.

`read_clip` gives one clip `[T, Y, X, 3]`, `read_clips` all views `[V, T, Y, X, 3]`, both float32 and normalised;
`read_frames` gives the pixels before normalisation, for people to look at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from vidtldr_jax.data.decoder_faults import raise_read_errors
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.image_folder import IMAGE_SUFFIXES, ImageFolder
from vidtldr_jax.data.picture_film import PictureFilm
from vidtldr_jax.data.pictures import can_read_avif, find_picture_format
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.sampling import sample_frames
from vidtldr_jax.data.transforms import normalize_frames, transform_frame
from vidtldr_jax.data.video_file import FrameCountError, VideoFile
from vidtldr_jax.trust.regular import check_regular

Result = TypeVar("Result")


class Clip(NamedTuple):
    """What a model looks at in a video.

    Attributes:
      frames: [V, T, Y, X, 3] uint8, resized and cropped, not normalised. Views are clips, and crops of each.
      indices: [V, T] int64, numbers of the frames in the video, in the order of showing.
      fps: frames per second of the video on average; None if unknown.
      notices: what a user should know: a video too short, a file that may be cut off.
    """

    frames: UInt8[np.ndarray, "V T Y X 3"]
    indices: Int64[np.ndarray, "V T"]
    fps: float | None
    notices: tuple[str, ...]


class FrameSource(Protocol):
    """Numbered frames, from a video or from a folder."""

    @property
    def num_frames(self) -> int:
        """How many frames there are."""

    @property
    def times(self) -> np.ndarray | None:
        """Seconds since the first frame."""

    @property
    def fps(self) -> float | None:
        """Frames per second on average."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know."""

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields frames in ascending order of their numbers."""


def read_clip(path: str | os.PathLike[str], preprocessing: Preprocessing) -> Float32[np.ndarray, "T Y X 3"]:
    """Reads one clip of a video, ready for a model.

    Args:
      path: of a video, a GIF, an image or a folder of images.
      preprocessing: what the model expects. `num_clips` and `crop` are for `read_clips`; here it is one clip, from the
        middle, cropped at the centre.

    Returns:
      The clip, normalised.

    Raises:
      VideoReadError: the video can't be read.
    """
    _check_preprocessing(preprocessing)
    return read_clips(path, preprocessing.take_one_view())[0]


def read_clips(path: str | os.PathLike[str], preprocessing: Preprocessing) -> Float32[np.ndarray, "V T Y X 3"]:
    """Reads all views of a video, ready for a model.

    Args:
      path: of a video, a GIF, an image or a folder of images.
      preprocessing: what the model expects.

    Returns:
      The views, normalised: num_clips clips, and the crops of each.

    Raises:
      VideoReadError: the video can't be read.
    """
    frames = read_frames(path, preprocessing).frames
    return normalize_frames(frames, mean=preprocessing.mean, std=preprocessing.std)


def read_frames(path: str | os.PathLike[str], preprocessing: Preprocessing) -> Clip:
    """Reads what a model looks at in a video, before normalisation.

    Args:
      path: of a video, a GIF, an image or a folder of images.
      preprocessing: which frames, and how they are resized and cropped.

    Returns:
      The views; a model takes the frames as they are, `model.encode_video(clip.frames)`. A video with fewer frames than
        needed has its last one repeated, with a notice.

    Raises:
      VideoReadError: the video can't be read.
    """
    _check_preprocessing(preprocessing)
    return read_source(path, lambda source: _fill_clip(source, preprocessing))


def _check_preprocessing(preprocessing: object) -> None:
    if not isinstance(preprocessing, Preprocessing):
        raise ValueError(
            f"preprocessing is a Preprocessing; got {type(preprocessing).__name__}; pass model.preprocessing."
        )


def read_source(path: str | os.PathLike[str], read: Callable[[FrameSource], Result]) -> Result:
    """Opens a video, a GIF, an image or a folder of images, and reads; once more where a file miscounts its frames.

    Args:
      path: of it.
      read: takes numbered frames and returns the result.

    Returns:
      What `read` returned.

    Raises:
      VideoReadError: it does not exist or can't be read, whatever was raised on the way.
    """
    with raise_read_errors(path):
        source = _open_source(Path(path))
        try:
            return read(source)
        except FrameCountError:
            if isinstance(source, VideoFile):
                source.count_by_decoding()
            return read(source)


def _open_source(path: Path) -> FrameSource:
    if not path.exists():
        raise VideoReadError(f"the video must exist; there is no {str(path)!r}; check the path.")
    if path.is_dir():
        return ImageFolder(path)
    check_regular(path)  # a FIFO would be waited for
    kind = find_picture_format(path)
    if kind in ("PNG", "WEBP", "TIFF") or (kind == "AVIF" and can_read_avif()):
        film = PictureFilm(path)
        return film if film.num_frames > 1 or film.notices else ImageFolder(path)
    is_picture = kind is None and path.suffix.lower() in IMAGE_SUFFIXES
    return ImageFolder(path) if is_picture else VideoFile(path)


def _fill_clip(source: FrameSource, preprocessing: Preprocessing) -> Clip:
    num_available, clock_notices = _count_within(source, preprocessing.first_seconds)
    stride = preprocessing.stride if preprocessing.sampling in ("dense", "windows") else 1
    per_clip = sample_frames(
        num_available,
        num_frames=preprocessing.num_frames,
        sampling=preprocessing.sampling,
        stride=stride,
        num_clips=preprocessing.num_clips,
    )  # [clips, T]
    num_crops = preprocessing.num_crops
    size = preprocessing.image_size
    frames = np.empty((preprocessing.num_clips, num_crops, preprocessing.num_frames, size, size, 3), np.uint8)
    missing = set(np.unique(per_clip).tolist())
    for index, frame in source.read(sorted(missing)):
        clips, steps = np.nonzero(per_clip == index)
        frames[clips, :, steps] = transform_frame(frame, preprocessing)
        missing.remove(index)
        del frame  # before the next one is decoded
    if missing:
        raise VideoReadError(
            f"all frames that the model looks at must be there; of {source.num_frames} frames number "
            f"{min(missing)} can't be decoded; make or copy the file again."
        )
    return Clip(
        frames=frames.reshape(preprocessing.num_views, *frames.shape[2:]),
        indices=np.repeat(per_clip, num_crops, axis=0),
        fps=source.fps,
        notices=(*source.notices, *clock_notices, *_describe_padding(num_available, preprocessing, stride)),
    )


def _count_within(source: FrameSource, seconds: float | None) -> tuple[int, tuple[str, ...]]:
    if seconds is None:
        return source.num_frames, ()
    if source.times is None:
        return source.num_frames, (f"images have no clock: first_seconds = {seconds:g} is left out",)
    num_within = int(np.count_nonzero(source.times < seconds))
    return source.num_frames if num_within == len(source.times) else num_within, ()


def _describe_padding(num_available: int, preprocessing: Preprocessing, stride: int) -> tuple[str, ...]:
    num_frames, begins_anew = preprocessing.num_frames, preprocessing.sampling == "windows"
    num_distinct = -(-num_available // stride)
    if num_distinct >= num_frames:
        return ()
    apart = f" {stride} apart" if stride > 1 else ""
    there_are = "there is 1 frame" if num_available == 1 else f"there are {num_available} frames"
    what = "the video begins anew" if begins_anew else "the last one is repeated"
    return (f"{there_are}, the model looks at {num_frames}{apart}: {what}",)
