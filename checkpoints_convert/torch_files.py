"""Reads torch.save's files, the zip form and the one before torch 1.6, without torch and without running anything."""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

from checkpoints_convert.errors import ConversionError, show_error, show_value
from checkpoints_convert.safe_pickle import load_pickle
from checkpoints_convert.torch_storage import TENSOR_BUILDERS, Storage, make_storage

ZIP_MAGIC: Final = b"PK\x03\x04"
# What zipfile says of a damaged file: RuntimeError for encryption, NotImplementedError for a version from the future.
ZIP_ERRORS: Final = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError)
_MAX_PICKLE_BYTES: Final = 256 * 2**20
_OLD_MAGIC: Final = 0x1950A86A20F9469CFC6C
_OLD_PROTOCOL: Final = 1001
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")  # signature, ..., length of the name, length of the extra field


def read_torch_file(path: Path) -> Any:
    """Reads what torch.save wrote.

    Args:
      path: a .pth, .pt or .bin file.

    Returns:
      The saved object with `LazyTensor` for tensors and `StandIn` for objects of unknown classes. The file stays mapped
      while a tensor of it lives.

    Raises:
      ConversionError: the file is damaged, is something else, or tries to run something.
    """
    if path.stat().st_size == 0:
        raise ConversionError(f"a checkpoint has bytes; {path} is empty; get it again.")
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return _read_zip(path, mapped) if mapped[:4] == ZIP_MAGIC else _read_old(mapped)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from error


def _read_zip(path: Path, mapped: mmap.mmap) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except ZIP_ERRORS as error:
        raise ConversionError(f"the zip is damaged or truncated ({show_error(error)}); get it again.") from error
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("data.pkl") and name.count("/") <= 1]
    if len(roots) != 1:
        raise ConversionError(
            f"torch.save's zip has one data.pkl; this one has {len(roots)}; it is no "
            "torch checkpoint; name the file that holds the weights."
        )
    root = roots[0]
    if f"{root}constants.pkl" in members:
        raise ConversionError("this is a TorchScript program; save its state_dict() instead.")
    if f"{root}byteorder" in members and bytes(_find_bytes(mapped, members[f"{root}byteorder"])) != b"little":
        raise ConversionError("numbers are little-endian; save the file on such a machine.")
    pickled = bytes(_find_bytes(mapped, members[f"{root}data.pkl"], limit=_MAX_PICKLE_BYTES))
    storages: dict[str, Storage] = {}
    num_bytes = 0

    def load_persistent(reference: Any) -> Storage:
        nonlocal num_bytes
        kind, key, numel = _parse_reference(reference)
        if key not in storages:
            storage = make_storage(kind, key, numel)
            member = members.get(f"{root}data/{key}")
            if member is None:
                raise ConversionError(f"storage {show_value(key)} is not in the zip; get the file again.")
            num_bytes += member.file_size
            if num_bytes > len(mapped):  # each is read for its checksum
                raise ConversionError(
                    f"the zip has {len(mapped)} bytes; its storages take more, so they lie on top of "
                    "each other; don't trust this file."
                )
            storage.attach(_find_bytes(mapped, member))
            storages[key] = storage
        return storages[key]

    return load_pickle(io.BytesIO(pickled), builders=TENSOR_BUILDERS, load_persistent=load_persistent)


def _find_bytes(mapped: mmap.mmap, member: zipfile.ZipInfo, *, limit: int | None = None) -> memoryview:
    """Returns a member's bytes as a view; torch stores without compression, so nothing can grow."""
    name = show_value(member.filename)
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise ConversionError(
            f"torch stores its members as they are; {name} is compressed from {member.file_size} to "
            f"{member.compress_size} bytes; it was not unpacked; save the file again with torch."
        )
    if limit is not None and member.file_size > limit:
        raise ConversionError(f"{name} may have {limit} bytes; got {member.file_size}; save the state dict alone.")
    header = mapped[member.header_offset : member.header_offset + _LOCAL_HEADER.size]
    if len(header) < _LOCAL_HEADER.size or not header.startswith(ZIP_MAGIC):
        raise ConversionError(f"{name} has no header in the zip; get the file again.")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    data = memoryview(mapped)[start : start + member.file_size]
    if len(data) < member.file_size or zlib.crc32(data) != member.CRC:
        raise ConversionError(
            f"{name} does not have the checksum that the zip gives; the file is damaged; get it again."
        )
    return data


def _read_old(mapped: mmap.mmap) -> Any:
    storages: dict[str, Storage] = {}

    def load_persistent(reference: Any) -> Storage:
        kind, key, numel = _parse_reference(reference)
        if isinstance(reference, tuple) and len(reference) > 5 and reference[5] is not None:
            raise ConversionError("views of storages are from before torch 0.4; save the file again.")
        return storages.setdefault(key, make_storage(kind, key, numel))

    if load_pickle(mapped) != _OLD_MAGIC:
        raise ConversionError(
            "torch.save's old form starts with its own number; this is another program's pickle; "
            "save a state dict with torch or as safetensors."
        )
    if load_pickle(mapped) != _OLD_PROTOCOL:
        raise ConversionError(f"protocol {_OLD_PROTOCOL} is read; save the file with a newer torch.")
    load_pickle(mapped)  # the writer's machine: sizes of int and byte order
    saved = load_pickle(mapped, builders=TENSOR_BUILDERS, load_persistent=load_persistent)
    keys = load_pickle(mapped)
    is_list = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not is_list or sorted(keys) != sorted(storages):
        raise ConversionError("the list of storages is not the one that tensors use; get the file again.")
    for key in keys:
        _attach_old(mapped, storages[key])
    return saved


def _attach_old(mapped: mmap.mmap, storage: Storage) -> None:
    header = mapped.read(8)
    numel = int.from_bytes(header, "little", signed=True) if len(header) == 8 else -1
    if numel != storage.numel:
        raise ConversionError(
            f"storage {show_value(storage.key)} has {storage.numel} numbers; the file says {numel}; "
            "it is truncated or damaged; get it again."
        )
    start = mapped.tell()
    storage.attach(memoryview(mapped)[start : start + storage.num_bytes])
    mapped.seek(start + storage.num_bytes)


def _parse_reference(reference: Any) -> tuple[Any, str, Any]:
    if not isinstance(reference, tuple) or len(reference) < 5 or reference[0] != "storage":
        raise ConversionError("external values are storages; this one is none; get the file again.")
    if not isinstance(reference[2], str):  # before anything hashes it: a tuple that shares its parts takes for ever
        raise ConversionError(f"a storage is named by text; got {show_value(reference[2])}; get the file again.")
    return reference[1], reference[2], reference[4]
