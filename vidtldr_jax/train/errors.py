"""What training can end in."""

from __future__ import annotations


class TrainError(ValueError):
    """Training can't start or go on; the message is one line, fit for a user."""
