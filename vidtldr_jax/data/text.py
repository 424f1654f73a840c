"""Texts into token ids: the cleaning of UMT's evaluation, and a BERT's WordPiece vocabulary.

    tokenizer = read_tokenizer("vocab.txt")                      # or a tokenizer.json, or a folder with either
    texts = tokenizer.encode([clean_text("A dog, running.")], max_tokens=32)
    texts.ids, texts.mask                                        # [S, N] int32 each

Needs the library `tokenizers`, which the extra "retrieval" brings.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
from jaxtyping import Int32

from vidtldr_jax.data.tokenizer_json import TokenizerError, check_tokenizer
from vidtldr_jax.trust.faults import show
from vidtldr_jax.trust.limits import LimitError, check_limit
from vidtldr_jax.trust.lines import read_exact, split_lines
from vidtldr_jax.trust.regular import check_regular

TOKENIZER_NAME: Final = "tokenizer.json"
VOCABULARY_NAME: Final = "vocab.txt"
_SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_DELETED: Final = re.compile(r"[,.'!?\"()*#:;~]")
_BLANKED: Final = re.compile(r"[-/]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_STEP: Final = 8  # lengths are rounded up to a multiple, so that near ones share a compiled program


class TextError(ValueError):
    """Texts, their annotation or a vocabulary don't fit; the message is one line, fit for a user."""


class EncodedTexts(NamedTuple):
    """Token ids of texts, padded to one length.

    Attributes:
      ids: [S, N] int32, the start token first; 0 for padding where the vocabulary has no word for it.
      mask: [S, N] int32, 1 for a token and 0 for padding.
      num_cut: how many texts were longer than allowed and lost their end.
    """

    ids: Int32[np.ndarray, "S N"]
    mask: Int32[np.ndarray, "S N"]
    num_cut: int


class WordsOfText(NamedTuple):
    """What a tokenizer makes of the words of a text.

    Attributes:
      unknown: words that it does not know, each once in their order; to the model they are all the same.
      num_known: tokens of the other words.
    """

    unknown: tuple[str, ...]
    num_known: int


def clean_text(text: str) -> str:
    """Cleans a text as UMT's training and evaluation do.

    Args:
      text: as it was written.

    Returns:
      Lower case, without , . ' ! ? " ( ) * # : ; ~, with blanks for - and /, "person" for <person>, single blanks.
    """
    words = _BLANKED.sub(" ", _DELETED.sub("", text.lower())).replace("<person>", "person")
    return " ".join(words.split())


