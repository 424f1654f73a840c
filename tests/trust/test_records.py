"""The records file: torn anywhere, the whole lines count; another run is refused with what differs."""

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import NotRequired, TypedDict

import pytest

from vidtldr_jax.trust.records import Records, RecordsError

RUN = {"checkpoint": "abc", "preprocessing": {"num_frames": 4, "mean": (0.5, 0.5)}, "schedule": "100,40"}


def write(path, count, **options):
    with Records(path, RUN, **options) as records:
        for number in range(count):
            records.append(f"{number}.mp4", {"rank": number})
    return path.read_bytes()


def test_wherever_a_file_is_cut_the_whole_lines_count_and_the_end_is_the_same(tmp_path):
    path = tmp_path / "a.jsonl"
    whole = write(path, 3)
    ends = [number + 1 for number, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        with Records(path, RUN) as records:
            num_whole = max(sum(end <= cut for end in ends) - 1, 0)
            assert records.num_resumed == num_whole
            assert list(records.found) == [f"{number}.mp4" for number in range(num_whole)]
            for number in range(num_whole, 3):
                records.append(f"{number}.mp4", {"rank": number})
        assert path.read_bytes() == whole


def test_a_record_is_in_the_file_before_the_process_ends(tmp_path):
    path = tmp_path / "folder" / "a.jsonl"
    with Records(path, RUN) as records:
        records.append("\udcffé.mp4", {"rank": 0})
        line = path.read_bytes().splitlines()[1]
        check = hashlib.sha256(line.split(b', "check": ')[0] + b"}").hexdigest()[:16]
        assert json.loads(line) == {"key": "\udcffé.mp4", "rank": 0, "check": check}
    with Records(path, RUN) as records:
        assert records.found == {"\udcffé.mp4": {"rank": 0}}


def test_the_last_record_of_a_key_counts(tmp_path):
    write(tmp_path / "a.jsonl", 2)
    with Records(tmp_path / "a.jsonl", RUN) as records:
        records.append("0.mp4", {"rank": 9})
    with Records(tmp_path / "a.jsonl", RUN) as records:
        assert records.found == {"0.mp4": {"rank": 9}, "1.mp4": {"rank": 1}}


def test_another_run_is_refused_with_all_that_differs_and_nothing_is_lost(tmp_path):
    path = tmp_path / "a.jsonl"
    whole = write(path, 2)
    other = RUN | {"schedule": "none", "preprocessing": {"num_frames": 8, "mean": (0.5, 0.5)}, "limit": 3}
    message = (
        r"a.jsonl was begun by another run: preprocessing.num_frames was 4, now 8; "
        r'schedule was "100,40", now "none"; limit was null, now 3; give another place, or --restart'
    )
    with pytest.raises(RecordsError, match=message) as error:
        Records(path, other)
    assert "mean" not in str(error.value)
    assert path.read_bytes() == whole
    with Records(path, {f"field {number}": "x" * 1000 for number in range(5000)}, restart=True):
        pass
    with pytest.raises(RecordsError, match=r"; \.\.\. and 4,983 more; give another place") as error:
        Records(path, RUN)
    assert len(str(error.value)) < 3000


def test_two_at_once_are_refused(tmp_path):
    pytest.importorskip("fcntl", reason="files are locked where there is fcntl")
    path = tmp_path / "a.jsonl"
    with Records(path, RUN) as records:
        records.append("0.mp4", {"rank": 0})
        with pytest.raises(RecordsError, match=r"another one has .*a.jsonl open; wait for it"):
            Records(path, RUN, restart=True)
    with Records(path, RUN) as records:
        assert records.num_resumed == 1


def test_restart_begins_anew(tmp_path):
    write(tmp_path / "a.jsonl", 2)
    assert len(write(tmp_path / "a.jsonl", 1, restart=True).splitlines()) == 2


@pytest.mark.parametrize("text", ["my notes", "my notes\n", "{}\n", '{"kind": "other"', "[1]\n"])
def test_a_file_of_something_else_is_left_alone(tmp_path, text):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(RecordsError, match=r"starts with the description of a run; .* does not"):
        Records(path, RUN)
    assert path.read_text() == text


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = write(path, 3).splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"\0\0\0\n", *lines[3:]]))
    with pytest.raises(RecordsError, match=r"line 3 of .* is damaged \(.+\); take it out, or --restart"):
        Records(path, RUN)


def test_without_a_path_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Records(None, RUN) as records:
        records.append("a.mp4", {"rank": 0})
    assert list(tmp_path.iterdir()) == []


class Record(TypedDict):
    rank: int
    scores: NotRequired[list[float]]


