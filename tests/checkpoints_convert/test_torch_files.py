"""torch.save's files read the same as torch reads them, and what is no sound checkpoint gives one line."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints_convert import ConversionError, open_source
from checkpoints_convert.inert import StandIn, read_fields
from checkpoints_convert.torch_files import read_torch_file
from tests.reference.files import require_torch

torch = require_torch()

Find = Callable[[str], Path]
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool)


def make_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(6, 5, generator=generator) * 3
    state = {str(dtype): values.to(dtype) for dtype in DTYPES}
    shared = torch.randn(4, 6, generator=generator)
    state |= {"shared": shared, "transposed": shared.T, "part": shared[1:3, ::2], "scalar": torch.tensor(2.5)}
    state |= {"empty": torch.zeros(0, 3), "parameter": torch.nn.Parameter(values[0])}
    return state


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


@pytest.mark.parametrize("is_zip", [True, False])
def test_both_forms_read_as_torch_reads_them(tmp_path: Path, is_zip: bool):
    state = make_state()
    torch.save(state, tmp_path / "weights.pth", _use_new_zipfile_serialization=is_zip)
    read = read_torch_file(tmp_path / "weights.pth")
    assert list(read) == list(state)
    for name, tensor in state.items():
        assert read[name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(read[name].read().astype(np.float64), as_numpy(tensor), err_msg=name)
    assert read["torch.bfloat16"].dtype.name == "bfloat16"


def test_the_golden_training_checkpoint_reads_with_its_config_of_an_uninstalled_class(find_golden: Find):
    saved = read_torch_file(find_golden("umt_retrieval.pth"))
    assert list(saved) == ["model", "optimizer", "scheduler", "scaler", "config", "epoch", "global_step"]
    config = saved["config"]
    assert isinstance(config, StandIn)
    assert config.name == "utils.easydict.EasyDict"
    fields = read_fields(config)
    assert fields
    inner = [read_fields(value) for value in fields.values() if isinstance(value, StandIn)]
    assert inner
    assert all(inner)
    assert list(open_source(find_golden("umt_retrieval.pth")).config) == list(fields)


def test_numpy_scalars_namespaces_and_paths_beside_the_weights_are_plain(tmp_path: Path):
    import argparse

    extra = {"best": np.float64(0.75), "args": argparse.Namespace(num_frames=8, out=Path("runs")), "seen": {1, 2}}
    torch.save({"model": {"w": torch.ones(2)}, **extra}, tmp_path / "weights.pth")
    saved = read_torch_file(tmp_path / "weights.pth")
    assert saved["best"] == 0.75
    assert saved["seen"] == {1, 2}
    assert read_fields(saved["args"])["num_frames"] == 8
    assert open_source(tmp_path / "weights.pth").config["num_frames"] == 8


def rewrite_zip(source: Path, target: Path, change: Callable[[str, bytes], bytes | None], *, method: int = 0) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


def expect_refusal(path: Path, match: str) -> None:
    with pytest.raises(ConversionError, match=match) as caught:
        open_source(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"a": torch.arange(3000.0), "b": torch.ones(4)}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.fixture
def old_weights(tmp_path: Path) -> Path:
    path = tmp_path / "old.pth"
    torch.save({"a": torch.arange(3000.0), "b": torch.ones(4)}, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a checkpoint has bytes; .* is empty"),
        (b"hello, this is text", "starts with b'hello, t' and is none"),
        (b"<html><body>404</body></html>", "starts with b'<html><b' and is none"),
        (b"\x80\x02", "damaged"),
        (bytes(99), "and is none of these; name the file that holds the weights"),
    ],
    ids=["nothing", "text", "a web page", "a pickle's first bytes", "zeros"],
)
def test_what_is_no_checkpoint_gives_one_line(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "weights.pth").write_bytes(content)
    expect_refusal(tmp_path / "weights.pth", message)


def test_a_git_lfs_pointer_and_a_missing_file_say_so(tmp_path: Path):
    (tmp_path / "weights.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    expect_refusal(tmp_path / "weights.pth", "git lfs pull")
    expect_refusal(tmp_path / "nothing.pth", "there is no")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("form", ["weights", "old_weights"])
def test_truncated_files_give_one_line(request: pytest.FixtureRequest, form: str, share: float):
    path = request.getfixturevalue(form)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    expect_refusal(path, "damaged|truncated|get it again")


def test_a_flipped_byte_in_the_numbers_is_seen_by_the_checksum(weights: Path):
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 0xFF
    weights.write_bytes(data)
    expect_refusal(weights, "checksum")


def test_compressed_members_are_not_unpacked(weights: Path, tmp_path: Path):
    bomb = rewrite_zip(weights, tmp_path / "bomb.pth", lambda _, data: data, method=zipfile.ZIP_DEFLATED)
    expect_refusal(bomb, "compressed")


def test_a_missing_or_short_storage_is_named(weights: Path, tmp_path: Path):
    gone = rewrite_zip(weights, tmp_path / "gone.pth", lambda name, data: None if name.endswith("data/0") else data)
    expect_refusal(gone, "storage '0' is not in the zip")
    short = rewrite_zip(weights, tmp_path / "short.pth", lambda n, data: data[:100] if n.endswith("data/0") else data)
    expect_refusal(short, "declares 12000 bytes; the file holds 100")


def test_a_declared_size_of_terabytes_allocates_nothing(weights: Path, old_weights: Path, tmp_path: Path):
    def enlarge(data: bytes) -> bytes:
        small, huge = b"M" + struct.pack("<H", 3000), b"\x8a\x06" + (2**40).to_bytes(6, "little")
        assert small in data
        return data.replace(small, huge)

    bomb = rewrite_zip(weights, tmp_path / "bomb.pth", lambda n, data: enlarge(data) if n.endswith(".pkl") else data)
    expect_refusal(bomb, "the file holds 12000")
    old_weights.write_bytes(enlarge(old_weights.read_bytes()))
    expect_refusal(old_weights, "1099511627776 numbers; the file says 3000")


def test_an_expanded_tensor_is_not_blown_up(tmp_path: Path):
    torch.save({"a": torch.ones(1).expand(10**12)}, tmp_path / "weights.pth")
    expect_refusal(tmp_path / "weights.pth", "reaches outside its storage")


def test_other_zips_and_programs_are_told_apart(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "papers.zip", "w") as archive:
        archive.writestr("paper.txt", b"text")
    expect_refusal(tmp_path / "papers.zip", "one data.pkl")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/data.pkl", b"\x80\x02}.")
        archive.writestr("script/constants.pkl", b"\x80\x02).")
    expect_refusal(tmp_path / "script.pt", "TorchScript")


@pytest.mark.parametrize("saved", [torch.ones(3), [1, 2], {"epoch": 3}, {"model": {"w": torch.ones(2), "epoch": 3}}])
def test_what_holds_no_state_dict_is_named(tmp_path: Path, saved: Any):
    torch.save(saved, tmp_path / "weights.pth")
    expect_refusal(tmp_path / "weights.pth", r"save model.state_dict\(\)")


def test_damaged_safetensors_give_one_line(tmp_path: Path):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(1000.0), "half": torch.ones(3, dtype=torch.bfloat16)}, path)
    source = open_source(path)
    np.testing.assert_array_equal(source.tensors["a"].read(), np.arange(1000.0))
    np.testing.assert_array_equal(source.tensors["half"].read().astype(np.float32), np.ones(3))
    path.write_bytes(path.read_bytes()[:-8])
    expect_refusal(path, "no safetensors")
    path.write_bytes(b"")
    expect_refusal(path, "empty")


def test_a_stream_is_left_behind_its_pickle():
    import pickle

    from checkpoints_convert.safe_pickle import load_pickle

    stream = io.BytesIO(pickle.dumps([1, {"a": (2.5, None, True)}]) + pickle.dumps("next"))
    assert load_pickle(stream) == [1, {"a": (2.5, None, True)}]
    assert load_pickle(stream) == "next"


NESTED = b")" + b"2\x86" * 60  # a pair of a pair of ... the same pair: 121 bytes, 2^60 leaves


@pytest.mark.parametrize("form", ["weights", "old_weights"])
def test_a_storage_is_named_by_text_alone(request: pytest.FixtureRequest, form: str, tmp_path: Path):
    def change(data: bytes) -> bytes:
        start = data.index(b"Storage\n") + len(b"Storage\n")
        start = data.index(b"X", start)
        end = start + 5 + int.from_bytes(data[start + 1 : start + 5], "little")
        return data[:start] + NESTED + data[end:]

    path = request.getfixturevalue(form)
    if form == "weights":
        path = rewrite_zip(path, tmp_path / "b.pth", lambda n, data: change(data) if n.endswith(".pkl") else data)
    else:
        path.write_bytes(change(path.read_bytes()))
    expect_refusal(path, r"a storage is named by text; got \(tuple, tuple\)")


@pytest.mark.parametrize("form", ["weights", "old_weights"])
def test_numbers_of_thousands_of_digits_are_refused(request: pytest.FixtureRequest, form: str, tmp_path: Path):
    small, huge = b"M" + struct.pack("<H", 3000), b"\x8b" + struct.pack("<I", 4000) + b"\x01" * 4000
    path = request.getfixturevalue(form)
    whole = path.read_bytes()
    for number, message in enumerate(
        ("storage '.*' declares 0 to .*; got a whole number of 31993 bits", "a tensor has")
    ):

        def change(data: bytes, number: int = number) -> bytes:
            parts = data.split(small)
            assert len(parts) == 3  # what the storage declares, the tensor's size
            joints = [huge, small] if number == 0 else [small, huge]
            return parts[0] + joints[0] + parts[1] + joints[1] + parts[2]

        path.write_bytes(whole if form == "weights" else change(whole))
        changed = path
        if form == "weights":
            changed = rewrite_zip(path, tmp_path / "b.pth", lambda n, d: change(d) if n.endswith(".pkl") else d)
        expect_refusal(changed, message)


def test_storages_on_top_of_each_other_are_not_read_one_by_one(tmp_path: Path):
    torch.save({f"w{n}": torch.full((1000,), 1.0) for n in range(40)}, tmp_path / "weights.pth")
    data = (tmp_path / "weights.pth").read_bytes()
    start = data.index(b"PK\x01\x02")  # the directory: let every storage lie where the first does
    with zipfile.ZipFile(tmp_path / "weights.pth") as archive:
        places = {info.filename: info.header_offset for info in archive.infolist()}
        size = archive.getinfo("weights/data/0").file_size
    head = bytearray(data[start:])
    for name, place in places.items():
        if "/data/" in name and name != "weights/data/0":
            at = head.index(b"PK\x01\x02", max(head.index(name.encode()) - 60, 0))
            assert struct.unpack_from("<I", head, at + 42)[0] == place
            struct.pack_into("<I", head, at + 42, places["weights/data/0"])
    first = data[: places["weights/data/0"]]
    body = data[places["weights/data/0"] : places["weights/data/0"] + 64 + 64 + size]
    end = head.rindex(b"PK\x05\x06")
    struct.pack_into("<I", head, end + 16, len(first) + len(body))
    (tmp_path / "overlaid.pth").write_bytes(first + body + head[: head.index(b"PK\x06\x06")] + head[end:])
    expect_refusal(tmp_path / "overlaid.pth", "lie on top of each other; don't trust this file")


def test_a_stride_that_nothing_uses_may_be_anything(tmp_path: Path):
    torch.save({"a": torch.arange(3.0).as_strided((1, 3), (2**47, 1))}, tmp_path / "weights.pth")
    np.testing.assert_array_equal(open_source(tmp_path / "weights.pth").tensors["a"].read(), [[0.0, 1.0, 2.0]])


def test_a_zip_of_a_version_that_python_does_not_read_is_damaged(weights: Path):
    data = bytearray(weights.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 99
    weights.write_bytes(data)
    expect_refusal(weights, r"the zip is damaged or truncated \(zip file version 9.9\)")
