"""msgpack, .npz and safetensors files that are damaged or made to harm: a clear error, nothing runs or is left."""

from __future__ import annotations

import functools
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import msgpack
import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import ConversionError, open_source
from checkpoints_convert.msgpack_files import read_msgpack_file
from checkpoints_convert.npz_files import read_npz_file
from checkpoints_convert.rules import find_layer, matches
from tests.checkpoints_convert.refusals import FOUR, expect_refusal
from tests.reference.files import require_torch

torch = require_torch()

Write = Callable[[Path], None]


class Trap:
    """Leaves a file behind where a pickle is executed."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return (open, (self.path, "w"))


def pack_array(shape: Any, dtype: Any, data: Any) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb([shape, dtype, data], use_bin_type=True))


def pack(tree: Any) -> bytes:
    return msgpack.packb(tree, use_bin_type=True)


def make_npy(shape: tuple[int, ...], descr: Any = "<f4", data: bytes = b"") -> bytes:
    header = str({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def write_zip(path: Path, method: int = zipfile.ZIP_DEFLATED, /, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(f"{name}.npy", body)


BAD_MSGPACK: dict[str, tuple[bytes, str]] = {
    "cut short": (pack({"params": {"a": pack_array([4], "float32", FOUR.tobytes())}})[:-5], "damaged or no msgpack"),
    "bytes left over": (pack({"params": {}}) + b"\x01", "damaged or no msgpack"),
    "more numbers than declared": (pack({"a": pack_array([2], "float32", FOUR.tobytes())}), r"says \[2\] and has 4"),
    "a huge shape": (pack({"a": pack_array([10**9, 10**9], "float32", FOUR.tobytes())}), "and has 4 numbers"),
    "a negative shape": (pack({"a": pack_array([-2, -2], "float32", FOUR.tobytes())}), r"says \[-2, -2\]"),
    "a shape of words": (pack({"a": pack_array(["x"], "float32", FOUR.tobytes())}), "shape and numbers agree"),
    "half a number": (pack({"a": pack_array([1], "float32", b"abc")}), "an array's bytes are whole numbers"),
    "no bytes": (pack({"a": pack_array([1], "float32", 7)}), "an array's bytes are whole numbers"),
    "objects": (pack({"a": pack_array([1], "object", b"12345678")}), "dtypes are .*; got 'object'"),
    "a class's name as dtype": (pack({"a": pack_array([1], "os.system", b"1234")}), "got 'os.system'"),
    "another extension": (pack({"a": msgpack.ExtType(42, b"x")}), "Flax writes extensions 1 to 3; got 42"),
    "an extension that is none": (pack({"a": msgpack.ExtType(1, b"\xc1")}), "damaged or no msgpack"),
    "too few parts": (pack({"a": msgpack.ExtType(1, pack([1]))}), "damaged or no msgpack"),
    "keys that are numbers": (pack({"a": {1: pack_array([4], "float32", FOUR.tobytes())}}), "keys are text; got 1"),
    "a key twice": (b"\x82" + 2 * (b"\xa1a" + pack(pack_array([4], "float32", FOUR.tobytes()))), "got 'a' twice"),
    "text among the parameters": (pack({"params": {"a": "x"}}), "a is str"),
    "nothing in it": (pack({"params": {"b": {}}}), "there is no array"),
    "two arrays at one path": (
        pack({"a/b": pack_array([4], "float32", FOUR.tobytes()), "a": {"b": pack_array([4], "float32", bytes(16))}}),
        "a/b comes twice, with the slash in a name and as a branch",
    ),
    "a path without end": (
        pack(functools.reduce(lambda inner, _: {"b": inner}, range(100), {"a": 1})), "has more than 64 parts",
    ),
    "branches without end": (
        b"\x81\xa1a\xdc\x00\x10" + 16 * (b"\xdd\x00\x01\x00\x00" + b"\x80" * 2**16), "has up to 1000000 maps and lists",
    ),
    "an extension of lists": (pack({"a": msgpack.ExtType(1, b"\xdc\xff\xff" + b"\x90" * 65_535)}), "damaged or no"),
    "more axes than any array": (pack({"a": pack_array([1] * 17, "float32", b"1234")}), "damaged or no msgpack"),
    "nested without end": (b"\x81\xa1a" * 100_000 + b"\xc0", "damaged or no msgpack"),
    "a list said to be endless": (b"\x81\xa1a\xdd\xff\xff\xff\xff", "damaged or no msgpack"),
    "chunks that don't fit": (
        pack({"__msgpack_chunked_array__": True, "shape": {"0": 9},
              "chunks": {"0": pack_array([4], "float32", FOUR.tobytes())}}),
        r"a chunked array says \[9\] and has 4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_MSGPACK)
def test_a_bad_msgpack_file_is_refused(tmp_path: Path, case: str):
    body, message = BAD_MSGPACK[case]
    (tmp_path / "checkpoint").write_bytes(body)
    expect_refusal(tmp_path / "checkpoint", message, tmp_path)


def test_every_kind_of_value_that_flax_writes_is_read(tmp_path: Path):
    big = np.arange(60, dtype=np.float32).reshape(3, 20)
    tree = {"a": {"b": FOUR.astype(np.float16)}, "c": np.float32(2.5), "d": np.zeros((0, 3)), "e": big}
    body = flax.serialization.msgpack_serialize({"params": tree, "step": 3, "z": complex(1, 2), "name": "x"})
    (tmp_path / "checkpoint").write_bytes(body)
    tensors = read_msgpack_file(tmp_path / "checkpoint")
    assert {key: (tensor.shape, str(tensor.dtype)) for key, tensor in tensors.items()} == {
        "a/b": ((4,), "float16"), "c": ((), "float32"), "d": ((0, 3), "float64"), "e": ((3, 20), "float32"),
    }  # fmt: skip
    np.testing.assert_array_equal(tensors["e"].read(), big)


def test_an_array_in_chunks_is_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 64)
    big = np.arange(60, dtype=np.float32).reshape(3, 20)
    body = flax.serialization.msgpack_serialize({"params": {"big": big}})
    assert b"__msgpack_chunked_array__" in body
    (tmp_path / "checkpoint").write_bytes(body)
    np.testing.assert_array_equal(read_msgpack_file(tmp_path / "checkpoint")["big"].read(), big)


def test_objects_in_an_npz_are_not_unpickled(tmp_path: Path):
    trapped = np.array([Trap(tmp_path / "ran")], dtype=object)
    np.savez(tmp_path / "weights.npz", **{"params/a": trapped})
    expect_refusal(tmp_path / "weights.npz", r"arrays hold numbers; 'params/a.npy' in .* has dtype 'object'", tmp_path)
    assert not (tmp_path / "ran").exists()
    with np.load(tmp_path / "weights.npz") as file, pytest.raises(ValueError, match="allow_pickle=False"):
        file["params/a"]


def test_a_pickle_behind_the_header_of_numbers_is_not_read(tmp_path: Path):
    body = make_npy((1,), data=pickle.dumps(Trap(tmp_path / "ran")))
    write_zip(tmp_path / "weights.npz", a=body)
    expect_refusal(tmp_path / "weights.npz", "declares 4 bytes and has", tmp_path)
    assert not (tmp_path / "ran").exists()


BAD_NPZ: dict[str, tuple[Write, str]] = {
    "shape that the bytes don't fill": (lambda p: write_zip(p, a=make_npy((10**12,))), "declares 4000000000000 bytes"),
    "shape that overflows": (lambda p: write_zip(p, a=make_npy((2**62, 2**62))), "got .* whose sizes multiply to more"),
    "negative shape": (lambda p: write_zip(p, a=make_npy((-1,), data=b"1234")), "declares -4 bytes and has 4"),
    "a bomb": (lambda p: write_zip(p, a=make_npy((2**25,), data=bytes(2**27))), "grows up to 100 times"),
    "a record": (lambda p: np.savez(p, a=np.zeros(2, [("x", "f4")])), "has dtype .*which was not read"),
    "text": (lambda p: np.savez(p, a=np.array(["x"])), "the family is told by the keys"),
    "code in the header": (
        lambda p: write_zip(p, a=make_npy((1,), descr="<f4', 'x': __import__('os').system('touch ran'), 'y': '")),
        "damaged or no .npz",
    ),
    "a long header": (
        lambda p: write_zip(p, a=b"\x93NUMPY\x02\x00" + struct.pack("<I", 10**6) + b" " * 10**6), "damaged or no .npz",
    ),
    "no header": (lambda p: write_zip(p, a=b"1234"), "damaged or no .npz"),
    "a header that never closes": (
        lambda p: write_zip(p, a=b"\x93NUMPY\x01\x00" + struct.pack("<H", 10) + b"(" + b" " * 8 + b"\n"),
        "damaged or no .npz",
    ),
    "a dtype of nothing": (lambda p: write_zip(p, a=make_npy((1,), descr=())), "damaged or no .npz"),
    "a packing that asks for memory first": (
        lambda p: write_zip(p, zipfile.ZIP_LZMA, a=make_npy((1,), data=b"1234")), "is packed by method 14",
    ),
    "many small bombs": (
        lambda p: write_zip(p, **{f"a{n}": make_npy((2**22,), data=bytes(2**24)) for n in range(5)}),
        "all together in .* declares",
    ),
    "an unknown version": (lambda p: write_zip(p, a=b"\x93NUMPY\x09\x00" + b" " * 100), "version .* is not read"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_NPZ)
def test_a_bad_npz_file_is_refused(tmp_path: Path, case: str):
    write, message = BAD_NPZ[case]
    write(tmp_path / "weights.npz")
    expect_refusal(tmp_path / "weights.npz", message, tmp_path)
    assert not (tmp_path / "ran").exists()
    assert not Path("ran").exists()


def test_an_npz_that_is_cut_or_has_a_wrong_checksum_is_damaged(tmp_path: Path):
    np.savez(tmp_path / "weights.npz", **{"params/a": np.arange(10000.0), "params/b": np.zeros(3)})
    body = (tmp_path / "weights.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(body[: len(body) // 2])
    with pytest.raises(ConversionError, match="damaged"):
        open_source(tmp_path / "cut.npz")
    at = body.index(np.arange(10000.0).tobytes()) + 70_000
    (tmp_path / "changed.npz").write_bytes(body[:at] + b"\xff" + body[at + 1 :])
    tensors = read_npz_file(tmp_path / "changed.npz")
    with pytest.raises(ConversionError, match=r"damaged or no \.npz file \(Bad CRC-32"):
        tensors["a"].read()


def test_a_name_that_comes_twice_in_a_zip_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr("a.npy", make_npy((1,), data=b"1234"))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", make_npy((1,), data=b"1234"))
    expect_refusal(tmp_path / "weights.npz", "a name comes once; .* has some twice", tmp_path)


def test_arrays_of_the_other_byte_order_are_read_as_numbers(tmp_path: Path):
    values = np.arange(6, dtype=">f4").reshape(2, 3)
    np.savez_compressed(tmp_path / "weights.npz", a=np.asfortranarray(values))
    tensor = read_npz_file(tmp_path / "weights.npz")["a"]
    assert tensor.dtype == np.dtype("float32")
    np.testing.assert_array_equal(tensor.read(), values)


def test_what_is_something_else_says_what_it_is_not(tmp_path: Path):
    for name, body, message in (
        ("picture.pth", b"\x89PNG\r\n\x1a\n" + bytes(100), "is none of these; name the file"),
        ("empty.npz", b"", "is empty"),
        ("page.bin", b"<!DOCTYPE html>", "is none of these; name the file"),
    ):
        (tmp_path / name).write_bytes(body)
        expect_refusal(tmp_path / name, message, tmp_path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    (tmp_path / "other.zip").write_bytes(buffer.getvalue())
    expect_refusal(tmp_path / "other.zip", "torch.save's zip has one data.pkl", tmp_path)


def test_a_folder_of_orbax_is_refused_in_words(tmp_path: Path):
    (tmp_path / "checkpoint_3").mkdir()
    (tmp_path / "checkpoint_3" / "_METADATA").write_text("{}")
    with pytest.raises(ConversionError, match="is an Orbax checkpoint, which is not read; restore it with orbax"):
        open_source(tmp_path)
    with pytest.raises(ConversionError, match="a folder holds one of"):
        open_source(Path(__file__).parent)


def test_a_zip_of_a_version_that_python_does_not_read_is_damaged(tmp_path: Path):
    write_zip(tmp_path / "weights.npz", a=make_npy((1,), data=b"1234"))
    body = bytearray((tmp_path / "weights.npz").read_bytes())
    body[body.index(b"PK\x01\x02") + 6] = 99
    (tmp_path / "weights.npz").write_bytes(body)
    expect_refusal(tmp_path / "weights.npz", r"the zip is damaged or truncated \(zip file version 9.9\)", tmp_path)


def test_a_checkpoint_without_a_tensor_says_so(tmp_path: Path):
    safetensors.numpy.save_file({}, tmp_path / "model.safetensors")
    expect_refusal(tmp_path / "model.safetensors", "a checkpoint has tensors; there is none in", tmp_path)
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    expect_refusal(tmp_path / "index", "a checkpoint has tensors; there is none in", tmp_path)
    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"model": {}}, 2))
    expect_refusal(tmp_path / "weights.pth", "torch.save's old form", tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors"}, "'c' is not in '2.safetensors'"),
        ({"a": "1.safetensors"}, "there is no fault"),
        ({"a": "2.safetensors", "b": "2.safetensors"}, "'a' is not in '2.safetensors'"),
        ({"b": "1.safetensors", "a": "1.safetensors"}, "'b' is not in '1.safetensors'"),
        ({"a": "1.safetensors", "b": "3.safetensors"}, r"missing: \['3.safetensors'\]"),
        ({"a": "../1.safetensors"}, r"outside: \['../1.safetensors'\]"),
    ],
)
def test_an_index_names_the_keys_that_its_shards_have(tmp_path: Path, weight_map: dict[str, str], message: str):
    folder = tmp_path / "hub"
    folder.mkdir()
    safetensors.numpy.save_file({"a": FOUR}, folder / "1.safetensors")
    safetensors.numpy.save_file({"b": FOUR}, folder / "2.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    assert sorted(open_source(folder).tensors) == ["a", "b"]
    index.write_text(json.dumps({"weight_map": weight_map}))
    if message == "there is no fault":
        assert list(open_source(folder).tensors) == ["a"]
    else:
        expect_refusal(folder, message, tmp_path)


def test_a_key_that_a_shard_has_and_the_index_has_not_is_named(tmp_path: Path):
    safetensors.numpy.save_file({"a": FOUR, "b\n": FOUR}, tmp_path / "1.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "1.safetensors"}}))
    expect_refusal(tmp_path, r"'b\\n' is in '1.safetensors' and not listed there", tmp_path)


def test_layers_of_thousands_of_digits_are_no_layers_and_more_numbers_in_a_pattern_are_any(tmp_path: Path):
    key = f"blocks.{'9' * 5000}.norm1.weight"
    assert find_layer(key, "blocks.{i}.norm1.weight") is None
    assert find_layer("blocks.9999.norm1.weight", "blocks.{i}.norm1.weight") == 9999
    assert find_layer("blocks.\u0661.norm1.weight", "blocks.{i}.norm1.weight") is None
    assert matches("blocks.1.mlp.22", "blocks.{i}.*.{i}")
    assert not matches("blocks.1.mlp.x", "blocks.{i}.*.{i}")
    assert find_layer("stages.3.blocks.7", "stages.{i}.blocks.{i}") == 3
    assert matches("12", "{i}{i}")
    assert matches("a\nb", "a*")
    assert matches("a" * 60, "*" * 60)
    assert not matches("a" * 60, "*" * 60 + "b")
    safetensors.numpy.save_file({key: FOUR, "pos_embed": FOUR}, tmp_path / "model.safetensors")
    expect_refusal(tmp_path / "model.safetensors", "family is told by the keys", tmp_path)


_GOLDENS = Path(__file__).parents[1] / "goldens"
_CASES = 60  # of each container
CONTAINERS = {
    **{path.name: path for path in sorted(_GOLDENS.glob("*.pth"))},
    "checkpoint_2023_layout": _GOLDENS / "scenic" / "checkpoint_2023_layout",
    "spacetime_token.npz": _GOLDENS / "scenic" / "spacetime_token.npz",
    "model.safetensors": None,
    "old.pth": None,
}


def read_container(name: str) -> bytes:
    path = CONTAINERS[name]
    if path is not None:
        return path.read_bytes()
    if name.endswith(".safetensors"):
        return safetensors.numpy.save({f"block_{n}": np.full((4, n), n, np.float32) for n in range(20)})
    buffer = io.BytesIO()
    state = {f"blocks.{n}.weight": torch.full((3, n), float(n)) for n in range(20)}
    torch.save({"model": state, "epoch": 3}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def damage(body: bytes, random: np.random.Generator) -> bytes:
    """Cuts, changes or deletes something, half of the times where the descriptions are: at both ends."""
    place = int(random.integers(len(body)))
    if random.random() < 0.5:
        near = int(random.integers(min(3000, len(body))))
        place = near if random.random() < 0.5 else len(body) - 1 - near
    kind, length = int(random.integers(4)), int(random.integers(1, 9))
    if kind == 0:
        return body[:place]
    if kind == 1:
        return body[:place] + body[place + length :]
    if kind == 2:
        return body[:place] + bytes([body[place] ^ (1 << int(random.integers(8)))]) + body[place + 1 :]
    return body[:place] + random.bytes(length) + body[place + length :]


@pytest.mark.filterwarnings("ignore")  # a user's are not errors
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_file_damaged_anywhere_reads_or_gives_the_one_error(tmp_path: Path, name: str):
    body = read_container(name)
    random = np.random.default_rng([*name.encode()])
    refused = []
    for _ in range(_CASES):
        (tmp_path / name).write_bytes(damage(body, random))
        try:
            for tensor in open_source(tmp_path / name).tensors.values():
                tensor.read()
        except ConversionError as error:  # any other exception fails the test
            refused.append(str(error))
    assert len(refused) > _CASES // 4
    assert all(message.isprintable() for message in refused)
