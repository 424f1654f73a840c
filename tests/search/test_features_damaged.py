"""Every damage to a folder of features is one line, never another number, another exception or a signal."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pytest

from tests.search.feature_writer import RUN, make_feature
from tests.search.test_features import check, find_part, make_features, read_folder, write
from tests.search.test_features_refused import refuse
from vidtldr_jax.search import features
from vidtldr_jax.search.arrow_parts import make_table, write_bytes
from vidtldr_jax.search.features import FeatureStore, read_features
from vidtldr_jax.search.features_check import verify_features
from vidtldr_jax.search.part_files import PartFile
from vidtldr_jax.trust.digests import hash_bytes, hash_json

ROOT = Path(__file__).parents[2]


def run_alone(program, *args):
    """Runs a program in a process of its own, so that a signal is seen; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *map(str, args)],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


FLIP = """
import collections, json, sys
from pathlib import Path
from vidtldr_jax.search.features import FeaturesError, read_features
path, step = Path(sys.argv[1]), int(sys.argv[2])
whole, found = path.read_bytes(), collections.Counter()
for bit in range(0, 8 * len(whole), step):
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    try:
        store = read_features(path.parent)
        store.read_embeddings(), [store.read_tokens(key) for key in store.keys]
        found["read"] += 1
    except FeaturesError as error:
        found["told" if chr(10) not in str(error) and str(path) in str(error) else str(error)] += 1
    except Exception as error:
        found[repr(error)] += 1
path.write_bytes(whole)
print(json.dumps(found))
"""


@pytest.mark.parametrize("name", ["part-000000*.arrow", "description.json"])
def test_every_flipped_bit_is_told(tmp_path, name):
    write(tmp_path, make_features(0, 1), make_features(2))
    (path,) = tmp_path.glob(name)
    found = json.loads(
        run_alone(FLIP, path, 7)
    )  # three and eight have no common factor: every bit of a byte has its turn
    assert list(found) == ["told"]
    assert found["told"] > 8 * path.stat().st_size / 7 - 1


def make_old(folder, *steps):
    """Writes features as a version without digests did."""
    folder.mkdir(exist_ok=True)
    head = {"kind": "vidtldr-jax features", "format": 1, "run": RUN, "about": {"checkpoint": "models/a"}}
    (folder / "description.json").write_text(json.dumps(head, indent=2))
    for number, step in enumerate(steps):
        (folder / f"part-{number:06d}.arrow").write_bytes(write_bytes(make_table(step)))


def test_a_flipped_bit_where_there_is_no_digest_is_told_or_read_and_never_ends_the_process(tmp_path):
    make_old(tmp_path, make_features(0, 1))
    found = json.loads(run_alone(FLIP, tmp_path / "part-000000.arrow", 9))
    assert set(found) == {"told", "read"}
    assert found["told"] > 200


CUT = """
import os, sys
from vidtldr_jax.search import features
features._SMALL_BYTES = int(sys.argv[2])
store = features.read_features(sys.argv[1])
for name in os.listdir(sys.argv[1]):
    if name.startswith("part-"):
        os.truncate(os.path.join(sys.argv[1], name), int(sys.argv[3]))
for read in (store.read_embeddings, lambda: store.read_tokens(store.keys[-1])):
    try:
        print(read().shape)
    except features.FeaturesError as error:
        print(error)
"""


@pytest.mark.parametrize("small_bytes", [0, 4 * 2**20])
@pytest.mark.parametrize("size", [0, 100, 8192])
def test_a_part_that_is_cut_while_it_is_open_is_told(tmp_path, small_bytes, size):
    write(tmp_path, make_features(*range(40), shape=(30, 40)))
    lines = run_alone(CUT, tmp_path, small_bytes, size).splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "has changed since it was opened; start again" in line


@pytest.mark.parametrize("small_bytes", [0, 4 * 2**20])
def test_a_part_that_is_written_over_while_it_is_open_is_told(tmp_path, monkeypatch, small_bytes):
    monkeypatch.setattr(features, "_SMALL_BYTES", small_bytes)
    write(tmp_path, make_features(0))
    store = read_features(tmp_path)
    path = find_part(tmp_path, 0)
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # clocks of files are coarse
    refuse("has changed since it was opened; start again", store.read_tokens, "0.mp4")


