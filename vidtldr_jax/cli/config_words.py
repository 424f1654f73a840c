"""What may stand behind the colon of `--config FILE.py:ARG`, read from the file without running it.

A config says so in `WORDS`, a literal: kind of word -> the words. All kinds are needed, in this order, but for the last
one if it is called OPTION: that may come any number of times, or never.
"""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import Final

from vidtldr_jax.trust.harmless import is_harmless

_OPTIONAL: Final = "OPTION"
_MOST_TRIED: Final = 10_000  # of all ways to put words together


def list_arguments(path: Path, begun: str) -> list[str]:
    """Lists the arguments that begin as one that is being typed.

    Args:
      path: of the config.
      begun: what is there of the argument: `msrvtt,b` for instance.

    Returns:
      Arguments with every word that is needed; none where the file says nothing about its words.
    """
    words = _read_words(path)
    needed = [list(found) for kind, found in words.items() if kind != _OPTIONAL]
    *before, _ = begun.split(",")
    after = needed[len(before) :] or [[word for word in words.get(_OPTIONAL, ()) if word not in before]]
    made = itertools.islice(itertools.product(*after), _MOST_TRIED)
    found = (",".join((*before, *rest)) for rest in made)
    return [argument for argument in found if argument.startswith(begun) and is_harmless(argument)]


def _read_words(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        statements = ast.parse(path.read_text(encoding="utf-8")).body
        for statement in statements:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "WORDS":
                return {kind: tuple(map(str, words)) for kind, words in ast.literal_eval(statement.value).items()}
    except (OSError, ValueError, SyntaxError, TypeError, AttributeError):
        return {}  # whoever completes a word is not the one to tell what is wrong with a file
    return {}
