"""Outputs that are numbers: what is not finite has no order, no cosine and no meaning, and is refused by name."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

_ADVICE: Final = "check the weights (vidtldr info --check FOLDER), or compute in float32"


class NotFiniteError(ValueError):
    """A model gives values that are not finite; the message is one line, fit for a user."""


def check_finite(values: Any, what: str, *, of: str | None = None) -> None:
    """Refuse values that are not finite.

    Args:
      values: an array of any shape and floating dtype.
      what: the values are, such as "logits".
      of: video or text that they belong to; None where the caller names it.

    Raises:
      NotFiniteError: a value is NaN or infinite.
    """
    is_finite = np.isfinite(np.asarray(values))
    if not is_finite.all():
        count = f"{is_finite.size - np.count_nonzero(is_finite):,} of {is_finite.size:,}"
        subject = "" if of is None else f"{of}: "
        raise NotFiniteError(f"{subject}a model's {what} must be finite; {count} values are not; {_ADVICE}")


def check_output(output: Any, *, of: str | None = None) -> None:
    """Refuse what a model says of clips where it is not finite.

    Args:
      output: a `VideoOutput`, of which `pooled`, `embedding` and `logits` are looked at.
      of: what the clips are; None where the caller names it.

    Raises:
      NotFiniteError: a value is NaN or infinite.
    """
    for name in ("pooled", "embedding", "logits"):
        if (values := getattr(output, name)) is not None:
            check_finite(values, name, of=of)


def find_not_finite(values: Any, what: str) -> NotFiniteError | None:
    """Return the error of values that are not finite, None of others; for work in which other videos go on."""
    try:
        check_finite(values, what)
    except NotFiniteError as error:
        return error.with_traceback(None)
    return None