def test_a_large_part_that_a_writer_removed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_SMALL_BYTES", 0)
    write(tmp_path, make_features(0))
    store = read_features(tmp_path)
    find_part(tmp_path, 0).unlink()
    refuse("has changed since it was opened; start again", store.read_tokens, "0.mp4")


def test_parts_that_changed_places_and_grown_parts_are_told(tmp_path):
    write(tmp_path, make_features(0), make_features(1))
    first, second = find_part(tmp_path, 0), find_part(tmp_path, 1)
    whole = first.read_bytes()
    shutil.copy(second, first)
    refuse(r"part-000000-\w+.arrow is damaged \(its SHA-256 begins with", read_features, tmp_path)
    for data in (whole + b"\0", whole + whole, whole + b"ARROW1", b"\0" * 10**6):
        first.write_bytes(data)
        refuse(r"part-000000-\w+.arrow is damaged \(.+\); take it away", read_features, tmp_path)
    first.unlink()
    os.mkfifo(first)
    refuse("a regular file is needed; .* is a FIFO", read_features, tmp_path)
    first.rmdir() if first.is_dir() else first.unlink()
    first.mkdir()
    refuse("a regular file is needed; .* is a folder", read_features, tmp_path)


def save(folder, table, *, batch_size=None):
    """Writes a part whose digest is right, whatever is in it."""
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, batch_size)
    data = sink.getvalue().to_pybytes()
    (folder / f"part-000007-{hash_bytes(data)}.arrow").write_bytes(data)


def test_a_stream_that_ends_before_its_rows_is_damage_where_no_digest_tells_it(tmp_path):
    write(tmp_path, make_features(0))
    path = find_part(tmp_path, 0)
    data = bytearray(path.read_bytes())
    behind_schema = 16 + int.from_bytes(data[12:16], "little")
    data[behind_schema : behind_schema + 8] = b"\xff" * 4 + bytes(4)
    path.unlink()
    (tmp_path / "part-000000.arrow").write_bytes(data)
    refuse(r"part-000000.arrow is damaged \(it ends before its rows\)", read_features, tmp_path)


def replace(name, values):
    def change(table):
        place = table.schema.get_field_index(name)
        return table.set_column(place, name, values)

    return change


def describe(**changes):
    def change(table):
        metadata = {key.decode(): text.decode() for key, text in table.schema.metadata.items()} | changes
        return table.replace_schema_metadata({key: text for key, text in metadata.items() if text is not None})

    return change


def make_lists(values, width, kind=None):
    return arrow.FixedSizeListArray.from_arrays(arrow.array(values, kind), width)


