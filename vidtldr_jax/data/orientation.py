"""Turning a decoded frame the way its display matrix says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from av.buffer import Buffer
    from av.video.frame import VideoFrame

_MOST_KINDS: Final = 64  # of side data; FFmpeg 8 has 32


def read_display_matrix(frame: VideoFrame) -> bytes | None:
    """Return the display matrix of a decoded frame.

    FFmpeg attaches kinds of side data that PyAV has no name for, EXIF data of Motion JPEG for one, and then PyAV
    refuses to list any. These kinds are taken off a copy of the frame first; its pixels are not copied.

    Args:
      frame: as decoded.

    Returns:
      Nine int32 of the machine's byte order; None if there is none.
    """
    try:
        side_data = frame.side_data
    except ValueError:
        side_data = _drop_unknown_side_data(frame).side_data
    matrix = cast("Buffer | None", side_data.get("DISPLAYMATRIX"))
    return None if matrix is None else bytes(matrix)


def _drop_unknown_side_data(frame: VideoFrame) -> VideoFrame:
    import av.filter
    from av.sidedata.sidedata import Type

    graph = av.filter.Graph()
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    known = {kind.value for kind in Type}
    for kind in range(_MOST_KINDS):
        if kind not in known:
            drop = graph.add("sidedata", f"mode=delete:type={kind}")
            last.link_to(drop)
            last = drop
    sink = graph.add("buffersink")
    last.link_to(sink)
    graph.configure()
    graph.push(frame)
    return cast("VideoFrame", graph.pull())


def orient_frame(frame: UInt8[np.ndarray, "Y X 3"], matrix: bytes | None) -> UInt8[np.ndarray, "Y2 X2 3"]:
    """Applies a display matrix: phones film on their side and leave the turning to the player.

    Args:
      frame: as decoded.
      matrix: nine int32 of the machine's byte order, rows (a, b, u), (c, d, v), (x, y, w): a pixel (x, y) is shown at
        (a x + c y, b x + d y). None or all zeros for none. Quarter turns and mirror images are honoured; other angles
        go to the nearest of these; scale and shift are left out.

    Returns:
      The frame as it is to be shown, a view.
    """
    if matrix is None:
        return frame
    a, b, _, c, d = (int(value) for value in np.frombuffer(matrix, np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        frame, to_x, to_y = frame.transpose(1, 0, 2), c, b
    else:
        to_x, to_y = a, d
    frame = frame[:, ::-1] if to_x < 0 else frame
    return frame[::-1] if to_y < 0 else frame
