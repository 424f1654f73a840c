"""Opening a video file with PyAV, and saying in one line why that failed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vidtldr_jax.data.errors import VideoReadError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_TEXT_FORMATS: Final = frozenset({"tty", "bin", "xbin", "adf", "idf"})  # FFmpeg draws any .txt as a video


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a file and finds its video stream.

    Args:
      path: of an existing file.

    Yields:
      The container, closed at the end, and its first video stream that is not a cover picture, set to decode with all
      threads.

    Raises:
      VideoReadError: the file is empty, of no known format, cut off before its index, or without a video that can be
        decoded.
    """
    import av
    from av.stream import Disposition

    try:
        # "file:" keeps a name such as "a:b.mp4" from being read as a protocol.
        container = av.open(f"file:{path}", **_choose_options(av.__version__))
    except (av.FFmpegError, OSError) as error:
        raise VideoReadError(_explain_unopenable(path, error)) from error
    with container:
        if container.format.name in _TEXT_FORMATS:
            raise VideoReadError(f"read_frames: a video is needed; {str(path)!r} is a text file; give another file.")
        videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not videos:
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "no streams"
            raise VideoReadError(
                f"read_frames: a video stream is needed; {str(path)!r} has none (only {kinds}); give another file."
            )
        # PyAV leaves codec_context out where this build of FFmpeg has no decoder.
        decodable = [s for s in videos if getattr(s, "codec_context", None) is not None]
        if not decodable:
            raise VideoReadError(
                f"read_frames: a video codec that FFmpeg can decode is needed; that of {str(path)!r} is unknown; "
                "re-encode it, for instance as H.264."
            )
        decodable[0].thread_type = "AUTO"
        yield container, decodable[0]


def _choose_options(av_version: str) -> dict[str, Any]:
    """Lets metadata be in any encoding: PyAV takes that by itself from version 19 on, and must be told before."""
    return {"metadata_errors": "ignore"} if int(av_version.split(".")[0]) < 19 else {}


def _explain_unopenable(path: Path, error: Exception) -> str:
    shown = repr(str(path))
    if isinstance(error, PermissionError):
        return (
            f"read_frames: the file must be readable; permission to read {shown} is denied; change its mode or owner."
        )
    size = path.stat().st_size
    if size == 0:
        return f"read_frames: a video is needed; {shown} is empty (0 bytes); make or copy it again."
    boxes = _list_mp4_boxes(path, size)
    if "ftyp" in boxes and "moov" not in boxes:
        return (
            f"read_frames: an MP4 needs its index (moov); {shown} ({size} bytes) has none, so it was cut off or never "
            "finished; make or copy it again."
        )
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"read_frames: a video is needed; FFmpeg can't read {shown} ({reason}); give another file."


def _list_mp4_boxes(path: Path, size: int) -> list[str]:
    names: list[str] = []
    with path.open("rb") as file:
        offset = 0
        while offset + 8 <= size and len(names) < 1000:
            file.seek(offset)
            header = file.read(16)
            length, name = int.from_bytes(header[:4], "big"), header[4:8]
            if not name.isalnum():
                break
            names.append(name.decode("ascii", "replace"))
            if length == 1:  # the length is 64 bits, after the name
                length = int.from_bytes(header[8:], "big")
            if length < 8:
                break
            offset += length
    return names
