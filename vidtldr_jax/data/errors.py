"""What reading videos can end in."""

from __future__ import annotations


class VideoReadError(ValueError):
    """A video or image folder can't be read; the message is one line, fit for a user."""


class WorkerError(RuntimeError):
    """Worker processes can't be had, or one ended too early; the message is one line, fit for a user."""
