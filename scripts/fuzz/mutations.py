"""Ways to damage a file that know its structure, so that the damage gets past the first check of a reader.

    mutate(random.Random(0), data, "safetensors")

Each is a function of a random generator and bytes; `MUTATIONS` lists those of every structure, plain bytes among them.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Final

Mutation = Callable[[random.Random, bytes], bytes]

_NUMBERS: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
_LONG: Final = 100_000
_HOSTILE_TEXTS: Final = (
    "",
    "\x1b[2J\x1b]0;owned\x07",
    "a\nerror: forged",
    "\u202egnp.exe",
    "\u2028",
    "\udcff",
    "../../../etc/passwd",
    "/dev/zero",
    "nan",
    "x" * _LONG,
)
_ODD_VALUES: Final = (
    *(None, True, False, 0, 1, -1, 3.5, -0.0, 1e308, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**9, 10**6, 7),
    *([], {}, [[]], [None], {"": None}, [0] * 1000),
)


def mutate(rng: random.Random, data: bytes, structure: str) -> bytes:
    """Return a damaged copy of a file's content.

    Args:
      rng: decides everything.
      data: content of a sound file.
      structure: key of `MUTATIONS`.

    Returns:
      Other bytes; now and then, where the damage hits nothing, the same.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(MUTATIONS[structure])(rng, data)
    return data


def flip_bit(rng: random.Random, data: bytes) -> bytes:
    """Flip one bit."""
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def overwrite(rng: random.Random, data: bytes) -> bytes:
    """Overwrite a run of bytes with zeros, ones or noise."""
    start, end = _choose_slice(rng, data)
    fill = rng.choice((b"\0", b"\xff", None))
    return data[:start] + (rng.randbytes(end - start) if fill is None else fill * (end - start)) + data[end:]


def cut(rng: random.Random, data: bytes) -> bytes:
    """Cut the end off, as an interrupted copy does."""
    return data[: rng.randrange(len(data) + 1)]


def delete(rng: random.Random, data: bytes) -> bytes:
    """Leave a run of bytes out."""
    start, end = _choose_slice(rng, data)
    return data[:start] + data[end:]


def insert(rng: random.Random, data: bytes) -> bytes:
    """Put noise, or a copy of another run, between two bytes."""
    start, end = _choose_slice(rng, data)
    at = rng.randrange(len(data) + 1)
    return data[:at] + (data[start:end] if rng.random() < 0.5 else rng.randbytes(end - start)) + data[at:]


def set_number(rng: random.Random, data: bytes) -> bytes:
    """Replace what may be a length or a count by a number at a limit."""
    kind = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(kind)
    if len(data) < size:
        return data
    at = rng.randrange(len(data) - size + 1)
    return data[:at] + struct.pack(kind, rng.choice(_NUMBERS) % 2 ** (8 * size)) + data[at + size :]


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    """Change the structure of a JSON text: types, names, depth, numbers, hostile texts."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return flip_bit(rng, data)
    if rng.random() < 0.05:
        return b"[" * _LONG if rng.random() < 0.5 else b'{"a":' * 5000 + b"1" + b"}" * 5000
    text = json.dumps(_mutate_value(rng, value), allow_nan=True)
    return text.encode() if rng.random() < 0.9 else text.replace("1", rng.choice(("NaN", "1e999", "01")), 1).encode()


def mutate_json_number(rng: random.Random, data: bytes) -> bytes:
    """Replace one of all whole numbers of a JSON text by a number at a limit."""
    numbers = list(re.finditer(rb"(?<=[\s:\[,])\d+(?=[\s,\]}])", data))
    if not numbers:
        return flip_bit(rng, data)
    chosen = rng.choice(numbers)
    return data[: chosen.start()] + str(rng.choice(_NUMBERS)).encode() + data[chosen.end() :]


def mutate_lines(rng: random.Random, data: bytes) -> bytes:
    """Drop, repeat, swap or change a line."""
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.randrange(5)
    if how == 0:
        del lines[at]
    elif how == 1:
        lines.insert(other, lines[at])
    elif how == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif how == 3:
        lines[at] = mutate_json(rng, lines[at]) if lines[at][:1] in (b"{", b"[") else flip_bit(rng, lines[at])
    else:
        lines[at] += rng.choice(_HOSTILE_TEXTS).encode("utf-8", "surrogateescape")
    return b"\n".join(lines)


def mutate_safetensors(rng: random.Random, data: bytes) -> bytes:
    """Change the header of a safetensors file and put its length right again."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        return flip_bit(rng, data)
    header = mutate_json(rng, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def mutate_boxes(rng: random.Random, data: bytes) -> bytes:
    """Change a box of an MP4 at any depth: its size, its name, its content, or how often it is there."""
    boxes = _find_boxes(data, 0, len(data))
    if not boxes:
        return flip_bit(rng, data)
    start, end = rng.choice(boxes)
    how = rng.randrange(5)
    if how == 0:
        return data[:start] + struct.pack(">I", rng.choice(_NUMBERS) % 2**32) + data[start + 4 :]
    if how == 1:
        other = rng.choice(boxes)[0]
        return data[: start + 4] + data[other + 4 : other + 8] + data[start + 8 :]
    if how == 2:
        return data[:end] + data[start:end] + data[end:]
    if how == 3:
        return data[:start] + data[end:]
    return data[: start + 8] + set_number(rng, data[start + 8 : end]) + data[end:]


def mutate_riff(rng: random.Random, data: bytes) -> bytes:
    """Change a chunk of an AVI or WebP file: its size, its name or its content."""
    chunks = _find_chunks(data, 12, len(data), header=8, order="little")
    if not chunks:
        return flip_bit(rng, data)
    start, end = rng.choice(chunks)
    how = rng.randrange(3)
    if how == 0:
        return data[: start + 4] + struct.pack("<I", rng.choice(_NUMBERS) % 2**32) + data[start + 8 :]
    if how == 1:
        return data[:end] + data[start:end] + data[end:]
    return data[: start + 8] + set_number(rng, data[start + 8 : end]) + data[end:]


def mutate_png(rng: random.Random, data: bytes) -> bytes:
    """Change the content of a chunk of a PNG and put its checksum right again; or repeat or drop a chunk."""
    chunks = []
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        chunks.append(data[at:end])
        at = end
    if not chunks:
        return flip_bit(rng, data)
    number = rng.randrange(len(chunks))
    how = rng.randrange(4)
    if how == 0:
        chunks.insert(number, chunks[number])
    elif how == 1:
        del chunks[number]
    else:
        name, body = chunks[number][4:8], rng.choice((flip_bit, set_number, cut))(rng, chunks[number][8:-4])
        checked = name + body
        chunks[number] = struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))
    return data[:8] + b"".join(chunks)


