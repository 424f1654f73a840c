"""Pickles that try to do something are refused with the name of what they tried, and nothing runs."""

from __future__ import annotations

import builtins
import collections
import contextlib
import functools
import importlib
import io
import operator
import os
import pickle
import pickletools
import re
import subprocess
import sys
import tracemalloc
import types
import zipfile
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from checkpoints_convert import ConversionError, open_source
from checkpoints_convert.errors import show_value
from checkpoints_convert.inert import Global, StandIn, read_fields
from checkpoints_convert.safe_pickle import MAX_COPIED, load_pickle
from tests.reference.files import require_torch

torch = require_torch()


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def make_attacks(marker: Path) -> dict[str, tuple[Any, str]]:
    """Name -> what is pickled, and a pattern of what the refusal must name; the old protocols use Python 2's names."""
    touch = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": (Call(os.system, touch), f"{os.name}.system"),
        "os.popen": (Call(os.popen, touch), "os.popen"),
        "subprocess": (Call(subprocess.call, ["touch", str(marker)]), r"(subprocess|commands)\.call"),
        "Popen": (Call(subprocess.Popen, ["touch", str(marker)]), r"(subprocess|commands)\.Popen"),
        "eval": (Call(eval, code), "builtins.eval"),
        "exec": (Call(exec, code), "builtins.exec"),
        "open": (Call(open, str(marker), "w"), "open"),
        "getattr": (Call(getattr, Call(importlib.import_module, "os"), "system"), "getattr"),
        "import": (Call(builtins.__import__, "os"), "builtins.__import__"),
        "partial": (Call(functools.partial, os.system, touch), "functools.partial"),
        "attrgetter": (Call(operator.attrgetter("system")), "attrgetter"),
        "map": (Call(list, Call(map, os.system, [touch])), r"builtins\.map|itertools\.imap"),
        "breakpoint": (Call(builtins.breakpoint), "builtins.breakpoint"),
        "torch.load": (Call(torch.load, str(marker)), "torch.serialization.load"),
        "torch.hub": (Call(torch.hub.load, "owner/name", "model"), "torch.hub.load"),
        "numpy loader": (Call(importlib.import_module("numpy").load, str(marker)), "numpy"),
        "defaultdict": (Call(collections.defaultdict, os.system), f"{os.name}.system"),
        "state": (Call(types.SimpleNamespace, state={"x": Call(os.system, touch)}), f"{os.name}.system"),
        "in a key": ({("a", Call(os.system, touch)): 1}, f"{os.name}.system"),
        "writes a file": (Call(Path.write_text, marker, "x"), r"Path\.write_text|builtins\.getattr"),
    }


ATTACKS = sorted(make_attacks(Path("unused")))


def check_refused(path: Path, marker: Path, name: str) -> None:
    with pytest.raises(ConversionError) as caught:
        open_source(path)
    assert re.search(name, str(caught.value))
    assert "nothing was run" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_in_a_bare_pickle_is_refused_by_name(tmp_path: Path, attack: str, protocol: int):
    marker = tmp_path / "ran"
    payload, name = make_attacks(marker)[attack]
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(payload, protocol))
    check_refused(tmp_path / "weights.pth", marker, name)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("attack", ["os.system", "eval", "getattr", "torch.load"])
def test_an_attack_beside_real_weights_is_refused_by_name(tmp_path: Path, attack: str, is_zip: bool):
    marker = tmp_path / "ran"
    payload, name = make_attacks(marker)[attack]
    saved = {"model": {"w": torch.ones(3)}, "config": payload}
    torch.save(saved, tmp_path / "weights.pth", _use_new_zipfile_serialization=is_zip)
    check_refused(tmp_path / "weights.pth", marker, name)


