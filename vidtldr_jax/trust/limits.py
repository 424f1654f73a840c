"""Limits on what is read, so that a small file can't ask for all memory or time. A user can raise each of them.

A limit is raised by an environment variable, `VIDTLDR_MAX_` and its name in capitals: `VIDTLDR_MAX_FRAME_PIXELS=300e6`.
"""

from __future__ import annotations

import math
import os
from typing import Final

PREFIX: Final = "VIDTLDR_MAX_"

# Name -> (default, what is counted). Chosen far above what published models and usual videos have.
LIMITS: Final[dict[str, tuple[int, str]]] = {
    "frame_pixels": (36 * 2**20, "pixels of one frame, 36 Mi (8K of cinemas has 33.8 Mi)"),
    "frames": (4_000_000, "frames of one video, about 18 hours at 60 per second"),
    "json_bytes": (40 * 2**20, "bytes of a JSON file"),
    "config_bytes": (4 * 2**20, "bytes of the config.json of a checkpoint"),
    "header_bytes": (16 * 2**20, "bytes of the header of a safetensors file"),
    "tensors": (100_000, "tensors of a weights file"),
    "part_bytes": (2**29, "bytes of one part of an index"),
    "records_bytes": (2**27, "bytes of a records file"),
    "token_id": (2**24, "largest token id of a tokenizer"),
    "depth": (64, "blocks of one encoder"),
    "channels": (2**16, "channels of a token or a layer"),
    "tokens": (2**20, "tokens of a clip"),
    "table": (2**24, "numbers of a sin-cos table of positions"),
    "clip_pixels": (2**26, "pixels of all frames of a clip, 64 Mi"),
    "clips": (1024, "clips of a video"),
    "classes": (2**20, "classes of a classifier"),
    "pairs": (10_000_000, "pairs of a video and a text that belong together"),
    "faults": (20, "faults listed in one message"),
}


class LimitError(ValueError):
    """A file asks for more than a limit allows; the message is one line and names the variable that raises it."""


def get_limit(name: str) -> int:
    """Return a limit: its default, or what the user's environment says.

    Args:
      name: a key of `LIMITS`.

    Returns:
      The largest value that is allowed.

    Raises:
      LimitError: the environment variable is not a number of at least 1.
    """
    default, _ = LIMITS[name]
    text = os.environ.get(name_variable(name), "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value < math.inf:
        raise LimitError(f"{name_variable(name)} is a number of at least 1; got {text!r}; fix it or unset it")
    return int(value)


def name_variable(name: str) -> str:
    """Return the environment variable that raises a limit."""
    return PREFIX + name.upper()


def check_limit(name: str, count: int, what: str) -> None:
    """Refuse what exceeds a limit.

    Args:
      name: a key of `LIMITS`.
      count: what was found.
      what: subject of the message, such as "a frame of 'a.mp4'".

    Raises:
      LimitError: the count is above the limit.
    """
    most = get_limit(name)
    if count > most:
        unit = LIMITS[name][1].split(",")[0]
        raise LimitError(
            f"{what} may have at most {most:,} ({unit}); got {count:,}; set {name_variable(name)} to allow more"
        )
