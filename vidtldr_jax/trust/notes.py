"""Notes: what a user should know and is no failure. Commands print them, elsewhere Python's logging does."""

from __future__ import annotations

import logging
from typing import Final

from vidtldr_jax.trust.harmless import make_harmless

LOGGER: Final = "vidtldr_jax.notes"


def tell_note(message: str) -> None:
    """Tell something in one line.

    Args:
      message: what a user should know.
    """
    logging.getLogger(LOGGER).warning("%s", make_harmless(message))
