"""A table of times whose file is damaged is not read: a plan by wrong times would be wrong without a word."""

import logging
import os

import pytest

from vidtldr_jax.inference.latency_cache import read_table, write_table

PLACE = {"format": 1, "architecture": {"dim": 8}, "device": ["cpu", "cpu"], "environment": {"XLA_FLAGS": ""}}
TABLE = {"plain": 5000.0, "tokens": [32, 24], "layers": [[1.5, 2.25], [0.5, 12.0]], "early": 0.0}


@pytest.fixture
def file(tmp_path):
    write_table(tmp_path, PLACE, TABLE)
    (path,) = tmp_path.iterdir()
    return path


def test_every_flipped_bit_gives_the_same_table_or_none(file, tmp_path):
    data = file.read_bytes()
    read = 0
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            file.write_bytes(damaged)
            found = read_table(tmp_path, PLACE)
            assert found in (None, TABLE), (place, bit)
            read += found is not None
    assert read < 8 * len(data) / 4  # spaces between fields, which say nothing
    file.write_bytes(data)
    assert read_table(tmp_path, PLACE) == TABLE


def test_a_table_of_another_place_under_this_one_s_name_is_not_read(file, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="vidtldr_jax")
    other = tmp_path / "other"
    write_table(other, PLACE | {"architecture": {"dim": 9}}, TABLE)
    (theirs,) = other.iterdir()
    os.replace(theirs, file)
    assert read_table(tmp_path, PLACE) is None
    assert "is damaged or of something else; times are measured again" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[" * 5000, b'{"place": {}, "table": {}, "sha256": ""}'])
def test_what_is_no_table_is_not_read(file, tmp_path, content):
    file.write_bytes(content)
    assert read_table(tmp_path, PLACE) is None
