"""What a tokenizer.json says of token ids and lengths, checked before the library `tokenizers` reads it.

The library makes room for every number up to the largest id, and steps that double a text follow each other freely: a
file of a few kilobytes can ask for all memory, and then the library ends the process.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vidtldr_jax.trust.faults import Faults
from vidtldr_jax.trust.fields import is_count
from vidtldr_jax.trust.json_files import JsonError, parse_json
from vidtldr_jax.trust.limits import check_limit

# What the library would do to lengths is done by us, with the length that a model takes.
_LENGTHS: Final = ("truncation", "padding")
_DEEPEST: Final = 32
_LONGEST_WORD: Final = 40
_MOST_BITS: Final = 64
# Published tokenizers have up to three such steps, of 2 times each.
_MOST_GROWTH: Final = 256


class TokenizerError(ValueError):
    """A tokenizer.json is not sound; the message names what is wrong, without the file."""


def check_tokenizer(text: str, what: str) -> dict[str, Any]:
    """Check the ids of a tokenizer.json.

    Args:
      text: the content.
      what: names it in messages about its size.

    Returns:
      The content, without truncation and padding.

    Raises:
      TokenizerError: it is not JSON, ids are missing, doubled, or beyond the number of tokens, or its steps make a text
        many times as long.
      LimitError: it is larger than the limit "json_bytes", or has more tokens than the limit "token_id".
    """
    check_limit("json_bytes", len(text), what)
    try:
        content: Any = parse_json(text)
    except JsonError as error:
        raise TokenizerError(str(error)) from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise TokenizerError("it has no model")
    faults = Faults()
    ids = _read_vocabulary(model.get("vocab"), faults)
    if not ids and not len(faults):
        faults.add("its model has no words")
    _add_tokens(content.get("added_tokens"), ids, faults)
    numbers = set(ids.values())
    check_limit("token_id", max(numbers, default=0), what)
    if max(numbers, default=-1) >= len(numbers):
        faults.add(f"ids count up from 0, and the largest of {len(numbers):,} is {max(numbers):,}")
    _check_post_processor(content.get("post_processor"), ids, faults)
    _check_growth(content, faults)
    unknown = model.get("unk_id")
    if unknown is not None and unknown not in numbers:
        faults.add(f"unk_id is {_show(unknown)}")
    if len(faults):
        raise TokenizerError(str(faults))
    return {**content, **dict.fromkeys(_LENGTHS)}


def _read_vocabulary(vocabulary: Any, faults: Faults) -> dict[str, int]:
    """Returns word -> id of a model: a dict of them, or a list of words with scores."""
    ids: dict[str, int] = {}
    seen: set[int] = set()
    if isinstance(vocabulary, list):
        words = [entry[0] if isinstance(entry, list) and entry else entry for entry in vocabulary]
        pairs = [(word, number) for number, word in enumerate(words)]
    elif isinstance(vocabulary, dict):
        pairs = list(vocabulary.items())
    else:
        faults.add("its vocabulary is neither words with ids nor a list of words")
        return ids
    for word, number in pairs:
        if not isinstance(word, str) or word in ids:
            faults.add(f"word {_show(word)} is not text or is there twice")
        elif not is_count(number, least=0) or number in seen:
            faults.add(f"id {_show(number)} of {_show(word)} is not an id or is there twice")
        else:
            ids[word] = number
            seen.add(number)
    return ids


def _add_tokens(tokens: Any, ids: dict[str, int], faults: Faults) -> None:
    if tokens is not None and not isinstance(tokens, list):
        faults.add("added_tokens is not a list")
        return
    numbers = set(ids.values())
    for token in tokens or ():
        fields: dict[str, Any] = token if isinstance(token, dict) else {}
        word, number = fields.get("content"), fields.get("id")
        if not isinstance(word, str) or not is_count(number, least=0):
            faults.add(f"added token {_show(word)} has id {_show(number)}")
        elif ids.get(word, number) != number or (word not in ids and number in numbers):
            faults.add(f"added token {_show(word)} has id {_show(number)}; another word has it, or the word another id")
        else:
            ids[word] = number
            numbers.add(number)


def _check_post_processor(part: Any, ids: Mapping[str, int], faults: Faults) -> None:
    numbers = set(ids.values())
    for token, number in _list_mentioned(part):
        known = is_count(number, least=0) and number in numbers
        if not known or (token is not None and ids.get(token) != number):
            faults.add(f"post_processor mentions id {_show(number)} for {_show(token)}")
    for count in _count_texts(part):
        if count != 1:
            faults.add(f"post_processor puts a text in {count:,} times")


def _check_growth(content: Mapping[str, Any], faults: Faults) -> None:
    for name in ("normalizer", "pre_tokenizer"):
        if _measure_growth(content.get(name)) > _MOST_GROWTH:
            faults.add(f"its {name} makes a text more than {_MOST_GROWTH} times as long")


def _list_mentioned(part: Any, depth: int = 0) -> Iterator[tuple[str | None, Any]]:
    """Yields the tokens and ids that a post-processor puts around a text: pairs, or entries named `id` and `ids`."""
    if depth > _DEEPEST:
        return
    if isinstance(part, list):
        if len(part) == 2 and isinstance(part[0], str) and not isinstance(part[1], str | dict | list):
            yield part[0], part[1]
            return
        for inner in part:
            yield from _list_mentioned(inner, depth + 1)
    elif isinstance(part, dict):
        if "ids" in part:
            ids, tokens = (value if isinstance(value, list) else [] for value in (part["ids"], part.get("tokens")))
            for number, token in itertools.zip_longest(ids, tokens[: len(ids)]):
                yield token if isinstance(token, str) else None, number
        for name, inner in part.items():
            if name not in ("id", "ids", "tokens", "type_id"):
                yield from _list_mentioned(inner, depth + 1)


def _count_texts(part: Any, depth: int = 0) -> Iterator[int]:
    """Yields how often each template of a post-processor puts the text in."""
    if depth > _DEEPEST or not isinstance(part, dict):
        return
    single = part.get("single")
    if isinstance(single, list):
        yield sum(isinstance(piece, dict) and "Sequence" in piece for piece in single)
    for inner in part["processors"] if isinstance(part.get("processors"), list) else ():
        yield from _count_texts(inner, depth + 1)


def _measure_growth(part: Any, depth: int = 0) -> int:
    """Returns how many times as long a text becomes at most, in steps that follow each other."""
    if depth > _DEEPEST or not isinstance(part, dict):
        return 1
    kind, pattern = part.get("type"), part.get("pattern")
    growth = 1
    if kind == "Replace":
        replaced = _measure(pattern.get("String") if isinstance(pattern, dict) else pattern)
        content = _measure(part.get("content"))
        growth = max(1, -(-content // replaced)) if replaced else 1 + content  # between any two characters
    elif kind == "Prepend":
        growth = 1 + _measure(part.get("prepend"))
    elif kind in ("ByteLevel", "Metaspace"):
        growth = 2
    for name in ("normalizers", "pretokenizers"):
        for inner in part[name] if isinstance(part.get(name), list) else ():
            growth *= _measure_growth(inner, depth + 1)
            if growth > _MOST_GROWTH:
                return growth
    return growth


def _measure(text: Any) -> int:
    return len(text.encode(errors="surrogatepass")) if isinstance(text, str) else 0


def _show(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:_LONGEST_WORD])
    return repr(value) if value is None or isinstance(value, float) or _is_short(value) else type(value).__name__


def _is_short(value: Any) -> bool:
    return isinstance(value, int) and value.bit_length() <= _MOST_BITS
