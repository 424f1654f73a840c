"""Opening a video file with PyAV, and saying in one line why that failed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vidtldr_jax.data.containers import SAFE_OPTIONS, find_kind_of_text
from vidtldr_jax.data.decoder_faults import describe_reason, raise_read_errors
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.mp4_boxes import check_mp4_index, walk_boxes
from vidtldr_jax.data.riff_tags import check_riff_tags
from vidtldr_jax.data.video_streams import choose_stream
from vidtldr_jax.trust.limits import check_limit, get_limit
from vidtldr_jax.trust.regular import check_regular

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_MOST_FFMPEG_COUNTS: Final = 2**31 - 1
_PADDING: Final = 2**16  # pixels
_LARGE_FRAME: Final = 2**25  # pixels, 8K has fewer; above it a decoder works on one frame at a time, to save memory


class OpenedVideo(NamedTuple):
    """A file that is open.

    Attributes:
      container: at its beginning.
      stream: what is read of it, set to decode with threads and within the limit on a frame's pixels.
      notices: what a user should know about the choice of the stream.
    """

    container: InputContainer
    stream: VideoStream
    notices: tuple[str, ...]


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[OpenedVideo]:
    """Opens a file and finds its video stream.

    Args:
      path: of an existing file.

    Yields:
      The opened file, closed at the end.

    Raises:
      VideoReadError: the file is no regular file, empty, of no format that is read, cut off before its index, without a
        video that can be decoded or with frames above the limit; or anything was raised inside.
    """
    with raise_read_errors(path):
        check_regular(path)
        check_mp4_index(path)
        check_riff_tags(path)
        with _open_container(path) as container:
            stream, notice = choose_stream(container, path, functools.partial(_open_container, path))
            size = stream.codec_context.width * stream.codec_context.height or _find_announced_size(path, stream.index)
            check_limit("frame_pixels", size, f"a frame of {str(path)!r}")
            stream.thread_type = "AUTO" if size <= _LARGE_FRAME else "SLICE"
            stream.codec_context.options = {"max_pixels": _count_most_pixels()}
            yield OpenedVideo(container, stream, (notice,) if notice else ())


def _count_most_pixels() -> str:
    """Returns FFmpeg's own limit, which counts the padding of rows to multiples of 64 too; the exact one is checked."""
    limit = get_limit("frame_pixels")
    return str(min(limit + limit // 8 + _PADDING, _MOST_FFMPEG_COUNTS))


def _open_container(path: Path) -> InputContainer:
    """Opens a file; what FFmpeg decodes while it looks around is limited too."""
    import av

    options = SAFE_OPTIONS | {"max_pixels": _count_most_pixels()}
    try:
        # "file:" keeps a name such as "a:b.mp4" from being read as a protocol.
        return av.open(f"file:{path}", options=options, **_choose_options(av.__version__))
    except (av.FFmpegError, OSError) as error:
        if isinstance(error, MemoryError):
            raise
        raise VideoReadError(_explain_unopenable(path, error)) from error


def _find_announced_size(path: Path, index: int) -> int:
    """Returns the pixels of a frame as the header says, for a stream whose decoder refused to say; 0 if unknown."""
    import av

    # An option that no decoder takes keeps FFmpeg from decoding anything, so that the header's word stands.
    options = SAFE_OPTIONS | {"max_pixels": "unheard of"}
    with av.open(f"file:{path}", options=options, **_choose_options(av.__version__)) as container:
        context = container.streams[index].codec_context
        return context.width * context.height


def _choose_options(av_version: str) -> dict[str, Any]:
    """Lets metadata be in any encoding: PyAV takes that by itself from version 19 on, and must be told before."""
    return {"metadata_errors": "ignore"} if int(av_version.split(".")[0]) < 19 else {}


def _explain_unopenable(path: Path, error: Exception) -> str:
    import av

    shown = repr(str(path))
    if isinstance(error, PermissionError):
        return f"the file must be readable; permission to read {shown} is denied; change its mode or owner."
    size = path.stat().st_size
    if size == 0:
        return f"a video is needed; {shown} is empty (0 bytes); make or copy it again."
    kind = find_kind_of_text(path)
    if kind == "a playlist":
        return f"a video is one file with its own content; {shown} is {kind}; give the video itself."
    if kind is not None:
        return f"a video is needed; FFmpeg can't read {shown} (it is {kind}); give another file."
    with path.open("rb") as file:
        boxes = {box.kind for box in walk_boxes(file, size) if box.depth == 0}
    if b"ftyp" in boxes and b"moov" not in boxes:
        return (
            f"an MP4 needs its index (moov); {shown} ({size} bytes) has none, so it was cut off or never "
            "finished; make or copy it again."
        )
    if isinstance(error, av.error.ArgumentError):
        return (
            f"a video is one file in a format that carries its own content; {shown} is damaged or in "
            "another format; give another file, or write it as MP4."
        )
    return f"a video is needed; FFmpeg can't read {shown} ({describe_reason(error)}); give another file."
