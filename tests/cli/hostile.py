"""Texts that would drive a terminal, forge a line or reverse the order of characters, and a search for their traces."""

import io
import logging
import os
import re
import sys

from vidtldr_jax.cli.main import cli
from vidtldr_jax.cli.runtime import set_verbosity

LABEL = "la\x1b[2Jbel\x9b2J\n\u202eerror: forged\u2028\r[red]:warning:\x07"
# As a file's name: a byte that is not UTF-8, and no slash.
NAME = os.fsdecode(b"na\x1b]0;owned\x07me\xff \xc2\x9b1m\n\xe2\x80\xaeerror: no\xe2\x80\xa8\r[red]")
# The same for libraries that take paths as Unicode.
UNICODE_NAME = NAME.replace("\udcff", "")
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


class Terminal(io.TextIOWrapper):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


def call_hostile(*words, is_terminal=False):
    """Runs a command line in this process as `main` sets it up; returns exit code, and bytes of both streams."""
    kind = Terminal if is_terminal else io.TextIOWrapper
    out, err = (kind(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    kept = sys.stdout, sys.stderr, logging.root.handlers
    sys.stdout, sys.stderr, logging.root.handlers = out, err, []
    try:
        cli([os.fspath(word) if isinstance(word, os.PathLike) else str(word) for word in words], prog_name="vidtldr")
    except SystemExit as left:
        code = left.code
    finally:
        sys.stdout, sys.stderr, logging.root.handlers = kept
        set_verbosity(False)
    return code, out.buffer.getvalue(), err.buffer.getvalue()


def list_texts(value):
    """Every text in plain data, keys included."""
    if isinstance(value, dict):
        return {text for pair in value.items() for one in pair for text in list_texts(one)}
    if isinstance(value, list):
        return {text for one in value for text in list_texts(one)}
    return {value} if isinstance(value, str) else set()
