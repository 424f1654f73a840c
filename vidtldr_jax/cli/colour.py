"""Colours: on a terminal that shows them, and only where NO_COLOR (https://no-color.org) is not set."""

from __future__ import annotations

import os
from typing import TextIO

import click


def uses_colour(stream: TextIO) -> bool:
    """Tells whether what is written to a stream may be coloured."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Returns a text in a colour, or as it is where the stream may have none."""
    return click.style(text, fg=colour) if uses_colour(stream) else text
