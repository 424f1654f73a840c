"""JSON of unknown origin: typed, strict, limited, with one line for every fault."""

import os
from typing import Any, Literal, TypedDict

import pytest

from vidtldr_jax.trust.json_files import JsonError, check_type, parse_json, read_json
from vidtldr_jax.trust.limits import LimitError
from vidtldr_jax.trust.regular import NotRegularError


class Head(TypedDict):
    format: Literal[1]
    labels: list[str] | None


def test_what_fits_is_returned():
    assert parse_json(b'{"format": 1, "labels": ["a"]}', Head) == {"format": 1, "labels": ["a"]}
    assert parse_json('{"format": 1, "labels": null}', Head) == {"format": 1, "labels": None}


def test_what_is_nested_as_deep_as_allowed_is_returned():
    assert parse_json(b"[" * 100 + b"]" * 100) == parse_json(b"[" * 98 + b"[[]]" + b"]" * 98)
    assert parse_json(b'{"a": ' * 100 + b"1" + b"}" * 100)["a"].keys() == {"a"}


def test_a_file_name_that_is_not_utf8_survives():
    assert parse_json(rb'["a\udcff"]', list[str]) == ["a\udcff"]


FAULTS = {
    "another type": (b'{"format": 1, "labels": ["a", 3]}', r"Expected `str`, got `int` - at `\$.labels\[1\]`"),
    "another constant": (b'{"format": 2, "labels": null}', r"at `\$.format`"),
    "a field missing": (b'{"format": 1}', "missing required field `labels`"),
    "a truth value for a number": (b'{"format": true, "labels": null}', r"at `\$.format`"),
    "NaN": (b'{"format": NaN, "labels": null}', "NaN is no number in JSON"),
    "infinite": (b'{"format": -Infinity, "labels": null}', "Infinity is no number"),
    "out of range": (b'{"format": 1e999, "labels": null}', "1e999 is out of range"),
    "one name twice": (b'{"format": 1, "labels": null, "format": 1}', "the name 'format' is there twice"),
    "half of a surrogate pair in a name": (rb'{"format": 1, "labels": null, "\udcff": 2}', "surrogates not allowed"),
    "a long unknown name": (b'{"format": 1, "labels": null, "%s": 2, "format": 2}' % (b"x" * 10**5), "twice"),
    "a long constant": (b'{"format": "%s", "labels": null}' % (b"x" * 10**5), r"at `\$.format`"),
    "cut short": (b'{"format": 1, "lab', "Unterminated string"),
    "empty": (b"", "Expecting value"),
    "more behind": (b'{"format": 1, "labels": null}}', "Extra data"),
    "not UTF-8": (b'{"format": "\xff"}', "can't decode byte 0xff"),
    "very deep": (b"[" * 200_000, "recursion"),
    "very deep and whole": (b"[" * 200_000 + b"]" * 200_000, "recursion"),
    "lists too deep": (b"[" * 101 + b"]" * 101, "nested at most 100 levels deep"),
    "objects too deep": (b'{"format": 1, "labels": %s1%s}' % (b'{"a": ' * 100, b"}" * 100), "at most 100 levels deep"),
    "a long number": (b"1" * 5000, "4300 digits"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_one_line(fault):
    data, message = FAULTS[fault]
    with pytest.raises(JsonError, match=message) as caught:
        parse_json(data, Head)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) <= 300


def test_data_that_was_read_elsewhere_is_checked_alike():
    assert check_type({"a": [1]}, dict[str, list[int]]) == {"a": [1]}
    with pytest.raises(JsonError, match=r"Expected `int`, got `str` - at `\$\[...\]\[0\]`"):
        check_type({"a": ["1"]}, dict[str, list[int]])


def test_a_file_is_read_within_its_limit(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_bytes(b"[1, 2]")
    assert read_json(path, list[int]) == [1, 2]
    monkeypatch.setenv("VIDTLDR_MAX_JSON_BYTES", "5")
    with pytest.raises(LimitError, match=r"may have at most 5 .*; got 6; set VIDTLDR_MAX_JSON_BYTES to allow more"):
        read_json(path, Any)


def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(NotRegularError, match=r"a regular file is needed; .* is a FIFO"):
        read_json(tmp_path / "a.json")
