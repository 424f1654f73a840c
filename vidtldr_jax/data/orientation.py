"""Turning a decoded frame the way its display matrix says."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from av.buffer import Buffer
    from av.filter import Graph
    from av.video.frame import VideoFrame

_MATRIX: Final = 6  # FFmpeg's number of this kind of side data
_MOST_KINDS: Final = 64  # of side data; FFmpeg 8 has fewer than 40


class DisplayMatrices:
    """Reads the display matrices of a video's frames.

    PyAV can't be asked for the side data of any frame: it raises an error where FFmpeg attached a kind that it has no
    name for, such as EXIF data, and frees the description of a colour profile twice, which ends the process. So all
    other kinds are taken off a copy of the frame first; its pixels are not copied.
    """

    def __init__(self) -> None:
        """Starts without any frame."""
        self._selecting: dict[tuple[int, int, str], Graph] = {}
        self._stripping: dict[tuple[int, int, str], Graph] = {}

    def read(self, frame: VideoFrame) -> bytes | None:
        """Return the display matrix of a decoded frame.

        Args:
          frame: as decoded.

        Returns:
          Nine int32 of the machine's byte order; None if there is none.
        """
        selected = _pass(frame, self._selecting, [f"mode=select:type={_MATRIX}"])
        if selected is None:
            return None
        others = [f"mode=delete:type={kind}" for kind in range(_MOST_KINDS) if kind != _MATRIX]
        stripped = _pass(selected, self._stripping, others)
        if stripped is None:
            return None
        return bytes(cast("Buffer", stripped.side_data.get("DISPLAYMATRIX")))


def _pass(frame: VideoFrame, graphs: dict[tuple[int, int, str], Graph], settings: Sequence[str]) -> VideoFrame | None:
    """Returns what filters of side data make of a frame; None if they drop it."""
    import av
    import av.filter

    key = (frame.width, frame.height, frame.format.name)
    if key not in graphs:
        graph = av.filter.Graph()
        time_base = frame.time_base or Fraction(1, 1)
        source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
        filters = [graph.add("sidedata", setting) for setting in settings]
        graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
        graphs[key] = graph
    try:
        graphs[key].push(frame)
        return cast("VideoFrame", graphs[key].pull())
    except BlockingIOError:  # nothing there
        return None


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
