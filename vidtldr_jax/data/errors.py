"""What reading a video can end in."""

from __future__ import annotations


class VideoReadError(ValueError):
    """A video or image folder can't be read; the message is one line, fit for a user."""
