"""Whatever a decoder raises becomes one line that names the file, so that one bad file stops no other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.trust.harmless import make_harmless
from vidtldr_jax.trust.limits import LimitError
from vidtldr_jax.trust.regular import NotRegularError

_LONGEST_REASON: Final = 200


class ReadAgain(Exception):  # noqa: N818 - a signal, not a fault
    """Not a fault of the file: it must be read in another way."""


@contextlib.contextmanager
def raise_read_errors(
    path: str | os.PathLike[str],
    *,
    rule: str = "a video must be readable",
    remedy: str = "make or copy it again",
) -> Iterator[None]:
    """Turn every exception into a `VideoReadError` that names a file.

    `VideoReadError` itself and `ReadAgain` pass, and so does what is not an `Exception`, such as an interruption.
    Decoders raise nearly anything: damaged files reach code that nobody has tried.

    Args:
      path: of the file that is read inside.
      rule: beginning of the message.
      remedy: end of the message.

    Yields:
      Nothing.

    Raises:
      VideoReadError: whatever was raised inside.
    """
    shown = repr(os.fspath(path))
    try:
        yield
    except (VideoReadError, ReadAgain):
        raise
    except (LimitError, NotRegularError) as error:
        raise VideoReadError(str(error) if shown in str(error) else f"{shown}: {error}") from error
    except MemoryError as error:
        raise VideoReadError(
            f"a video must fit in memory; {shown} needs more than there is; give a smaller copy of it"
        ) from error
    except Exception as error:
        raise VideoReadError(f"{rule}; {shown} is not ({describe_reason(error)}); {remedy}") from error


def describe_reason(error: BaseException) -> str:
    """Return what an exception says, on one line: the system's words, or its type and message."""
    said = getattr(error, "strerror", None)
    if not isinstance(said, str) or not said:
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
    return make_harmless(" ".join(said.split()))[:_LONGEST_REASON]
