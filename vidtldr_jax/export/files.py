"""The parts of an export belong together: a sidecar that holds the digests of all of them, its own included.

A program (`save_export`) has its sidecar beside it, PROGRAM.json, and perhaps its weights, PROGRAM.safetensors. A
SavedModel (`export_savedmodel`) has its sidecar inside, assets.extra/description.json. `run` is a random name of the
run that wrote them, which the weights repeat; `digest` is the SHA-256 of the sidecar's content without that field. So
parts of two runs, as a copy or a killed process can leave them, don't fit together.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import numpy as np

from vidtldr_jax.trust.digests import hash_bytes, hash_file, hash_json, is_checking
from vidtldr_jax.trust.faults import join_faults
from vidtldr_jax.trust.json_files import JsonError, check_type, read_json
from vidtldr_jax.trust.limits import LimitError
from vidtldr_jax.trust.notes import tell_note
from vidtldr_jax.trust.recovery import complete_and_tell, recover_and_tell
from vidtldr_jax.trust.regular import check_regular
from vidtldr_jax.trust.safetensors_files import DigestError, SafetensorsError, SafetensorsFile, describe_mismatch
from vidtldr_jax.trust.verification import Verification

FORMAT: Final = 2  # 1 had no run, no digest of the sidecar and, in a SavedModel, no digests of its files
SIDECAR_SUFFIX: Final = ".json"
WEIGHTS_SUFFIX: Final = ".safetensors"
# TensorFlow leaves this folder of a SavedModel to others.
FOLDER_SIDECAR: Final = "assets.extra/description.json"
FOLDER_MARK: Final = "saved_model.pb"
_ADVICE: Final = "export again from the checkpoint"


class ExportError(ValueError):
    """An export is damaged, or its parts are not of one run; the message is one line."""


_NOT_EMPTY: Final = msgspec.Meta(min_length=1)


class _Input(TypedDict):
    name: Literal["video", "input_ids", "attention_mask"]
    shape: Annotated[list[Annotated[int, msgspec.Meta(ge=1)] | Literal["b", "n"]], _NOT_EMPTY]
    dtype: Literal["float32", "uint8", "int32"]


class _Output(TypedDict):
    name: str
    shape: list[int | str]
    dtype: str


class _Sidecar(TypedDict):
    format: Literal[1, 2]
    kind: Literal["stablehlo", "savedmodel"]
    inputs: Annotated[list[_Input], _NOT_EMPTY]
    outputs: Annotated[list[_Output], _NOT_EMPTY]
    is_dict: bool
    platforms: list[Literal["cpu", "cuda", "rocm", "tpu"]]
    weights: Literal["inside", "beside"]
    run: NotRequired[str]
    digest: NotRequired[str]
    file: NotRequired[str]
    sha256: NotRequired[str]
    weights_file: NotRequired[str]
    weights_sha256: NotRequired[str]
    files: NotRequired[dict[str, str]]


class OpenedExport(NamedTuple):
    """What was read of an export.

    Attributes:
      description: the sidecar's content.
      program: bytes of the program; empty for a SavedModel, which TensorFlow reads itself.
      weights: flat parameter path -> array where they lie beside the program, else None.
    """

    description: dict[str, Any]
    program: bytes
    weights: dict[str, np.ndarray] | None


def make_run_name() -> str:
    """Return a random name for a run."""
    return secrets.token_hex(16)


def sign_description(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a sidecar with its own digest.

    Args:
      description: plain data, the digests of the other parts in it.

    Returns:
      The same with the field `digest`.
    """
    return {**description, "digest": hash_json(dict(description))}


def find_sidecar(place: Path) -> Path:
    """Return the path of an export's sidecar.

    Args:
      place: of the program, or of the folder.
    """
    return place / FOLDER_SIDECAR if place.is_dir() else place.with_name(place.name + SIDECAR_SUFFIX)


def list_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Give every file of a SavedModel but the sidecar: its path in the folder with slashes, and where it is."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name != FOLDER_SIDECAR and (path.is_symlink() or not path.is_dir()):
            yield name, path


def open_export(place: Path) -> OpenedExport:
    """Read an export and compare its parts with their digests, unless the environment has `VIDTLDR_CHECK_DIGESTS=0`.

    Args:
      place: of the program, or of a SavedModel's folder.

    Returns:
      An `OpenedExport`.

    Raises:
      ExportError: a part is missing or damaged, or not of the run that the sidecar is of.
    """
    description = read_sidecar(place)
    is_verifying = is_checking()
    if is_verifying:
        if description["format"] != FORMAT:
            tell_note(_describe_older(place))
        _check_sidecar(place, description)
    if description["kind"] == "savedmodel":
        if is_verifying:
            _check_folder(place, description)
        return OpenedExport(description, b"", None)
    program = _read_program(place, description, is_verifying=is_verifying)
    weights = _read_weights(place, description, is_verifying=is_verifying)
    return OpenedExport(description, program, weights)


