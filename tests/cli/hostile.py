"""Texts that would drive a terminal, forge a line or reverse the order of characters, and a search for their traces."""

import os
import re

LABEL = "la\x1b[31mbel\x9b2J\n\u202eerror: forged\u2028\r[red]:warning:\x07"
# As a file's name: a byte that is not UTF-8, and no slash.
NAME = os.fsdecode(b"na\x1b]0;owned\x07me\xff \xc2\x9b1m\n\xe2\x80\xaeerror: no\xe2\x80\xa8\r[red]")
# All that may not reach a terminal, but for the line feeds that end our own lines.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)
# What click, rich and our labels send to a terminal themselves: colours, and the cursor's moves of a bar.
_OURS = re.compile("\x1b\\[[0-9;]*m|\x1b\\[[0-9]*[AK]|\x1b\\[2K|\x1b\\[\\?25[lh]|\r")


def find_unsafe(written, *, is_terminal=False):
    """Lists what is unsafe in bytes that were written; a terminal's own line ends and colours are let through there."""
    text = written.decode("utf-8", "surrogateescape") if isinstance(written, bytes) else written
    if is_terminal:
        text = _OURS.sub("", text)
    found = [ascii(text[max(0, one.start() - 20) : one.end() + 20]) for one in _UNSAFE.finditer(text)]
    forged = [line for line in text.split("\n") if "forged" in line and line.startswith("error: forged")]
    return found + forged
