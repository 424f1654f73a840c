"""`description.json` of a folder of features: of which run they are, with a digest of its own bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from vidtldr_jax.search.arrow_parts import FeaturesError
from vidtldr_jax.trust.digests import hash_bytes
from vidtldr_jax.trust.json_files import JsonError, check_type, parse_json
from vidtldr_jax.trust.limits import check_limit
from vidtldr_jax.trust.regular import NotRegularError, check_regular
from vidtldr_jax.trust.whole_files import write_whole

NAME: Final = "description.json"
_KIND: Final = "vidtldr-jax features"
_FORMAT: Final = 2
_NO_DIGEST: Final = "0" * 64


class Description(NamedTuple):
    """What `description.json` says.

    Attributes:
      run: what all features share.
      about: what else was written down where the folder was made.
      has_digest: whether it tells its own digest; older ones don't.
    """

    run: dict[str, Any]
    about: dict[str, Any]
    has_digest: bool


class _Any(msgspec.Struct):
    kind: Literal["vidtldr-jax features"]
    format: int


class _Old(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["vidtldr-jax features"]
    format: Literal[1]
    run: dict[str, Any]
    about: dict[str, Any]


class _New(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["vidtldr-jax features"]
    format: Literal[2]
    run: dict[str, Any]
    about: dict[str, Any]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


def write_description(folder: Path, run: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Writes the description of a folder in one step.

    Args:
      folder: of the features.
      run: plain data.
      about: plain data.

    Raises:
      OSError: it can't be written; it names the path.
    """
    head = {"kind": _KIND, "format": _FORMAT, "run": dict(run), "about": dict(about), "sha256": _NO_DIGEST}
    text = json.dumps(head, indent=2, allow_nan=False) + "\n"
    before, _, after = text.rpartition(_NO_DIGEST)
    write_whole(folder / NAME, before + hash_bytes(text.encode()) + after)


def read_description(folder: Path) -> Description | None:
    """Reads the description of a folder.

    Args:
      folder: of the features.

    Returns:
      A `Description`; None where there is none.

    Raises:
      FeaturesError: it is damaged, of something else, or of another format.
      OSError: it can't be read.
    """
    path = folder / NAME
    try:
        check_regular(path)
        check_limit("json_bytes", path.stat().st_size, f"description {str(path)!r}")
        data = path.read_bytes()
        there: Any = parse_json(data)
        if isinstance(there, dict) and there.get("format") == 1:
            old: _Old = check_type(there, _Old)
            return Description(old.run, old.about, has_digest=False)
        if isinstance(there, dict) and there.get("format") != _FORMAT:
            _refuse_format(path, check_type(there, _Any).format)
        new: _New = check_type(there, _New)
        before, digest, after = data.rpartition(new.sha256.encode())
        found = hash_bytes(before + _NO_DIGEST.encode() + after)
        if not digest or found != new.sha256:
            raise JsonError(f"its SHA-256 begins with {found[:12]}, as it says itself with {new.sha256[:12]!r}")
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise FeaturesError(f"features are a folder; {folder} is none; check the path") from error
    except NotRegularError as error:
        raise FeaturesError(str(error)) from error
    except JsonError as error:
        raise FeaturesError(
            f"{path} is damaged or not the description of features ({error}); put it back, give another folder, or "
            "--restart to begin anew"
        ) from error
    return Description(new.run, new.about, has_digest=True)


def _refuse_format(path: Path, number: int) -> None:
    raise FeaturesError(
        f"formats up to {_FORMAT} are read; {path} has {number}; make the features anew with this version"
    )