def quote_words(words: Sequence[str], *, most: int = 5) -> str:
    """Return words for a message: the first ones in quotes, and how many more there are."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(map(repr, words[:most])) + more


class TextTokenizer:
    """A WordPiece tokenizer that puts [CLS] in front of a text and [SEP] behind it. It is immutable.

    Attributes:
      vocab_size: how many words it knows.
    """

    def __init__(self, backend: Any, *, name: str) -> None:
        """Takes a tokenizer of the library.

        Args:
          backend: a `tokenizers.Tokenizer`; its padding and truncation don't matter.
          name: where it is from, for messages.

        Raises:
          TextError: it does not put a start token in front and an end token behind.
        """
        backend.no_padding()
        backend.no_truncation()
        num_added = backend.num_special_tokens_to_add(is_pair=False)
        with _name_errors(name):
            first, second = (backend.encode(text).ids for text in ("a", "b")) if num_added == 2 else ([], [])
        if len(first) < 3 or len(second) < 3 or first[0] != second[0] or first[-1] != second[-1]:
            raise TextError(
                f"a text becomes [CLS] words [SEP]; that of {name} adds {num_added:,} tokens or others; give BERT's "
                f"{TOKENIZER_NAME} or {VOCABULARY_NAME}."
            )
        self._json: str = backend.to_str()
        self._pad = backend.token_to_id("[PAD]") or 0
        self.name = name
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)

    @classmethod
    def from_json(cls, text: str, *, name: str) -> Self:
        """Makes a tokenizer from the content of a tokenizer.json.

        Args:
          text: the content.
          name: where it is from, for messages.

        Returns:
          The tokenizer.

        Raises:
          TextError: it is none, its ids are not sound or above a limit, or `tokenizers` is not installed.
        """
        library = _import_tokenizers()
        try:
            content = check_tokenizer(text, f"tokenizer {name!r}")
        except LimitError as error:
            raise TextError(str(error)) from error
        except TokenizerError as error:
            raise TextError(
                f"{name} is no tokenizer that the library reads ({error}); give BERT's {TOKENIZER_NAME} or "
                f"{VOCABULARY_NAME}."
            ) from error
        with _name_errors(name):
            backend = library.Tokenizer.from_str(json.dumps(content))
        return cls(backend, name=name)

    def check_size(self, vocab_size: int) -> None:
        """Makes sure that it can be a model's.

        Args:
          vocab_size: words in the model's table.

        Raises:
          TextError: it has another number of words.
        """
        if self.vocab_size != vocab_size:
            raise TextError(
                f"a tokenizer has as many words as its model, {vocab_size}; {self.name} has "
                f"{self.vocab_size}; give the model's own."
            )

    def to_json(self) -> str:
        """Returns the content of a tokenizer.json."""
        return self._json

    def encode(self, texts: Sequence[str], *, max_tokens: int) -> EncodedTexts:
        """Turns texts into ids.

        Args:
          texts: cleaned, see `clean_text`; "[SEP]" in one is the end token.
          max_tokens: the most of a text, start and end token included, at least 2; what is beyond is cut off.

        Returns:
          `EncodedTexts`, as long as the longest text needs, rounded up to a multiple of 8 within max_tokens.

        Raises:
          ValueError: max_tokens is less than 2.
          TextError: a text is not Unicode.
        """
        if max_tokens < 2:
            raise ValueError(f"max_tokens is at least 2; got {max_tokens}; allow more.")
        backend = _import_tokenizers().Tokenizer.from_str(self._json)
        backend.enable_truncation(max_tokens)
        _check_unicode(texts)
        with _name_errors(self.name):
            found = backend.encode_batch(list(texts))
        longest = max((len(one.ids) for one in found), default=2)
        length = min(-(-longest // _STEP) * _STEP, max_tokens)
        ids = np.full((len(found), length), self._pad, np.int32)
        mask = np.zeros_like(ids)
        for row, one in enumerate(found):
            ids[row, : len(one.ids)] = one.ids
            mask[row, : len(one.ids)] = 1
        return EncodedTexts(ids, mask, sum(bool(one.overflowing) for one in found))

    def look_up(self, texts: Sequence[str]) -> list[WordsOfText]:
        """Tell the words of texts that it does not know.

        WordPiece makes one and the same token, [UNK], of each word that its vocabulary can't put together: with BERT's
        an emoji or a rare character, with a small vocabulary most words.

        Args:
          texts: cleaned, see `clean_text`.

        Returns:
          What it makes of each text.

        Raises:
          TextError: a text is not Unicode.
        """
        backend = _import_tokenizers().Tokenizer.from_str(self._json)
        unknown_token = getattr(backend.model, "unk_token", None)
        unknown_id = None if unknown_token is None else backend.token_to_id(unknown_token)
        _check_unicode(texts)
        with _name_errors(self.name):
            encoded = backend.encode_batch(list(texts))
        found = []
        for text, one in zip(texts, encoded, strict=True):
            words = [
                (number, text[slice(*offsets)])
                for number, offsets, is_frame in zip(one.ids, one.offsets, one.special_tokens_mask, strict=True)
                if not is_frame
            ]
            unknown = dict.fromkeys(word for number, word in words if number == unknown_id)
            found.append(WordsOfText(tuple(unknown), sum(number != unknown_id for number, _ in words)))
        return found


def read_tokenizer(place: str | os.PathLike[str]) -> TextTokenizer:
    """Reads a tokenizer.

    Args:
      place: a tokenizer.json, a BERT's vocab.txt (one word a line, uncased), or a folder with either.

    Returns:
      The tokenizer.

    Raises:
      TextError: there is none, or it is no BERT's; or `tokenizers` is not installed.
    """
    path = _find_file(Path(place))
    try:
        check_regular(path)
        check_limit("json_bytes", path.stat().st_size, f"tokenizer {str(path)!r}")
        text = read_exact(path)
    except LimitError as error:
        raise TextError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TextError(f"{path} can't be read ({reason}); check the path.") from error
    if text.lstrip().startswith("{"):
        return TextTokenizer.from_json(text, name=str(path))
    words = split_lines(text)
    _check_count(len(words), str(path))
    missing = [word for word in _SPECIAL if word not in words]
    if missing or len(set(words)) < len(words):
        what = f"it lacks {', '.join(missing)}" if missing else "some are there twice"
        raise TextError(
            f"a vocabulary has one word a line, {', '.join(_SPECIAL)} among them; in {path} {what}; "
            "give BERT's vocab.txt or a tokenizer.json."
        )
    library = _import_tokenizers()
    vocabulary = {word: number for number, word in enumerate(words)}
    backend = library.implementations.BertWordPieceTokenizer(vocab=vocabulary, lowercase=True)
    return TextTokenizer(library.Tokenizer.from_str(backend.to_str()), name=str(path))


def _check_count(count: int, name: str) -> None:
    try:
        check_limit("token_id", count - 1, f"vocabulary {name!r}")
    except LimitError as error:
        raise TextError(str(error)) from error


def _find_file(place: Path) -> Path:
    if not place.is_dir():
        return place
    for name in (TOKENIZER_NAME, VOCABULARY_NAME):
        if (place / name).is_file():
            return place / name
    raise TextError(f"a folder has {TOKENIZER_NAME} or {VOCABULARY_NAME}; {place} has neither; give another.")


def _check_unicode(texts: Sequence[str]) -> None:
    """Refuse halves of surrogate pairs: bytes of a command line that are not UTF-8, or escapes of JSON."""
    for text in texts:
        if _SURROGATE.search(text):
            raise TextError(f"a text is Unicode characters; got {show(text)}; write it in UTF-8.")


@contextlib.contextmanager
def _name_errors(name: str) -> Iterator[None]:
    """Turns whatever the library raises into one line; a panic of its Rust code is no Exception."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise TextError(
            f"{name} is no tokenizer that the library reads ({' '.join(str(error).split())[:200]}); give BERT's "
            f"{TOKENIZER_NAME} or {VOCABULARY_NAME}."
        ) from error


def _import_tokenizers() -> Any:
    try:
        import tokenizers
        import tokenizers.implementations
    except ImportError as error:
        raise TextError("texts need tokenizers; pip install 'vidtldr-jax[retrieval]'.") from error
    return tokenizers
