"""Turning a decoded frame the way its display matrix says."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8


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
