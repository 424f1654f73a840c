"""Which of a file's video streams is read: the one that FFmpeg takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from vidtldr_jax.data.errors import VideoReadError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

# What FFmpeg's "automatic stream selection" adds to the pixels of a stream that is marked as the default.
_BONUS_OF_DEFAULT: Final = 5_000_000
# How far FFmpeg looks into a file before it chooses.
_PROBED_SECONDS: Final = 5
_PROBED_BYTES: Final = 5_000_000


class ChosenStream(NamedTuple):
    """The stream that is read.

    Attributes:
      stream: of the container.
      notice: which of how many it is; None where there is one.
    """

    stream: VideoStream
    notice: str | None


def choose_stream(container: InputContainer, path: Path, reopen: Callable[[], InputContainer]) -> ChosenStream:
    """Choose a container's video stream as the program ffmpeg does without `-map`.

    Cover pictures and timed thumbnails are no videos. Of the others that can be decoded, those that begin within what
    FFmpeg probes are preferred; of these the one with most pixels is taken; one marked as the default counts 5 million
    pixels more; the first of equals.

    Args:
      container: opened.
      path: of the file, for messages.
      reopen: opens the file once more, to look at its first packets where there are several videos.

    Returns:
      The stream and what to tell about it.

    Raises:
      VideoReadError: there is no video stream, or none that can be decoded.
    """
    from av.stream import Disposition

    no_videos = Disposition.attached_pic | Disposition.timed_thumbnails
    videos = [stream for stream in container.streams.video if not stream.disposition & no_videos]
    if not videos:
        kinds = ", ".join(sorted(set(map(_name_kind, container.streams)))) or "no streams"
        raise VideoReadError(f"a video stream is needed; {str(path)!r} has none (only {kinds}); give another file.")
    # PyAV leaves codec_context out where this build of FFmpeg has no decoder.
    decodable = [stream for stream in videos if getattr(stream, "codec_context", None) is not None]
    if not decodable:
        raise VideoReadError(
            f"a video codec that FFmpeg can decode is needed; that of {str(path)!r} is unknown; "
            "re-encode it, for instance as H.264."
        )

    started = _find_started(decodable, reopen) if len(decodable) > 1 else ()

    def score(stream: VideoStream) -> tuple[bool, int]:
        is_default = bool(stream.disposition & Disposition.default)
        pixels = stream.codec_context.width * stream.codec_context.height
        return stream.index in started, pixels + _BONUS_OF_DEFAULT * is_default

    chosen = max(decodable, key=score)  # the first of equals
    if len(videos) == 1:
        return ChosenStream(chosen, None)
    size = f"{chosen.codec_context.width} x {chosen.codec_context.height}"
    which = f"{size}, the default" if chosen.disposition & Disposition.default else size
    place = videos.index(chosen) + 1
    return ChosenStream(chosen, f"there are {len(videos)} video streams: number {place} is read ({which})")


def _find_started(streams: Sequence[VideoStream], reopen: Callable[[], InputContainer]) -> set[int]:
    """Returns the indices of the streams that have a packet where FFmpeg looks for one.

    A stream may be announced and stay empty, or begin long after the others.
    """
    import av

    sought = {stream.index for stream in streams}
    found: set[int] = set()
    first: dict[int, float] = {}
    num_bytes = 0
    with reopen() as container:
        try:
            for packet in container.demux():
                num_bytes += packet.size
                if packet.size and packet.stream.index in sought:
                    found.add(packet.stream.index)
                seconds = 0.0 if packet.dts is None else float(packet.dts * packet.time_base)
                passed = seconds - first.setdefault(packet.stream.index, seconds)
                if found == sought or passed > _PROBED_SECONDS or num_bytes > _PROBED_BYTES:
                    break
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
    return found


def _name_kind(stream: Stream) -> str:
    return "cover pictures" if stream.type == "video" else stream.type
