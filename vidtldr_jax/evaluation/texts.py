"""Lengths and words of texts that a model reads: what it cuts and does not know is told."""

from __future__ import annotations

from collections.abc import Sequence

from vidtldr_jax.data.text import clean_text, quote_words
from vidtldr_jax.inference.text_model import TextModel
from vidtldr_jax.trust.notes import tell_note


def choose_length(given: int | None, usual: int, *, model: TextModel, what: str) -> int:
    """Choose the most tokens of a text.

    Args:
      given: what the caller asks for, or None; more than the model has positions for is refused by
        `TextModel.tokenize`.
      usual: what None stands for; limited to what the model has, with a note.
      model: reads the texts.
      what: what the texts are, in the plural, such as "questions".

    Returns:
      A number of tokens.
    """
    if given is not None:
        return given
    most = model.config.text.max_positions
    if usual > most:
        tell_note(f"{what} are cut to {most} tokens, the most that this model has positions for; {usual} are usual")
    return min(usual, most)


def count_unknown(model: TextModel, texts: Sequence[str], *, what: str) -> dict[str, int]:
    """Count texts with words that a model's tokenizer does not know, and tell them in a note.

    Args:
      model: that reads them.
      texts: as people write them.
      what: they are, in the plural, such as "questions".

    Returns:
      `{what}_with_unknown_words`, and those of them that have no other words, `{what}_of_unknown_words_alone`.
    """
    found = model.text_tokenizer.look_up([clean_text(text) for text in texts])
    partly = sum(bool(one.unknown) or not one.num_known for one in found)
    wholly = sum(not one.num_known for one in found)
    if partly:
        words = quote_words(list(dict.fromkeys(word for one in found for word in one.unknown)))
        alone = f"; {what} without other words, which are alike to the model: {wholly:,}" if wholly else ""
        tell_note(
            f"{partly:,} of {len(texts):,} {what} have words that the model's tokenizer does not know ({words}){alone}"
        )
    return {f"{what}_with_unknown_words": partly, f"{what}_of_unknown_words_alone": wholly}
