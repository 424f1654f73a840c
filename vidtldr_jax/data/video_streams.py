"""Which of a file's video streams is read: the one that FFmpeg takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from vidtldr_jax.data.errors import VideoReadError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# What FFmpeg's "automatic stream selection" adds to the pixels of a stream that is marked as the default.
_BONUS_OF_DEFAULT: Final = 5_000_000


class ChosenStream(NamedTuple):
    """The stream that is read.

    Attributes:
      stream: of the container.
      notice: which of how many it is; None where there is one.
    """

    stream: VideoStream
    notice: str | None


def choose_stream(container: InputContainer, path: Path) -> ChosenStream:
    """Choose a container's video stream as the program ffmpeg does without `-map`.

    Cover pictures and timed thumbnails are no videos. Of the others that can be decoded the one with most pixels is
    taken; one marked as the default counts 5 million pixels more; the first of equals.

    Args:
      container: opened.
      path: of the file, for messages.

    Returns:
      The stream and what to tell about it.

    Raises:
      VideoReadError: there is no video stream, or none that can be decoded.
    """
    from av.stream import Disposition

    no_videos = Disposition.attached_pic | Disposition.timed_thumbnails
    videos = [stream for stream in container.streams.video if not stream.disposition & no_videos]
    if not videos:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no streams"
        raise VideoReadError(
            f"read_frames: a video stream is needed; {str(path)!r} has none (only {kinds}); give another file."
        )
    # PyAV leaves codec_context out where this build of FFmpeg has no decoder.
    decodable = [stream for stream in videos if getattr(stream, "codec_context", None) is not None]
    if not decodable:
        raise VideoReadError(
            f"read_frames: a video codec that FFmpeg can decode is needed; that of {str(path)!r} is unknown; "
            "re-encode it, for instance as H.264."
        )

    def score(stream: VideoStream) -> int:
        is_default = bool(stream.disposition & Disposition.default)
        return stream.codec_context.width * stream.codec_context.height + _BONUS_OF_DEFAULT * is_default

    chosen = max(decodable, key=score)  # the first of equals
    if len(videos) == 1:
        return ChosenStream(chosen, None)
    size = f"{chosen.codec_context.width} x {chosen.codec_context.height}"
    which = f"{size}, the default" if chosen.disposition & Disposition.default else size
    place = videos.index(chosen) + 1
    return ChosenStream(chosen, f"there are {len(videos)} video streams: number {place} is read ({which})")
