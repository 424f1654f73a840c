"""The records file: torn anywhere, the whole lines count; another run is refused with what differs."""

import json

import pytest

from vidtldr_jax.inference.records import Records, RecordsError

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
        assert json.loads(path.read_text().splitlines()[1]) == {"key": "\udcffé.mp4", "rank": 0}
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
    with pytest.raises(RecordsError, match=r"line 3 of .* is none; take it out, or --restart"):
        Records(path, RUN)


def test_without_a_path_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Records(None, RUN) as records:
        records.append("a.mp4", {"rank": 0})
    assert list(tmp_path.iterdir()) == []
