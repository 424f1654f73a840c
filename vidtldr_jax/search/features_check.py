"""A folder of features against its own digests and schemas, file by file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from vidtldr_jax.search.arrow_parts import describe_kind
from vidtldr_jax.search.features_description import NAME, read_description
from vidtldr_jax.search.part_files import PartFile, is_part_name
from vidtldr_jax.trust.digests import hash_json
from vidtldr_jax.trust.verification import Verification

_OURS: Final = (NAME, "lock")


def verify_features(place: Path) -> Verification:
    """Read all of an index, or of another folder of features, and say what is wrong with it.

    Args:
      place: the folder.

    Returns:
      A `Verification` of kind "index".
    """
    found = _Found()
    found.check_description(place)
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.name.startswith("part-"):
            found.check_part(path)
        elif path.name not in _OURS and not path.name.startswith("."):
            found.notes.append(f"{path} is no part of an index")
    return Verification("index", found.num_checked, tuple(found.notes), tuple(found.faults))


class _Found:
    """What was found so far."""

    def __init__(self) -> None:
        self.num_checked = 0
        self.notes: list[str] = []
        self.faults: list[str] = []
        self._run: str | None = None
        self._first: tuple[Path, Any] | None = None

    def check_description(self, place: Path) -> None:
        try:
            description = read_description(place)
        except (ValueError, OSError) as error:
            self.faults.append(_describe(error))
            return
        if description is None:
            self.faults.append(f"features are a folder with {NAME}; {place} has none; check the path")
        else:
            self._run = hash_json(description.run)
            self._count(place / NAME, description.has_digest)

    def check_part(self, path: Path) -> None:
        if not is_part_name(path.name):
            self.faults.append(f"a part is named part-NUMBER-SHA256.arrow; {path} is not; move the file away")
            return
        try:
            part = PartFile(path, is_compared=True)
        except (ValueError, OSError) as error:
            self.faults.append(_describe(error))
            return
        if part.contents.run not in (None, self._run):
            self.faults.append(f"the parts of an index are of one run; {path} is of another; move it away")
        schema = part.contents.schema
        first, expected = self._first = self._first or (path, schema)
        if not schema.equals(expected, check_metadata=True):
            self.faults.append(
                f"all parts have one shape and kind; {path} has {describe_kind(schema)}, {first.name} "
                f"{describe_kind(expected)}; take one of them away"
            )
        self._count(path, part.has_digest)

    def _count(self, path: Path, has_digest: bool) -> None:
        if has_digest:
            self.num_checked += 1
        else:
            self.notes.append(f"{path} is of an older version and has no digest to check it by")


def _describe(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}; check its permissions and the disk"
    return " ".join(str(error).split())
