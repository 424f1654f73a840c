"""The frames of a video stream, listed from its packets without decoding them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Of these every packet is one shown frame and the keyframe flag is honest. VP8 has hidden frames, Theora empty
# packets for repeated ones, a GIF's later frames are drawn over the earlier ones: these are counted by decoding.
_ONE_PACKET_PER_FRAME: Final = frozenset(
    {"av1", "dnxhd", "ffv1", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "prores", "vp9"}
)


class FrameTable(NamedTuple):
    """When the frames of a stream are shown, in the order of showing.

    Attributes:
      pts: [F] int64, times in the stream's time base, strictly ascending.
      seek_times: [F] int64, what to ask the container for so that decoding begins with this frame or before it.
      keyframes: [F] bool, whether decoding may begin there.
      num_announced: frames that the container's index lists; more than F where the file was cut off.
    """

    pts: Int64[np.ndarray, " F"]
    seek_times: Int64[np.ndarray, " F"]
    keyframes: Bool[np.ndarray, " F"]
    num_announced: int


def list_frames(container: InputContainer, stream: VideoStream) -> FrameTable | None:
    """Reads all packets of a stream.

    Args:
      container: opened and not read from yet.
      stream: of the container.

    Returns:
      The table; None where the packets don't tell how many frames there are, so that only decoding does.
    """
    import av

    if stream.codec_context.codec.canonical_name not in _ONE_PACKET_PER_FRAME:
        return None
    # A Matroska file's index has presentation times, others have decoding times.
    by_pts = "matroska" in container.format.name
    rows: list[tuple[int, int, bool]] = []
    last_dts: int | None = None
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard or packet.is_corrupt:
                continue
            if packet.pts is None:
                return None
            last_dts = packet.dts
            seek_time = packet.pts if by_pts or packet.dts is None else packet.dts
            rows.append((packet.pts, seek_time, packet.is_keyframe))
    except av.FFmpegError:  # damaged here: what came before is what there is
        pass
    num_announced = _count_index(container, stream)
    if num_announced > len(rows) and last_dts is not None:
        # Packets come in decoding order: of what is shown after the last one's decoding time some may be missing.
        rows = [row for row in rows if row[0] <= last_dts]
    rows.sort()
    pts = np.array([row[0] for row in rows], np.int64)
    if len(rows) == 0 or not np.all(np.diff(pts) > 0):
        return None
    return FrameTable(
        pts=pts,
        seek_times=np.array([row[1] for row in rows], np.int64),
        keyframes=np.array([row[2] for row in rows], bool),
        num_announced=max(num_announced, len(rows)),
    )


def _count_index(container: InputContainer, stream: VideoStream) -> int:
    """Counts the shown frames in the index of an MP4 or MOV that points beyond the file's end; 0 for whole files."""
    if "mov" not in container.format.name.split(","):
        return 0
    shown = [entry for entry in stream.index_entries if entry.size and not entry.is_discard]
    is_cut = any(entry.pos + entry.size > container.size for entry in shown)
    return len(shown) if is_cut else 0
