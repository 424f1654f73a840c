"""Text from files, made harmless for a terminal: no escape sequence, no forged line, no reversed order.

Labels, file names, keys, captions and messages of libraries are other people's text. Control characters can drive a
terminal, a newline can forge a message, and bidirectional marks can show a name as another one.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

# Control characters; invisible and bidirectional format characters; line and paragraph separators; halves of surrogate
# pairs, which stand for bytes of file names that are not UTF-8; tags. The two joiners that scripts and emoji need stay.
_RANGES: Final = (
    "\\x00-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b\\u200e\\u200f"
    "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ud800-\\udfff\\ufeff\\uffa0\\ufff0-\\ufffb"
    "\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff"
)
_UNSAFE: Final = re.compile(f"[{_RANGES}]")
_UNSAFE_IN_JSON: Final = re.compile(f"(?!\\n)[{_RANGES}]")  # json.dumps escapes those in strings; others indent


def make_harmless(text: str) -> str:
    r"""Return a text on one line that only shows characters.

    Args:
      text: any text; half of a surrogate pair stands for a byte that is not UTF-8.

    Returns:
      The text with control, invisible and bidirectional characters, line separators and what is not Unicode written as
      escapes, such as "\x1b" or "\u202e".
    """
    return _UNSAFE.sub(_escape, text)


def make_lines_harmless(text: str) -> str:
    r"""Return a text of our own lines, such as a traceback or a report, in which only "\n" is left as it is.

    Args:
      text: whose parts from elsewhere went through `make_harmless` before, if they could hold a "\n".

    Returns:
      The text with all other unsafe characters written as escapes.
    """
    return "\n".join(map(make_harmless, text.split("\n")))


def is_harmless(text: str) -> bool:
    """Return whether `make_harmless` would change nothing."""
    return _UNSAFE.search(text) is None


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Return strict JSON in which unsafe characters are escaped, so that it can be printed and read back exactly.

    Args:
      value: plain data.
      indent: spaces per level; None writes one line, free of every line separator.

    Returns:
      The text, without a newline at its end.

    Raises:
      ValueError: a number is not finite.
      TypeError: the data is not plain.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return _UNSAFE_IN_JSON.sub(_escape_in_json, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _escape_in_json(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1] if ord(match[0]) > 0x7F else f"\\u{ord(match[0]):04x}"