def hand_made(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Programs that pickle.dumps never writes."""
    touch = f"touch {marker}".encode()
    text = b"X" + len(touch).to_bytes(4, "little") + touch
    return {
        "protocol 0": (b"cos\nsystem\n(S'" + touch + b"'\ntR.", "os.system"),
        "INST": (b"(S'" + touch + b"'\nios\nsystem\n.", "os.system"),
        "OBJ": (b"(cos\nsystem\n" + text + b"o.", "os.system"),
        "python 2 names": (b"c__builtin__\neval\n(S'1'\ntR.", "builtins.eval"),
        "memo": (b"\x80\x02" + text + b"q\x000X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93h\x00\x85R.", "os.system"),
        "dotted module": (b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93" + text + b"\x85R.", "torch.os.system"),
        "foreign function": (b"\x80\x02cutils.tools\nrun\n" + text + b"\x85R.", "utils.tools.run"),
        "foreign instance called": (b"\x80\x02cutils.tools\nRun\n)\x81" + text + b"\x85R.", "StandIn"),
        "attributes of a function": (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
            "_rebuild",
        ),
        "extension registry": (b"\x80\x02\x82\x01.", "EXT1"),
        "external value": (b"\x80\x02X\x01\x00\x00\x00aQ.", "str"),
        "out-of-band buffer": (b"\x80\x05\x97.", "NEXT_BUFFER"),
        "builtins through a class": (b"\x80\x04\x8c\x08builtins\x8c\x15object.__subclasses__\x93)R.", "__subclasses__"),
    }


@pytest.mark.parametrize("attack", sorted(hand_made(Path("unused"))))
def test_a_hand_made_program_is_refused_by_name(tmp_path: Path, attack: str):
    marker = tmp_path / "ran"
    program, name = hand_made(marker)[attack]
    with pytest.raises(ConversionError, match="nothing was run") as caught:
        load_pickle(io.BytesIO(program))
    assert name in str(caught.value)
    assert not marker.exists()


def test_a_pickle_nested_in_a_zip_member_is_only_numbers(tmp_path: Path):
    marker = tmp_path / "ran"
    torch.save({"w": torch.ones(3)}, tmp_path / "weights.pth")
    with zipfile.ZipFile(tmp_path / "weights.pth", "a") as archive:
        archive.writestr("weights/inner/data.pkl", pickle.dumps(Call(os.system, f"touch {marker}")))
    assert list(open_source(tmp_path / "weights.pth").tensors) == ["w"]
    assert not marker.exists()


def test_the_attacks_do_run_where_pickle_itself_loads_them(tmp_path: Path):
    """Shows that a passing test above means something."""
    payload, _ = make_attacks(tmp_path / "ran")["os.system"]
    pickle.loads(pickle.dumps(payload))
    assert (tmp_path / "ran").exists()


def test_unknown_classes_become_stand_ins_and_nothing_is_imported():
    module = types.ModuleType("not_installed_here")
    source = "class Config(dict):\n  pass\nclass Slots:\n  __slots__ = ('a',)\nclass Rows(list):\n  pass\n"
    exec(source, module.__dict__)
    sys.modules[module.__name__] = module
    try:
        config, slots, rows = module.Config(heads=4), module.Slots(), module.Rows([1, 2])
        config.depth, slots.a = 12, "x"
        data = pickle.dumps([config, slots, rows, module.Config], 2)
    finally:
        del sys.modules[module.__name__]
    read_config, read_slots, read_rows, cls = load_pickle(io.BytesIO(data))
    assert read_fields(read_config) == {"heads": 4, "depth": 12}
    assert read_fields(read_slots) == {"a": "x"}
    assert isinstance(read_rows, StandIn)
    assert read_rows.elements == [1, 2]
    assert cls == Global("not_installed_here.Config")
    assert module.__name__ not in sys.modules


_KEYS = st.text(max_size=4) | st.integers(-(2**59), 2**59) | st.booleans() | st.none() | st.binary(max_size=4)
_PLAIN = st.recursive(
    _KEYS | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_KEYS, inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(_KEYS, max_size=3)
        | st.frozensets(_KEYS, max_size=3)
    ),
    max_leaves=8,
)


@hypothesis.given(value=_PLAIN, protocol=st.integers(0, 5))
@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
def test_plain_data_reads_as_pickle_reads_it(value: Any, protocol: int):
    assert load_pickle(io.BytesIO(pickle.dumps(value, protocol))) == value


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
def test_random_programs_end_in_a_value_or_one_error(data: st.DataObject):
    codes = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
    parts = data.draw(st.lists(st.sampled_from(codes) | st.binary(max_size=6), max_size=30))
    with contextlib.suppress(ConversionError):  # any other exception fails the test
        load_pickle(io.BytesIO(b"".join(parts) + b"."))


def test_shared_tuples_as_a_key_do_not_take_for_ever():
    value: Any = ("a",)
    for _ in range(60):
        value = (value, value)
    program = pickle.dumps([value], 2).removesuffix(b"a.") + b"K\x01"  # the tuple as a key
    with pytest.raises(ConversionError, match=r"a dict key that is \(tuple, tuple\)"):
        load_pickle(io.BytesIO(program.replace(b"]", b"}", 1) + b"s."))


def make_text(text: str) -> bytes:
    return b"X" + len(text.encode()).to_bytes(4, "little") + text.encode()


NESTED = b")" + b"2\x86" * 60  # a pair of a pair of ... the same pair: 121 bytes, 2^60 leaves


def test_an_unknown_object_as_a_key_is_named_by_its_class_alone(tmp_path: Path):
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pth")
    strange = b"cmodels\nKey\n" + NESTED + b"\x85\x81K\x01s."
    with zipfile.ZipFile(tmp_path / "weights.pth") as old, zipfile.ZipFile(tmp_path / "keyed.pth", "w") as new:
        for name in old.namelist():
            body = old.read(name)
            new.writestr(name, body.removesuffix(b"s.") + b"s" + strange if name.endswith("data.pkl") else body)
    with pytest.raises(ConversionError, match=r"1 tensors and StandIn \(int\); save model.state_dict"):
        open_source(tmp_path / "keyed.pth")


LONG_NAME = make_text("a" * 100_000)
BOMBS: dict[str, tuple[bytes, str]] = {
    "a list of a list": (
        b"\x80\x02]q\x00(" + b"K\x01" * 20_000 + b"ecbuiltins\nlist\nq\x01h\x00\x85q\x020"
        + b"h\x01h\x02R0" * 20_000 + b"h\x00.",
        "calls that copy more than",
    ),
    "text to bytes": (
        b"\x80\x02" + LONG_NAME + b"\x85q\x000c_codecs\nencode\nq\x010" + b"h\x01h\x00R" * 20_000 + b".",
        "calls that copy more than",
    ),
    "keywords to arguments": (
        b"\x80\x02(" + b"K\x01" * 20_000 + b"tq\x000cmodels\nKey\nq\x010" + b"h\x01h\x00N\x92" * 20_000 + b".",
        "calls that copy more than",
    ),
    "names": (
        b"\x80\x02" + LONG_NAME + b"q\x000" + b"h\x00h\x00\x93" * 20_000 + b".",
        "a name of 200000 characters",
    ),
    "numbers with one hash": (
        b"\x80\x02}("
        + b"".join(b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N" for n in range(1, 30_000)) + b"u.",
        "a dict key that is 2305843009213693951",
    ),
    "pairs with one hash": (
        b"\x80\x02}(" + b"".join(
            b"(" + b"".join((b"J\xff\xff\xff\xff", b"J\xfe\xff\xff\xff")[n >> bit & 1] for bit in range(14)) + b"tN"
            for n in range(2**14)
        ) + b"u.",
        r"a dict key that is \(-1, -1",
    ),
    "memo entries with one hash": (
        b"".join(b"Np%d\n" % (n * (2**61 - 1)) for n in range(30_000)) + b".",
        "memo entry 2305843009213693951",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
def test_a_small_program_that_would_fill_the_memory_or_take_hours_is_refused(case: str):
    program, message = BOMBS[case]
    tracemalloc.start()
    try:
        with pytest.raises(ConversionError, match=message):
            load_pickle(io.BytesIO(program))
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_COPIED
    finally:
        tracemalloc.stop()


def test_messages_about_foreign_names_are_one_printable_line(tmp_path: Path):
    key = "a\nb\x1b[31m\u202e"
    for saved in ({key: 3}, {"w": torch.ones(2), key: key}):
        torch.save(saved, tmp_path / "weights.pth")
        with pytest.raises(ConversionError, match=r"a\\nb\\x1b") as caught:
            open_source(tmp_path / "weights.pth")
        assert str(caught.value).isprintable()
    half = pickle.dumps({"a\ud800": 1}).replace(b"a", b"b")
    (tmp_path / "bare.pth").write_bytes(half)
    with pytest.raises(ConversionError) as caught:
        open_source(tmp_path / "bare.pth")
    assert str(caught.value).isprintable()
    with pytest.raises(ConversionError, match=r"names 'os.a\\nb") as caught:
        load_pickle(io.BytesIO(b"\x80\x04" + make_text("os") + make_text("a\nb") + b"\x93."))
    assert str(caught.value).isprintable()


def test_the_error_itself_escapes_what_is_not_printable():
    error = ConversionError.collect("one\nrule", ["a\x1b", "\ud800"], "fix\tit")
    assert str(error) == r"one\nrule: a\x1b; \ud800; fix\tit."
    assert error.faults == (r"a\x1b", r"\ud800")
    assert ConversionError("a\r").faults == (r"a\r",)


def test_a_shown_value_is_short_printable_and_made_in_no_time():
    nested: Any = ()
    for _ in range(60):
        nested = (nested, nested)
    shown = {"é": "'é'", "\x1b": r"'\x1b'", b"\xff": r"b'\xff'", 7: "7", None: "None", 2.5: "2.5", True: "True"}
    assert {value: show_value(value) for value in shown} == shown
    assert show_value([nested, 1, "a"]) == "[tuple, 1, 'a']"
    assert show_value((1,)) == "(1,)"
    assert show_value({"a": nested}) == "dict"
    assert show_value(10**5000) == "a whole number of 16610 bits"
    for long in ("x" * 10**7, "\x1b" * 99, list(range(10**6)), b"x" * 10**7, ["x" * 99] * 8, 10**70 + 0.5):
        assert len(show_value(long)) <= 100
    assert show_value("blocks." + "x" * 200 + ".weight").endswith(".weight'")
