"""What a model can't read of texts, told to the user: words that its tokenizer does not know, and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vidtldr_jax.cli.output import print_note

if TYPE_CHECKING:
    from vidtldr_jax.inference.text_model import TextModel


def note_unknown_words(words: Sequence[str]) -> None:
    """Tell the words of one text that the tokenizer does not know."""
    from vidtldr_jax.data.text import quote_words

    print_note(f"the model's tokenizer does not know {quote_words(words)}; other words may be found better")


def choose_length(given: int | None, configured: int | None, default: int, *, model: TextModel, what: str) -> int:
    """Choose the most tokens of a text.

    Args:
      given: on the command line; more than the model has positions for is refused by `TextModel.tokenize`.
      configured: in a config, of which the same holds.
      default: where neither says it; limited to what the model has, with a note.
      model: that reads the texts.
      what: the texts are, in the plural.

    Returns:
      A number of tokens.
    """
    if given or configured:
        return given or configured or default
    most = model.config.text.max_positions
    if default > most:
        print_note(f"{what} are cut to {most} tokens, the most that this model has positions for; {default} are usual")
    return min(default, most)


def count_unknown(model: TextModel, texts: Sequence[str], *, what: str) -> dict[str, int]:
    """Count texts with words that a model's tokenizer does not know, and tell them in a note.

    Args:
      model: that reads them.
      texts: as people write them.
      what: they are, in the plural, such as "questions".

    Returns:
      `{what}_with_unknown_words`, and those of them that have no other words, `{what}_of_unknown_words_alone`.
    """
    from vidtldr_jax.data.text import clean_text, quote_words

    found = model.text_tokenizer.look_up([clean_text(text) for text in texts])
    partly = sum(bool(one.unknown) or not one.num_known for one in found)
    wholly = sum(not one.num_known for one in found)
    if partly:
        words = quote_words(list(dict.fromkeys(word for one in found for word in one.unknown)))
        alone = f"; {what} without other words, which are alike to the model: {wholly:,}" if wholly else ""
        print_note(
            f"{partly:,} of {len(texts):,} {what} have words that the model's tokenizer does not know ({words}){alone}"
        )
    return {f"{what}_with_unknown_words": partly, f"{what}_of_unknown_words_alone": wholly}
