"""Damaged and hostile safetensors files are refused in one line, before memory or time is spent on them."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy

from tests.checkpoints_convert.refusals import FOUR, expect_refusal


def write_safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


BAD_SAFETENSORS: dict[str, bytes] = {
    "cut short": safetensors.numpy.save({"a": FOUR})[:-3],
    "a header said to be huge": struct.pack("<Q", 2**60) + b"{}",
    "a header that is no JSON": write_safetensors(b"{nothing"),
    "offsets outside": write_safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 10**12]}}, b"1" * 16),
    "a shape that overflows": write_safetensors(
        {"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 16]}}, b"1" * 16
    ),
    "arrays on top of each other": write_safetensors(
        {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in "ab"}, b"1" * 16
    ),
}


@pytest.mark.parametrize("case", BAD_SAFETENSORS)
def test_a_bad_safetensors_file_is_refused(tmp_path: Path, case: str):
    (tmp_path / "model.safetensors").write_bytes(BAD_SAFETENSORS[case])
    expect_refusal(tmp_path / "model.safetensors", "damaged or no safetensors file", tmp_path)


def test_a_header_beyond_the_limits_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = tmp_path / "model.safetensors"
    with place.open("wb") as file:
        file.write(struct.pack("<Q", 2**36) + b"{")
        file.truncate(2**36 + 8)  # a sparse file
    expect_refusal(place, "set VIDTLDR_MAX_HEADER_BYTES to allow more", tmp_path)
    monkeypatch.setenv("VIDTLDR_MAX_TENSORS", "2")
    safetensors.numpy.save_file(dict.fromkeys("abc", FOUR), place)
    expect_refusal(place, "set VIDTLDR_MAX_TENSORS to allow more", tmp_path)
