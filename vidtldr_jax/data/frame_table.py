"""The frames of a video stream, listed from its packets without decoding them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from vidtldr_jax.trust.limits import check_limit

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

    Raises:
      LimitError: there are more frames than the limit.
      MemoryError: memory ran out.
    """
    import av

    if stream.codec_context.codec.canonical_name not in _ONE_PACKET_PER_FRAME:
        return None
    # A Matroska file's index has presentation times, others have decoding times.
    by_pts = "matroska" in container.format.name
    video = f"the video {container.name.removeprefix('file:')!r}"
    check_limit("frames", len(stream.index_entries), video)
    pts, seek_times, keyframes = array("q"), array("q"), bytearray()
    last_dts: int | None = None
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard or packet.is_corrupt:
                continue
            if packet.pts is None:
                return None
            last_dts = packet.dts
            pts.append(packet.pts)
            seek_times.append(packet.pts if by_pts or packet.dts is None else packet.dts)
            keyframes.append(packet.is_keyframe)
            check_limit("frames", len(pts), video)
    except av.FFmpegError as error:  # damaged here: what was read before is what there is
        if isinstance(error, MemoryError):
            raise
    shown = np.frombuffer(pts, np.int64)
    num_announced = _count_index(container, stream)
    order = np.argsort(shown, kind="stable")
    if num_announced > len(shown) and last_dts is not None:
        # Packets come in decoding order: of what is shown after the last one's decoding time some may be missing.
        order = order[shown[order] <= last_dts]
    if len(order) == 0 or not np.all(np.diff(shown[order]) > 0):
        return None
    return FrameTable(
        pts=shown[order],
        seek_times=np.frombuffer(seek_times, np.int64)[order],
        keyframes=np.frombuffer(keyframes, bool)[order],
        num_announced=max(num_announced, len(order)),
    )


def _count_index(container: InputContainer, stream: VideoStream) -> int:
    """Counts the shown frames in the index of an MP4 or MOV that points beyond the file's end; 0 for whole files."""
    if "mov" not in container.format.name.split(","):
        return 0
    num_shown, is_cut = 0, False
    for entry in stream.index_entries:
        if entry.size and not entry.is_discard:
            num_shown += 1
            is_cut = is_cut or entry.pos + entry.size > container.size
    return num_shown if is_cut else 0