FLOATS = [0.0] * 12
NOT_TEXT = arrow.array([b"\xff\xfe", b"b"], arrow.binary()).view(arrow.string())
FAULTS = {
    "a key is missing": (replace("key", arrow.array(["a", None])), "column key has 2 of 2 rows, 1 of them empty"),
    "a name is missing": (replace("name", arrow.array([None, "b"])), "column name has 2 of 2 rows, 1"),
    "keys are numbers": (replace("key", arrow.array([1, 2])), "column key is int64"),
    "keys are large": (replace("key", arrow.array(["a", "b"], arrow.large_string())), "column key is large_string"),
    "a key is not text": (replace("key", NOT_TEXT), "can't decode byte 0xff"),
    "lists of any length": (replace("embedding", arrow.array([[0.0], [0.0, 1.0]])), "column embedding is list"),
    "double precision": (replace("embedding", make_lists(FLOATS, 6)), "column embedding is .*<item: double"),
    "an empty value": (replace("embedding", make_lists([None, *FLOATS[1:]], 6, arrow.float32())), "1 of them empty"),
    "not a number": (replace("embedding", make_lists([np.nan, *FLOATS[1:]], 6, arrow.float32())), "row 0 is not"),
    "infinite": (replace("embedding", make_lists([*FLOATS[1:], np.inf], 6, arrow.float32())), "row 1 is not finite"),
    "another shape": (describe(tokens_shape="[4, 4]"), r"their shape is \[4, 4\]"),
    "a shape of text": (describe(tokens_shape='["3", 4]'), "Expected `int`, got `str`"),
    "a negative shape": (describe(tokens_shape="[-3, -4]"), r"of shape \[-3, -4\]"),
    "no shape": (describe(tokens_shape=None), "its columns are key, name, embedding, tokens"),
    "an unknown dtype": (describe(tokens_dtype="object"), "its tokens are object"),
    "a dtype of other bits": (describe(tokens_dtype="float32"), "column tokens is fixed_size_list<item: uint16"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_part_that_is_not_ours_is_told_even_if_its_digest_is_right(tmp_path, case):
    change, message = FAULTS[case]
    write(tmp_path)
    save(tmp_path, change(make_table(make_features(0, 1))))
    refuse(rf"part-000007-\w+.arrow is damaged \(.*{message}", read_features, tmp_path)
    assert len(verify_features(tmp_path).faults) == 1


def test_a_part_of_several_batches_or_none_is_told(tmp_path):
    write(tmp_path / "a")
    save(tmp_path / "a", make_table(make_features(0, 1)), batch_size=1)
    refuse("it has 2 batches of rows, not one", read_features, tmp_path / "a")
    write(tmp_path / "b")
    save(tmp_path / "b", make_table(make_features(0)).slice(0, 0))
    refuse(r"it has 0 batches of rows|it has no rows", read_features, tmp_path / "b")


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
def test_a_compressed_part_is_told_before_it_asks_for_memory(tmp_path, kind):
    write(tmp_path)
    table = make_table([make_feature(0, shape=(100, 100))])
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_file(sink, table.schema, options=arrow.ipc.IpcWriteOptions(compression=kind)) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    (tmp_path / f"part-000007-{hash_bytes(data)}.arrow").write_bytes(data)
    refuse(r"is damaged \(it is compressed\)", read_features, tmp_path)


def test_parts_of_two_kinds_are_told(tmp_path):
    write(tmp_path, make_features(0))
    save(tmp_path, make_table([make_feature(1, dtype=None)]))
    refuse("all features of .* have one shape and kind; part-000007-", read_features, tmp_path)
    assert verify_features(tmp_path).faults[0].startswith("all parts have one shape and kind; ")


@pytest.mark.parametrize("dtype", [None, np.float32])
def test_a_part_of_another_run_is_told_whatever_its_shape(tmp_path, dtype):
    for name, run in (("a", RUN), ("b", {**RUN, "checkpoint": "def"})):
        with FeatureStore(tmp_path / name, run) as store:
            store.append([make_feature(0 if name == "a" else 1, dtype=dtype)])
    strange = Path(shutil.copy(find_part(tmp_path / "b", 0), tmp_path / "a"))
    refuse(rf"are of one run; {strange.name} is of another; move it away", read_features, tmp_path / "a")
    refuse(rf"are of one run; {strange.name} is of another; move it away", FeatureStore, tmp_path / "a", RUN)
    assert verify_features(tmp_path / "a").faults == (
        f"the parts of an index are of one run; {strange} is of another; move it away",
    )
    strange.unlink()
    check(read_features(tmp_path / "a"), [make_feature(0, dtype=dtype)])


def test_parts_that_are_merged_or_written_anew_stay_of_their_run(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_MOST_SMALL", 2)
    make_old(tmp_path, make_features(0, 1))
    write(tmp_path, make_features(2), make_features(3))
    with FeatureStore(tmp_path, RUN) as store:
        store.remove(["2.mp4"])
        check(store, make_features(0, 1, 3))
    runs = {PartFile(path).contents.run for path in tmp_path.glob("part-*")}
    assert runs == {hash_json(RUN)}


def test_a_part_larger_than_a_limit_is_told(tmp_path, monkeypatch):
    write(tmp_path, make_features(0))
    monkeypatch.setenv("VIDTLDR_MAX_PART_BYTES", "1000")
    with pytest.raises(ValueError, match=r"may have at most 1,000 .* set VIDTLDR_MAX_PART_BYTES to allow more"):
        read_features(tmp_path)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_an_embedding_that_is_not_finite_is_not_added(tmp_path, value):
    write(tmp_path, make_features(0))
    broken = make_feature(1)._replace(embedding=np.array([0, value, 0, 0, 0, 0], np.float32))
    with FeatureStore(tmp_path, RUN) as store:
        refuse("an embedding is finite; that of 'clips/1.mp4' is not", store.append, [make_feature(2), broken])
    check(read_features(tmp_path), make_features(0))


def test_features_of_an_older_version_are_read_with_a_note_and_get_digests_as_they_are_written(tmp_path, caplog):
    make_old(tmp_path, make_features(0, 1), make_features(2))
    before = read_folder(tmp_path)
    store = read_features(tmp_path)
    check(store, make_features(0, 1, 2))
    assert store.about == {"checkpoint": "models/a"}
    why = f"{tmp_path}: of an older version, without a digest to check it by: "
    assert store.notes == (f"{why}2 of 2 parts and description.json",)
    assert caplog.messages == list(store.notes)
    assert read_folder(tmp_path) == before
    write(tmp_path, make_features(3))
    store = read_features(tmp_path)
    check(store, make_features(0, 1, 2, 3))
    assert store.about == {"checkpoint": "models/a"}
    assert store.notes == (f"{why}2 of 3 parts",)
    with FeatureStore(tmp_path, RUN) as store:
        store.remove(["0.mp4", "2.mp4"])
        check(store, make_features(1, 3))
    store = read_features(tmp_path)
    check(store, make_features(1, 3))
    assert store.notes == ()


def test_the_comparison_with_digests_can_be_left_out(tmp_path, monkeypatch):
    write(tmp_path, make_features(0))
    path = find_part(tmp_path, 0)
    data = path.read_bytes()
    value = make_feature(0).embedding.tobytes()
    path.write_bytes(data.replace(value, value[:-1] + b"\x40"))
    refuse("is damaged", read_features, tmp_path)
    monkeypatch.setenv("VIDTLDR_CHECK_DIGESTS", "0")
    store = read_features(tmp_path)
    assert store.read_embeddings()[0, :-1].tobytes() == value[:-4]
    assert store.read_tokens("0.mp4").tobytes() == make_feature(0).tokens.tobytes()
    assert len(verify_features(tmp_path).faults) == 1  # who asks for a check gets it
    path.write_bytes(b"")
    refuse("is damaged", read_features, tmp_path)


def test_a_check_names_every_fault_and_counts_what_is_sound(tmp_path):
    write(tmp_path, *(make_features(number) for number in range(4)))
    found = verify_features(tmp_path)
    assert (found.kind, found.num_checked, found.notes, found.faults) == ("index", 5, (), ())
    assert found.is_sound
    for number, damage in ((1, b"ARROW1"), (3, find_part(tmp_path, 2).read_bytes())):
        find_part(tmp_path, number).write_bytes(damage)
    (tmp_path / "part-1.arrow").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("mine")
    found = verify_features(tmp_path)
    assert found.num_checked == 3
    assert found.notes == (f"{tmp_path / 'notes.txt'} is no part of an index",)
    assert [fault.split(" is ")[0] for fault in found.faults] == [
        str(find_part(tmp_path, 1)), str(find_part(tmp_path, 3)),
        "a part", ]  # fmt: skip
    (tmp_path / "description.json").write_text("{}")
    assert "description.json is damaged or not the description" in verify_features(tmp_path).faults[0]
    for place in (tmp_path / "nowhere", tmp_path / "notes.txt"):
        assert len(verify_features(place).faults) == 1
    make_old(tmp_path / "old", make_features(0))
    found = verify_features(tmp_path / "old")
    assert (found.num_checked, found.faults, len(found.notes)) == (0, (), 2)
