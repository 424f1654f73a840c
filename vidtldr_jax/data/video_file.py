"""Frames of a video file by number, decoded with PyAV: exact, and seeking where that saves work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float64, UInt8

from vidtldr_jax.data.cut_off import describe_cut
from vidtldr_jax.data.decoder_faults import ReadAgain
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.frame_table import FrameTable, list_frames
from vidtldr_jax.data.open_video import open_video
from vidtldr_jax.data.orientation import DisplayMatrices, orient_frame
from vidtldr_jax.trust.limits import LimitError, check_limit, get_limit, name_variable

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_FEWEST_TO_SKIP: Final = 4  # a seek empties the decoder's threads, which costs about this many frames


class FrameCountError(ReadAgain):
    """The decoder gives other frames than the packets promised: they must be counted by decoding."""


class SeekError(ReadAgain):
    """The container can't be sought in exactly: it must be decoded from its beginning."""


class VideoFile:
    """The frames of a video file, numbered in the order of showing.

    The packets are listed first, which costs reading the file but no decoding; where they don't tell what the frames
    are, the file is decoded once to count them. Nothing stays open between calls.

    Attributes:
      path: of the file.
      num_frames: how many there are; of an MP4 that was cut off, how many its index lists.
      times: [F] float64, seconds since the first frame of those that are there; None if unknown.
      fps: frames per second on average; None if unknown.
      notices: what a user should know about the file.
    """

    path: Path
    num_frames: int
    times: Float64[np.ndarray, " F"] | None
    fps: float | None
    notices: tuple[str, ...]

    def __init__(self, path: Path) -> None:
        """Counts the frames.

        Args:
          path: of an existing file.

        Raises:
          VideoReadError: the file is no video that can be read.
        """
        self.path = path
        with open_video(path) as (container, stream, notices):
            table = list_frames(container, stream)
            if table is not None:
                times = table.pts * float(stream.time_base or 1)
                self._describe(container, stream, len(table.pts), times, notices)
                self.num_frames = table.num_announced
        self._table: FrameTable | None = table
        if table is None:
            self.count_by_decoding()

    def count_by_decoding(self) -> None:
        """Counts the frames by decoding all of them; from then on they are read from the beginning, without seeking.

        Raises:
          VideoReadError: no frame can be decoded.
        """
        promised = 0 if self._table is None else len(self._table.pts)
        with open_video(self.path) as (container, stream, notices):
            seconds = []
            for frame in decode_frames(container, stream):
                seconds.append(frame.time)
                check_limit("frames", len(seconds), f"the video {str(self.path)!r}")
            if not seconds:
                raise VideoReadError(
                    f"at least 1 frame must be readable; of {str(self.path)!r} none can be decoded; make "
                    "or copy it again."
                )
            times = None if None in seconds else np.array(seconds, np.float64)
            self._describe(container, stream, len(seconds), times, notices)
        self._table = None
        self.num_frames = len(seconds)
        if promised > len(seconds):
            lost = f"{promised - len(seconds)} of {promised} frames can't be decoded and are left out"
            self.notices = (*self.notices, lost)

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, UInt8[np.ndarray, "Y X 3"]]]:
        """Decodes frames, one at a time.

        Args:
          indices: which, in strictly ascending order, below `num_frames`.

        Yields:
          The index and the frame, RGB, turned as the file's display matrix says.

        Raises:
          VideoReadError: the file was cut off before a frame that is asked for.
          FrameCountError: the packets promised other frames than there are; `count_by_decoding`, then ask again.
        """
        table = self._table
        if table is None:
            yield from self._read_in_order(indices)
            return
        beyond = [index for index in indices if index >= len(table.pts)]
        if beyond:
            raise VideoReadError(
                f"all frames that the model looks at must be there; {str(self.path)!r} is cut off: "
                f"{len(table.pts)} of {self.num_frames} frames are readable, frame {beyond[0]} is needed; copy it "
                "again."
            )
        num_read = 0
        try:
            for pair in self._read_by_time(indices, table, may_seek=True):
                num_read += 1
                yield pair
        except SeekError:
            yield from self._read_by_time(indices[num_read:], table, may_seek=False)

    def _read_in_order(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        wanted, matrices = set(indices), DisplayMatrices()
        with open_video(self.path) as (container, stream, _):
            for index, frame in enumerate(decode_frames(container, stream)):
                if index in wanted:
                    yield index, to_rgb(frame, matrices)
                    if index == indices[-1]:
                        return

    def _read_by_time(
        self, indices: Sequence[int], table: FrameTable, *, may_seek: bool
    ) -> Iterator[tuple[int, np.ndarray]]:
        entry = np.maximum.accumulate(np.where(table.keyframes, np.arange(len(table.pts)), 0))  # keyframe to begin with
        matrices = DisplayMatrices()
        with open_video(self.path) as (container, stream, _):
            frames = decode_frames(container, stream)
            at, frame = -1, None
            for index in indices:
                begin = int(entry[index])
                if may_seek and begin - at > _FEWEST_TO_SKIP:
                    frames = _seek(container, stream, int(table.seek_times[begin]))
                    frame = next(frames, None)
                    at = _find(table, frame)
                    if not 0 <= at <= begin:
                        raise SeekError
                while at < index:
                    frame = None  # give its memory back first
                    frame = next(frames, None)
                    if _find(table, frame) != at + 1:
                        raise FrameCountError
                    at += 1
                if frame is not None:
                    yield index, to_rgb(frame, matrices)

    def _describe(
        self,
        container: InputContainer,
        stream: VideoStream,
        num_found: int,
        times: np.ndarray | None,
        notices: tuple[str, ...],
    ) -> None:
        span = 0.0 if times is None else float(np.ptp(times))
        rate = stream.average_rate or stream.guessed_rate
        self.fps = (num_found - 1) / span if span > 0 else float(rate) if rate else None
        if times is None and self.fps:
            times = np.arange(num_found) / self.fps
        self.times = None if times is None else times - times[0]
        cut = describe_cut(self.path, container.format.name)
        self.notices = notices if cut is None else (*notices, cut)


def decode_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decodes from where the container stands to its end, over packets that can't be decoded.

    Raises:
      LimitError: a frame is larger than the limit.
      MemoryError: memory ran out.
    """
    import av

    name = repr(container.name.removeprefix("file:"))
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            return
        if not packet.is_corrupt:
            size = stream.codec_context.width * stream.codec_context.height
            try:
                decoded = packet.decode()
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                _check_refused_size(stream, size, name)
                continue
            while decoded:  # and keep none: each may take hundreds of megabytes
                check_limit("frame_pixels", decoded[0].width * decoded[0].height, f"a frame of {name}")
                yield decoded.pop(0)


def _check_refused_size(stream: VideoStream, size_before: int, name: str) -> None:
    """Tells whether a packet was refused because its frame is above the limit; a decoder may forget the size then."""
    size = stream.codec_context.width * stream.codec_context.height
    check_limit("frame_pixels", size, f"a frame of {name}")
    if size_before and not size:
        raise LimitError(
            f"a frame of {name} may have at most {get_limit('frame_pixels'):,} pixels; got a larger one among "
            f"others; set {name_variable('frame_pixels')} to allow more"
        )


def to_rgb(frame: VideoFrame, matrices: DisplayMatrices) -> UInt8[np.ndarray, "Y X 3"]:
    """Returns a decoded frame as pixels, by the colour space and range that it names, the right way up."""
    return orient_frame(frame.to_ndarray(format="rgb24"), matrices.read(frame))


def _seek(container: InputContainer, stream: VideoStream, seek_time: int) -> Iterator[VideoFrame]:
    import av

    try:
        container.seek(seek_time, stream=stream)
    except av.FFmpegError as error:
        raise SeekError from error
    frames = decode_frames(container, stream)
    for frame in frames:
        if frame.key_frame:  # what is shown before it may refer to frames that were not decoded
            yield frame
            break
    yield from frames


def _find(table: FrameTable, frame: VideoFrame | None) -> int:
    """Returns the number of a frame in a table, -1 if it is not there."""
    if frame is None or frame.pts is None:
        return -1
    index = int(np.searchsorted(table.pts, frame.pts))
    return index if index < len(table.pts) and table.pts[index] == frame.pts else -1