def refuse(path, match, **options):
    with pytest.raises(RecordsError, match=match) as error:
        Records(path, RUN, **options)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_every_flipped_bit_of_a_whole_line_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    whole = write(path, 3)
    for bit in range(0, 8 * len(whole), 7):
        if bit // 8 == len(whole) - 1:
            continue  # without its end, the last line was torn
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        refuse(path, r"is damaged \(|starts with the description of a run|begun by another run")
        assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"key": "1.mp4", "rank": "1"}', "Expected `int`, got `str` - at `$.rank`"),
        ('{"key": "1.mp4", "rank": null}', "Expected `int`, got `null`"),
        ('{"key": "1.mp4", "rank": true}', "Expected `int`, got `bool`"),
        ('{"key": "1.mp4", "rank": 1, "scores": [1, "2"]}', "Expected `float`, got `str`"),
        ('{"key": "1.mp4", "rank": 1, "scores": [NaN]}', "NaN is no number in JSON"),
        ('{"key": "1.mp4", "rank": 1, "scores": [1e999]}', "1e999 is out of range"),
        ('{"key": "1.mp4", "rank": 1, "rank": 2}', "the name 'rank' is there twice"),
        ('{"key": "1.mp4"}', "missing required field `rank`"),
        ('{"key": 1, "rank": 1}', "Expected `str`, got `int`"),
        ('{"rank": 1}', "missing required field `key`"),
        ("[1]", "Expected `object`, got `array`"),
        ('{"key": "1.mp4", "rank": ', "Expecting value"),
        ("", "Expecting value"),
        ("[" * 10**5, "recursion"),
        ('{"key": "1.mp4", "rank": 7}', "it is too large"),
    ],
)
def test_a_line_of_another_type_is_named_with_its_number(tmp_path, line, reason):
    path = tmp_path / "a.jsonl"
    first, second, third = [json.loads(one) for one in write(path, 2).splitlines()]
    for one in (first, second, third):
        del one["check"]  # as an older version wrote it, so that types alone are checked
    path.write_text("\n".join([json.dumps(first), json.dumps(second), line, json.dumps(third)]) + "\n")
    find_fault = lambda record: "it is too large" if record["rank"] > 5 else None  # noqa: E731
    refuse(path, "line 3 of .* is damaged", kind=Record, find_fault=find_fault)
    with pytest.raises(RecordsError) as error:
        Records(path, RUN, kind=Record, find_fault=find_fault)
    assert reason in str(error.value)


def test_records_of_an_older_version_are_read_with_a_note(tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    lines = [json.loads(one) for one in write(path, 2).splitlines()]
    path.write_text("".join(json.dumps({name: one[name] for name in one if name != "check"}) + "\n" for one in lines))
    with Records(path, RUN) as records:
        assert records.found == {"0.mp4": {"rank": 0}, "1.mp4": {"rank": 1}}
        records.append("2.mp4", {"rank": 2})
    assert caplog.messages == [f"{path} is of an older version: 2 records have no digest to check them by"]
    with Records(path, RUN) as records:
        assert records.num_resumed == 3


def test_numbers_that_are_not_finite_are_not_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    before = write(path, 1)
    with Records(path, RUN) as records:
        with pytest.raises(ValueError, match="not JSON compliant"):
            records.append("1.mp4", {"rank": float("nan")})
        assert "1.mp4" not in records.found
    assert path.read_bytes() == before


FULL = """
import json, resource, sys
from pathlib import Path
from vidtldr_jax.trust.records import Records
path = Path(sys.argv[1])
with Records(path, {}) as records:
    size = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200, size + 200))
    try:
        for number in range(99):
            records.append(f"{number}.mp4", {"rank": number})
    except OSError as error:
        print(json.dumps([error.errno, error.filename, len(records.found), path.read_bytes().count(b"\\n")]))
"""


def test_a_line_that_finds_no_room_is_taken_back_and_the_file_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL, str(path)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    code, name, kept, lines = json.loads(done.stdout)
    assert (code, name, lines) == (errno.EFBIG, str(path), kept + 1)
    assert kept > 1
    assert path.read_bytes().endswith(b"}\n")
    with Records(path, {}) as records:
        assert records.num_resumed == kept


def test_records_are_on_the_disk_when_they_are_closed(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda opened: synced.append(os.fstat(opened).st_size) or fsync(opened))
    whole = write(tmp_path / "a.jsonl", 3)
    assert synced[-1] == len(whole)


@pytest.mark.skipif(os.name != "posix", reason="links and FIFOs are those of POSIX")
def test_no_link_is_followed_and_no_fifo_waited_for(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (tmp_path / "a.jsonl").symlink_to(mine)
    for restart in (False, True):
        with pytest.raises(RecordsError, match=r"a regular file is needed; .*a\.jsonl' is a link; remove it"):
            Records(tmp_path / "a.jsonl", RUN, restart=restart)
    assert mine.read_text() == "mine"
    os.mkfifo(tmp_path / "b.jsonl")
    with pytest.raises(RecordsError, match=r"a regular file is needed; .* is a FIFO"):
        Records(tmp_path / "b.jsonl", RUN)
    assert stat.S_ISFIFO((tmp_path / "b.jsonl").stat().st_mode)
