"""Writes vidtldr_jax/cli/outline.json, what help and completion know of the commands, from the commands.

Run it after a command or an option has changed.
"""

import json
from typing import Any

from vidtldr_jax.cli.main import cli
from vidtldr_jax.cli.outline import OUTLINE, describe_command


def format_outline(value: Any, indent: str = "") -> str:
    """Returns JSON with one parameter a line, so that a change shows what has changed.

    Args:
      value: an outline or a part of one.
      indent: of the line it begins on.

    Returns:
      The text.
    """
    if not isinstance(value, dict | list) or not value or "opts" in value:
        return json.dumps(value)
    inner = f"{indent} "
    first, last = "{}" if isinstance(value, dict) else "[]"
    named = value.items() if isinstance(value, dict) else (("", item) for item in value)
    lines = [f"{inner}{json.dumps(name) + ': ' if name else ''}{format_outline(item, inner)}" for name, item in named]
    return first + "\n" + ",\n".join(lines) + f"\n{indent}{last}"


if __name__ == "__main__":
    OUTLINE.write_text(f"{format_outline(describe_command(cli))}\n", encoding="utf-8")
