"""The strict reader of safetensors: what the library writes, what it refuses, and limits before memory and time."""

import hashlib
import json
import os
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from vidtldr_jax.trust.limits import LimitError
from vidtldr_jax.trust.regular import NotRegularError
from vidtldr_jax.trust.safetensors_files import DTYPES, DigestError, SafetensorsError, SafetensorsFile, read_entry

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/half": np.ones((3,), ml_dtypes.bfloat16),
    "one": np.array(7.0),
    "none": np.zeros((0, 5), np.int8),
    "yes": np.array([True, False]),
}
F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def write(path, header, data=b"\0" * 4, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_what_the_library_writes_is_read_and_hashed_in_one_go(tmp_path):
    path = tmp_path / "m.safetensors"
    safetensors.numpy.save_file(ARRAYS, path, metadata={"format": "np"})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with SafetensorsFile(path) as file:
        assert file.metadata == {"format": "np"}
        assert {name: (DTYPES[entry.dtype], entry.shape) for name, entry in file.entries.items()} == {
            name: (value.dtype.name, value.shape) for name, value in ARRAYS.items()
        }
        for found in (
            file.read_arrays(digest=digest),
            {name: read_entry(path, name, file.entries[name]) for name in ARRAYS},
        ):
            for name, value in ARRAYS.items():
                assert found[name].dtype == value.dtype
                np.testing.assert_array_equal(found[name], value)
        with pytest.raises(DigestError, match=r"its SHA-256 begins with .*, that of what was written with '0000"):
            file.read_arrays(digest="0" * 64)


@pytest.mark.parametrize("size", [0, 5, 8, 20, -1])
def test_a_file_cut_anywhere_is_refused(tmp_path, size):
    body = safetensors.numpy.save(ARRAYS)
    (tmp_path / "m").write_bytes(body[:size])
    with pytest.raises(SafetensorsError, match="bytes"):
        SafetensorsFile(tmp_path / "m")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[1]", "not JSON as it should be: Expected `object`"),
        (b"{" * 100_000, "not JSON as it should be"),
        (b"\xff\xfe", "not JSON as it should be"),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": 1}', "'a' is there twice"),
        ({"a": 1}, "'a' in its header is not described by"),
        ({"a": F32 | {"more": 1}}, "'a' in its header is not described by"),
        ({"a": F32 | {"dtype": "F33"}}, "no dtype of the format"),
        ({"a": F32 | {"dtype": ["F32"]}}, "no dtype of the format"),
        ({"a": F32 | {"shape": [-1]}}, "no shape"),
        ({"a": F32 | {"shape": [1.0]}}, "no shape"),
        ({"a": F32 | {"shape": [True]}}, "no shape"),
        ({"a": F32 | {"shape": 1}}, "no shape"),
        ({"a": F32 | {"shape": [1] * 17}}, "no shape"),
        ({"a": F32 | {"shape": [0, 2**62], "data_offsets": [0, 0]}}, "no shape"),
        ({"a": F32 | {"shape": [2]}}, "another number of bytes"),
        ({"a": F32 | {"data_offsets": [4, 0]}}, "another number of bytes"),
        ({"a": F32 | {"data_offsets": [0, 4, 8]}}, "another number of bytes"),
        ({"a": F32 | {"data_offsets": [4, 8]}}, "does not begin where the array before it ends"),
        ({"a": F32, "b": F32}, "does not begin where the array before it ends"),
        ({"a": F32, "b": F32 | {"data_offsets": [8, 12]}}, "does not begin where the array before it ends"),
        ({}, "its arrays should end after"),
        ({"a": F32 | {"shape": [2], "data_offsets": [0, 8]}}, "its arrays should end after"),
        ({"a": F32, "__metadata__": {"x": 1}}, "holds texts by name"),
        ({"a": F32, "__metadata__": [1]}, "holds texts by name"),
    ],
)
def test_a_header_that_does_not_describe_its_file_is_refused(tmp_path, header, message):
    with pytest.raises(SafetensorsError, match=message) as error:
        SafetensorsFile(write(tmp_path / "m", header))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_dtype_without_an_array_is_refused_where_it_is_read(tmp_path):
    with SafetensorsFile(write(tmp_path / "m", {"a": F32 | {"dtype": "F8_E4M3", "shape": [4]}})) as file:
        assert file.entries["a"].shape == (4,)
        with pytest.raises(SafetensorsError, match="'a' has dtype F8_E4M3; dtypes are F64"):
            read_entry(file.path, "a", file.entries["a"])


def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error_and_no_signal(tmp_path):
    path = tmp_path / "m"
    safetensors.numpy.save_file(ARRAYS, path)
    with SafetensorsFile(path) as file:
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(SafetensorsError, match="shorter while it was read"):
            file.read_arrays()


def test_a_long_header_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "m"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 2**36))
        file.truncate(2**36 + 100)  # a sparse file: reading it would take all memory
    with pytest.raises(LimitError, match="set VIDTLDR_MAX_HEADER_BYTES to allow more"):
        SafetensorsFile(path)
    with pytest.raises(SafetensorsError, match=r"its header should have 18,446,744,073,709,551,615 bytes"):
        SafetensorsFile(write(tmp_path / "n", {"a": F32}, length=2**64 - 1))
    monkeypatch.setenv("VIDTLDR_MAX_TENSORS", "4")
    safetensors.numpy.save_file(ARRAYS, path)
    with pytest.raises(LimitError, match=r"at most 4 .*; got 5; set VIDTLDR_MAX_TENSORS to allow more"):
        SafetensorsFile(path)


def test_only_a_regular_file_is_read(tmp_path):
    os.mkfifo(tmp_path / "m")
    with pytest.raises(NotRegularError):
        SafetensorsFile(tmp_path / "m")


def test_the_reader_refuses_whatever_the_library_refuses(tmp_path):
    """Every bit of a small header: the reader is never laxer than the library, or reads the same."""
    body = safetensors.numpy.save({"a": ARRAYS["b"], "c": ARRAYS["yes"]})
    num_refused = 0
    for bit in range(8 * (8 + int.from_bytes(body[:8], "little"))):
        flipped = bytearray(body)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "m").write_bytes(flipped)
        try:
            expected = safetensors.numpy.load(bytes(flipped))
        except (safetensors.SafetensorError, ValueError, TypeError, KeyError):
            expected = None
        try:
            with SafetensorsFile(tmp_path / "m") as file:
                found = file.read_arrays()
        except SafetensorsError:
            num_refused += 1
            continue
        assert expected is not None, bit
        assert {name: value.tobytes() for name, value in found.items()} == {
            name: value.tobytes() for name, value in expected.items()
        }
    assert num_refused > 100
