"""The error of files that models are loaded from and written to."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint folder can't be read or written; the message is one line and says what to do."""
