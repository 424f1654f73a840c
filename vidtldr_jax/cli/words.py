"""What a model can't read of a text, told to the user."""

from __future__ import annotations

from collections.abc import Sequence

from vidtldr_jax.cli.output import print_note


def note_unknown_words(words: Sequence[str]) -> None:
    """Tell the words of one text that the tokenizer does not know."""
    from vidtldr_jax.data.text import quote_words

    print_note(f"the model's tokenizer does not know {quote_words(words)}; other words may be found better")