def mutate_zip(rng: random.Random, data: bytes) -> bytes:
    """Damage a member of a zip of stored files, its pickle above all, and put its checksum right again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, RuntimeError):
        return flip_bit(rng, data)
    names = sorted(members)
    if not names:
        return data
    name = rng.choice([name for name in names if name.endswith(".pkl")] * len(names) + names)
    if rng.random() < 0.1:
        del members[name]
    else:
        members[name] = rng.choice(_BYTES)(rng, members[name])
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


_BYTES: Final[tuple[Mutation, ...]] = (flip_bit, flip_bit, overwrite, cut, delete, insert, set_number)
MUTATIONS: Final[dict[str, tuple[Mutation, ...]]] = {
    "bytes": _BYTES,
    "json": (*_BYTES[:4], *[mutate_json] * 6, *[mutate_json_number] * 3),
    "lines": (*_BYTES[:4], *[mutate_lines] * 6),
    "safetensors": (*_BYTES, *[mutate_safetensors] * 6),
    "boxes": (*_BYTES, *[mutate_boxes] * 6),
    "riff": (*_BYTES, *[mutate_riff] * 4),
    "png": (*_BYTES, *[mutate_png] * 6),
    "zip": (*_BYTES, *[mutate_zip] * 20),
}


def _choose_slice(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 200)))


def _find_boxes(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """List (start, end) of the boxes of an MP4, those inside others too."""
    found: list[tuple[int, int]] = []
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        name = data[start + 4 : start + 8]
        if size < 8 or start + size > end:
            break
        found.append((start, start + size))
        if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta"):
            found += _find_boxes(data, start + 8, start + size)
        start += size
    return found


def _find_chunks(data: bytes, start: int, end: int, *, header: int, order: Any) -> list[tuple[int, int]]:
    """List (start, end) of the chunks of a RIFF file, those inside lists too."""
    found: list[tuple[int, int]] = []
    while start + header <= end:
        size = int.from_bytes(data[start + 4 : start + 8], order)
        stop = start + header + size
        if stop > end:
            break
        found.append((start, stop))
        if data[start : start + 4] == b"LIST":
            found += _find_chunks(data, start + 12, stop, header=header, order=order)
        start = stop + size % 2
    return found


def _mutate_value(rng: random.Random, value: Any) -> Any:
    """Change one place of plain data, chosen by walking down at random."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        how = rng.random()
        if how < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if how < 0.2:
            return {**value, rng.choice((*_HOSTILE_TEXTS, key + "s")): value[key]}
        return {**value, key: _mutate_value(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        how = rng.random()
        if how < 0.1:
            return value[:at] + value[at + 1 :]
        if how < 0.2:
            return value[:at] + value[at : at + 1] * rng.choice((2, 1000)) + value[at:]
        return [*value[:at], _mutate_value(rng, value[at]), *value[at + 1 :]]
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice((value + 1, -value, value * 2, value * 1000, value / 3, str(value)))
    return rng.choice((*_ODD_VALUES, *_HOSTILE_TEXTS))