def verify_export(place: Path) -> Verification:
    """Compare every part of an export with its digest.

    Args:
      place: of the program, or of a SavedModel's folder.

    Returns:
      A `Verification` of kind "export".
    """
    try:
        description = read_sidecar(place)
    except ExportError as error:
        return Verification("export", 0, (), (str(error),))
    parts: list[tuple[Callable[..., Any], int]]
    if description["kind"] == "savedmodel":
        parts = [(_check_sidecar, 1), (_check_folder, len(description.get("files", ())))]
    else:
        parts = [(_check_sidecar, 1), (_read_program, 1)]
        parts += [(_read_weights, 1)] if description["weights"] == "beside" else []
    num_checked, faults = 0, []
    for check, count in parts:
        try:
            check(place, description)
        except ExportError as error:
            faults.append(str(error))
        else:
            num_checked += count
    if description["format"] == FORMAT:
        return Verification("export", num_checked, (), tuple(faults))
    return Verification("export", max(num_checked - 1, 0), (_describe_older(place),), tuple(faults))


def read_sidecar(place: Path) -> dict[str, Any]:
    """Read what describes an export.

    Args:
      place: of the program, or of a SavedModel's folder.

    Returns:
      Its content, of the types that are read.

    Raises:
      ExportError: it is missing, damaged or of something else.
    """
    recover_and_tell(place)
    complete_and_tell(place)
    path = find_sidecar(place)
    try:
        fields: dict[str, Any] = read_json(path, dict[str, Any])
        check_type(fields, _Sidecar)
    except FileNotFoundError:
        rule = f"an export has {path.name} with the digests of its parts"
        raise ExportError(f"{rule}; there is no {path}; {_ADVICE}.") from None
    except (JsonError, LimitError) as error:
        raise ExportError(f"{path} describes no export: {error}; {_ADVICE}.") from error
    except OSError as error:
        raise ExportError(f"{path} can't be read ({error.strerror or error}); check the path.") from error
    is_folder = place.is_dir()
    wanted = ["files"] if is_folder and fields["format"] == FORMAT else [] if is_folder else ["file", "sha256"]
    wanted += ["run", "digest"] if fields["format"] == FORMAT else []
    wanted += ["weights_file", "weights_sha256"] if fields["weights"] == "beside" else []
    if is_folder != (fields["kind"] == "savedmodel"):
        raise ExportError(f"{path} describes no {'folder' if is_folder else 'program'}; {_ADVICE}.")
    if missing := [name for name in wanted if name not in fields]:
        raise ExportError(f"{path} describes an export without {', '.join(missing)}; {_ADVICE}.")
    return fields


def _describe_older(place: Path) -> str:
    return f"{find_sidecar(place)} is of a version before digests of all parts, so damage may go unseen; {_ADVICE}"


def _check_sidecar(place: Path, description: dict[str, Any]) -> None:
    expected = description.get("digest")
    found = hash_json({name: value for name, value in description.items() if name != "digest"})
    if description["format"] == FORMAT and found != expected:
        raise _refuse(find_sidecar(place), describe_mismatch(found, str(expected)))


def _read_program(place: Path, description: dict[str, Any], *, is_verifying: bool = True) -> bytes:
    if description["file"] != place.name:
        raise ExportError(
            f"{find_sidecar(place)} is of {description['file']!r}, not of {place.name!r}; give them back the "
            f"names that they had, or {_ADVICE}."
        )
    try:
        check_regular(place)
        data = place.read_bytes()
    except OSError as error:
        raise ExportError(f"{place} can't be read ({error.strerror or error}); check the path.") from error
    if is_verifying and (found := hash_bytes(data)) != description["sha256"]:
        raise _refuse(place, describe_mismatch(found, description["sha256"]))
    return data


def _read_weights(
    place: Path, description: dict[str, Any], *, is_verifying: bool = True
) -> dict[str, np.ndarray] | None:
    if description["weights"] == "inside":
        return None
    path = place.with_name(place.name + WEIGHTS_SUFFIX)
    if description["weights_file"] != path.name:
        raise ExportError(f"{find_sidecar(place)} names other weights than {path.name}; {_ADVICE}.")
    try:
        with SafetensorsFile(path) as file:
            if is_verifying and file.metadata.get("run") != description.get("run"):
                raise DigestError("it is of another run")
            return file.read_arrays(digest=description["weights_sha256"] if is_verifying else None)
    except (DigestError, SafetensorsError) as error:
        raise _refuse(path, str(error)) from error
    except LimitError as error:
        raise ExportError(f"{error}.") from error
    except OSError as error:
        raise ExportError(f"{path} can't be read ({error.strerror or error}); check the path.") from error


def _check_folder(place: Path, description: dict[str, Any]) -> None:
    expected = description.get("files")
    if expected is None:
        return
    there = dict(list_files(place))
    faults = [f"{name} is missing" for name in expected if name not in there]
    faults += [f"{name} is of another run" for name in there if name not in expected]
    for name, path in there.items():
        if name not in expected:
            continue
        try:
            check_regular(path)
            if hash_file(path) != expected[name]:
                faults.append(f"{name} is damaged or of another run")
        except OSError as error:
            faults.append(f"{name} can't be read ({error.strerror or error})")
    if faults:
        raise _refuse(place, join_faults(faults))


def _refuse(path: Path, what: str) -> ExportError:
    return ExportError(f"{path} is damaged or not of the run that its sidecar is of: {what}; {_ADVICE}.")
