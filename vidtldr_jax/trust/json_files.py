"""JSON of unknown origin into typed data: limited in size and depth, strict, checked against a type.

    class Head(TypedDict):
        format: Literal[1]
        labels: list[str] | None

    head = read_json(path, Head)

Types are checked by msgspec: builtins, `list[str]`, unions, `Literal`, `TypedDict`, dataclasses, `msgspec.Struct`,
whose `forbid_unknown_fields` refuses other names, and `Annotated[int, msgspec.Meta(ge=1)]`.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from vidtldr_jax.trust.faults import shorten
from vidtldr_jax.trust.limits import check_limit
from vidtldr_jax.trust.regular import check_regular

T = TypeVar("T")
_MOST_LEVELS: Final = 100  # what is read is written and printed again, which takes Python's stack for each level


class JsonError(ValueError):
    """A JSON text is not what is expected; the message is one line and says where."""


def read_json(path: str | os.PathLike[str], kind: type[T] | Any = Any) -> T:
    """Read a JSON file.

    Args:
      path: of a regular file.
      kind: type of the content, see the module's docstring.

    Returns:
      The content.

    Raises:
      JsonError: the file is not JSON, too deep, or of another type.
      LimitError: the file is larger than the limit "json_bytes".
      OSError: the file can't be read or is not a regular one.
    """
    check_regular(path)
    place = Path(path)
    check_limit("json_bytes", place.stat().st_size, f"JSON file {str(place)!r}")
    return parse_json(place.read_bytes(), kind)


def parse_json(data: bytes | str, kind: type[T] | Any = Any) -> T:
    """Read a JSON text.

    Args:
      data: the text; bytes are UTF-8.
      kind: type of the content, see the module's docstring.

    Returns:
      The content.

    Raises:
      JsonError: the text is not JSON, too deep, or of another type.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        # Python's own reader: file names that are not UTF-8 stand in our JSON as halves of surrogate pairs.
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_parse_finite, object_pairs_hook=_make_object
        )
        _check_depth(value)
    except (ValueError, RecursionError) as error:
        raise JsonError(shorten(" ".join(str(error).split()))) from error
    return check_type(value, kind)


def check_type(value: Any, kind: type[T] | Any) -> T:
    """Check plain data that was read in another way, such as from msgpack or a library.

    Args:
      value: plain data.
      kind: type that is expected.

    Returns:
      The value as that type.

    Raises:
      JsonError: the value is of another type.
    """
    import msgspec

    try:
        return msgspec.convert(value, type=kind)
    except (msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise JsonError(shorten(" ".join(str(error).split()))) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_MOST_LEVELS + 1):
        lists = [item for item in level if isinstance(item, list)]
        lists += [list(item.values()) for item in level if isinstance(item, dict)]
        if not lists:
            return
        level = [item for inner in lists for item in inner]
    raise ValueError(f"lists and objects are nested at most {_MOST_LEVELS} levels deep; these are deeper")


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is out of range")
    return value


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the name {name[:60]!r} is there twice in one object")
            seen.add(name)
    return made
