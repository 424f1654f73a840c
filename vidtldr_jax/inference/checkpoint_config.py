"""config.json of a checkpoint folder: typed, limited, with digests of all of the folder's files, its own included.

Fields: `format`, `family`, `architecture`, `preprocessing`, `labels`, `source` (what it was made from) and, from format
2 on, `digests`: file name -> SHA-256. That of config.json is of its own content but `digests`, so that spaces don't
count. A digest that is null is not checked, which is for files that were changed by hand. Format 1, of versions before
digests, is read too; versions before digests refuse format 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.errors import CheckpointError
from vidtldr_jax.inference.plausible import check_architecture, check_preprocessing, find_type_faults
from vidtldr_jax.models.architectures import ARCHITECTURES, Config, describe_config, restore_config
from vidtldr_jax.trust.digests import hash_json
from vidtldr_jax.trust.faults import join_faults, shorten
from vidtldr_jax.trust.harmless import dump_json
from vidtldr_jax.trust.json_files import JsonError, check_type, read_json
from vidtldr_jax.trust.limits import LimitError, check_limit
from vidtldr_jax.trust.safetensors_files import describe_mismatch

WEIGHTS_NAME: Final = "model.safetensors"
CONFIG_NAME: Final = "config.json"
TOKENIZER_NAME: Final = "tokenizer.json"
FAMILIES: Final = ("umt", "videomae", "video_vit", "vivit", "clip", "umt_retrieval", "umt_qa")
FORMAT_VERSION: Final = 2
_FORMAT_WITHOUT_DIGESTS: Final = 1
_FIELDS: Final = ("format", "family", "architecture", "preprocessing", "labels", "source")
_DIGESTS: Final = "digests"
_LONGEST_LABEL: Final = 1000
_LONGEST_REASON: Final = 1000


class Description(NamedTuple):
    """What config.json says.

    Attributes:
      family: which kind of model it is.
      config: the architecture.
      preprocessing: how frames are sampled, resized and normalised.
      labels: names of the classes, or None.
      source: what it was made from, for the record.
      digests: file name -> SHA-256 or None; None where the file is of a version before digests.
      found: the digest that the content has, without `digests`.
    """

    family: str
    config: Config
    preprocessing: Preprocessing
    labels: list[str] | None
    source: dict[str, Any]
    digests: dict[str, str | None] | None
    found: str


def write_description(
    *,
    family: str,
    config: Config,
    preprocessing: Preprocessing,
    labels: Sequence[str] | None,
    source: Mapping[str, Any],
    digests: Mapping[str, str],
) -> str:
    """Return the text of a config.json.

    Args:
      family: one of `FAMILIES`.
      config: the architecture.
      preprocessing: how clips are made.
      labels: names of the classes, or None.
      source: plain data about the origin.
      digests: SHA-256 of the folder's other files.

    Returns:
      JSON.

    Raises:
      CheckpointError: a value would be refused when it is read.
    """
    fields = {
        "format": FORMAT_VERSION,
        "family": family,
        "architecture": describe_config(config),
        "preprocessing": preprocessing.to_dict(),
        "labels": None if labels is None else list(labels),
        "source": dict(source),
    }
    try:
        _check_fields(fields)
        _check_sizes(config, preprocessing, labels)
        own = hash_json(fields)
        return dump_json({**fields, _DIGESTS: {CONFIG_NAME: own, **digests}}, indent=2) + "\n"
    except (ValueError, TypeError) as error:
        reason = shorten(str(error).rstrip("."), _LONGEST_REASON)
        raise CheckpointError(f"{CONFIG_NAME} can't be written: {reason}; nothing was written.") from error


def read_description(folder: Path) -> Description:
    """Read config.json of a folder. Digests are left to the caller.

    Args:
      folder: the checkpoint.

    Returns:
      A `Description`.

    Raises:
      CheckpointError: there is none, it is damaged or of another program, or asks for more than the limits allow.
    """
    path = folder / CONFIG_NAME
    fields = _read_fields(path)
    digests = fields.pop(_DIGESTS, None)
    found = hash_json(fields)
    try:
        _check_fields(fields)
        if fields["format"] == FORMAT_VERSION:
            _check_digests(digests)
        config = restore_config(fields["architecture"])
        recipe = Preprocessing.from_dict(fields["preprocessing"])
        _check_sizes(config, recipe, fields["labels"])
    except (ValueError, TypeError) as error:
        reason = shorten(str(error).rstrip("."), _LONGEST_REASON)
        raise CheckpointError(f"{path} does not fit this version: {reason}; convert the weights again.") from error
    try:
        check_labels(fields["labels"], config)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Description(fields["family"], config, recipe, fields["labels"], fields["source"], digests, found)


def check_labels(labels: Sequence[str] | None, config: Config) -> None:
    """Compare the labels with the classifier.

    Args:
      labels: names of the classes, or None.
      config: the architecture.

    Raises:
      CheckpointError: there is another number of them.
    """
    if labels is not None and len(labels) != config.num_classes:
        raise CheckpointError(
            f"there is one label for each of {config.num_classes} classes; got {len(labels)}; fix the labels."
        )


def check_own_digest(description: Description, folder: Path) -> None:
    """Compare config.json with its digest.

    Args:
      description: that was read.
      folder: that it was read from.

    Raises:
      CheckpointError: it has another one.
    """
    expected = (description.digests or {}).get(CONFIG_NAME)
    if expected is not None and expected != description.found:
        raise explain_mismatch(folder / CONFIG_NAME, describe_mismatch(description.found, expected))


def explain_mismatch(path: Path, what: str) -> CheckpointError:
    """Return the error for a file that is not the one that was written.

    Args:
      path: of the file.
      what: how it differs.

    Returns:
      The error; raise it.
    """
    return CheckpointError(
        f"{path} is damaged or was changed: {what}; get it again, or, if you changed it yourself, set "
        f'"{path.name}" under "{_DIGESTS}" in {CONFIG_NAME} to null.'
    )


def has_our_fields(fields: object) -> bool:
    """Return whether plain data looks like a config.json of this project."""
    return isinstance(fields, dict) and {"format", "family", "architecture"} <= set(fields)


def _read_fields(path: Path) -> dict[str, Any]:
    try:
        check_limit("config_bytes", path.stat().st_size, repr(str(path)))
        fields: Any = read_json(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}; convert the weights first.") from None
    except JsonError as error:
        raise CheckpointError(f"{path} is not JSON ({error}); convert the weights again.") from error
    except LimitError as error:
        raise CheckpointError(f"{error}.") from error
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror or error}); check the path.") from error
    version = fields.get("format") if isinstance(fields, dict) else None
    is_known = type(version) is int and version in (FORMAT_VERSION, _FORMAT_WITHOUT_DIGESTS)
    if has_our_fields(fields) and not is_known:
        raise CheckpointError(
            f"formats {_FORMAT_WITHOUT_DIGESTS} and {FORMAT_VERSION} are read; {path} has "
            f"{shorten(repr(version), 50)}; convert the weights with this version, or install the version "
            "that wrote it."
        )
    wanted = {*_FIELDS, _DIGESTS} if version == FORMAT_VERSION else {*_FIELDS}
    if not isinstance(fields, dict) or set(fields) != wanted:
        found = join_faults(sorted(map(repr, fields))) if isinstance(fields, dict) else type(fields).__name__
        raise CheckpointError(
            f"{path} has the fields {', '.join((*_FIELDS, _DIGESTS))}; got {found}; this is another program's config, "
            "or a damaged one; convert the weights first."
        )
    return fields


def _check_fields(fields: Mapping[str, Any]) -> None:
    """Check the type of every field."""
    from typing import Annotated

    import msgspec

    label = Annotated[str, msgspec.Meta(max_length=_LONGEST_LABEL)]
    kinds = {
        "family": str,
        "architecture": dict[str, Any],
        "preprocessing": dict[str, Any],
        "labels": list[label] | None,
        "source": dict[str, Any],
    }
    faults = []
    for name, kind in kinds.items():
        try:
            check_type(fields[name], kind)
        except JsonError as error:
            faults.append(f"{name}: {error}")
    if not faults:
        if fields["family"] not in FAMILIES:
            faults.append(f"families are {', '.join(FAMILIES)}; got {shorten(repr(fields['family']), 50)}")
        name = fields["architecture"].get("name", next(iter(ARCHITECTURES)))
        if isinstance(name, str) and name in ARCHITECTURES:
            kind = ARCHITECTURES[name].config_class
            faults += find_type_faults(kind, fields["architecture"], "architecture")
        elif not isinstance(name, str):
            faults.append(f"architecture.name is a text, not {type(name).__name__}")
        faults += find_type_faults(Preprocessing, fields["preprocessing"], "preprocessing")
    if faults:
        raise ValueError(join_faults(faults))


def _check_sizes(config: Config, recipe: Preprocessing, labels: Sequence[str] | None) -> None:
    check_architecture(config)
    check_preprocessing(recipe)
    for name in ("num_frames", "image_size"):
        made, wanted = getattr(recipe, name), getattr(config, name)
        if made != wanted:
            raise ValueError(f"preprocessing.{name} equals the architecture's, {wanted}; got {made}; fix one of them")
    check_limit("classes", len(labels or ()), "labels")


def _check_digests(digests: Any) -> None:
    from typing import Annotated

    import msgspec

    digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    try:
        check_type(digests, dict[str, digest | None])
    except JsonError as error:
        raise ValueError(f"{_DIGESTS}: {error}") from error
    names = set(digests)
    if not {CONFIG_NAME, WEIGHTS_NAME} <= names <= {CONFIG_NAME, WEIGHTS_NAME, TOKENIZER_NAME}:
        raise ValueError(
            f"{_DIGESTS} has {CONFIG_NAME}, {WEIGHTS_NAME} and, where there is one, {TOKENIZER_NAME}; got "
            f"{join_faults(sorted(map(repr, names)))}"
        )
