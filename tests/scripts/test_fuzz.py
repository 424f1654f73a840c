"""The fuzz test itself: it notices every kind of fault, and its inputs are the same each time."""

import io
import json
import random
import zipfile
from pathlib import Path

import pytest

from scripts.fuzz.campaign import make_input, run_class
from scripts.fuzz.classes import load_classes
from scripts.fuzz.kills import look
from scripts.fuzz.mutations import MUTATIONS, mutate, mutate_zip
from scripts.fuzz.writers import Writer
from tests.scripts import fuzz_traps
from vidtldr_jax.data.annotations import Question
from vidtldr_jax.trust.verification import Verification


def make_zip(*names):
    """Returns a zip of stored files, whose content is their name 20 times."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), name * 20)
    return made.getvalue()


JSON = json.dumps({"a": [1, 2.5, "x"], "b": {"c": None}}).encode()
SOUND_TABLE = {"pieces": [[64, 0.25]]}
SOUND = {
    "bytes": bytes(range(200)),
    "json": JSON,
    "lines": b'{"a": 1}\npath,label\n' + JSON + b"\n",
    "safetensors": len(JSON).to_bytes(8, "little") + JSON + bytes(64),
    "boxes": b"\0\0\0\x18moov\0\0\0\x10trak12345678" + b"\0\0\0\x0cmdat1234",
    "riff": b"RIFF\x1c\0\0\0AVI " + b"avih\x04\0\0\x001234" + b"idx1\x04\0\0\x005678",
    "zip": make_zip("a/data.pkl", "a/data/0"),
    "png": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x04IHDR1234abcd" + b"\0\0\0\0IENDabcd",
}


@pytest.mark.parametrize("structure", MUTATIONS)
def test_damage_is_repeatable_and_of_many_kinds(structure):
    made = [mutate(random.Random(seed), SOUND[structure], structure) for seed in range(200)]
    assert made == [mutate(random.Random(seed), SOUND[structure], structure) for seed in range(200)]
    assert len(set(made)) > 100
    assert sum(data != SOUND[structure] for data in made) > 160
    assert all(isinstance(mutate(random.Random(0), data, structure), bytes) for data in (b"", b"x", b"[1"))


@pytest.mark.parametrize(
    ("name", "outcome", "detail"),
    [
        ("refuses", "refused", ""),
        ("wrong", "wrong", ""),
        ("undocumented", "undocumented", "KeyError"),
        ("two lines", "undocumented", "not one line"),
        ("no name", "undocumented", "names no file"),
        ("signal", "signal", "SIGSEGV"),
        ("exit", "signal", "exit code 3"),
        ("hang", "hang", "over 1 s"),
        ("memory", "memory", "MiB"),
    ],
)
def test_every_kind_of_fault_is_noticed(tmp_path, name, outcome, detail):
    chosen = fuzz_traps.load_classes()[name]
    # The hang is what is waited for; all else ends long before.
    seconds = 1 if name == "hang" else 60
    report = run_class(chosen, count=2, seed=4, keep=tmp_path, most_seconds=seconds, home="tests.scripts.fuzz_traps")
    assert report.counts == {outcome: 2}
    assert report.num_right == (2 if outcome == "refused" else 0)
    assert [failure.outcome for failure in report.failures] == [outcome] * (2 - report.num_right)
    assert all(detail in failure.detail for failure in report.failures)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == ({f"{name}-0", f"{name}-1"} if report.failures else set())


@pytest.mark.once
@pytest.mark.parametrize("name", load_classes())
def test_every_class_reads_its_sound_example_and_answers_for_damaged_ones(tmp_path, name):
    chosen = load_classes()[name]
    template = tmp_path / "template"
    template.mkdir()
    chosen.make(template)
    files = chosen.find_files(template)
    assert files, "nothing to damage"
    assert chosen.is_right(chosen.read(template), chosen.read(template))
    report = run_class(chosen, count=4, seed=1)
    assert not report.failures, report.failures


@pytest.mark.once
@pytest.mark.parametrize(("name", "number"), [("index", 9), ("checkpoint folder", 5)])
def test_other_content_is_noticed_where_digests_are_not_compared(monkeypatch, name, number):
    monkeypatch.setenv("VIDTLDR_CHECK_DIGESTS", "0")
    report = run_class(load_classes()[name], count=1, first=number, seed=5)
    assert report.counts == {"wrong": 1}


def test_a_damaged_member_of_a_zip_has_the_right_checksum():
    names = []
    for seed in range(50):
        with zipfile.ZipFile(io.BytesIO(mutate_zip(random.Random(seed), SOUND["zip"]))) as archive:
            assert archive.testzip() is None
            names += [name for name in archive.namelist() if archive.read(name) != name.encode() * 20]
    assert 10 < names.count("a/data.pkl") < 50
    assert names.count("a/data/0") > 3


@pytest.mark.parametrize("answer", [None, SOUND_TABLE, {}, {"pieces": []}])
def test_another_table_of_times_is_not_right(answer):
    chosen = load_classes()["table of times"]
    assert chosen.is_right(answer, SOUND_TABLE) == (answer in (None, SOUND_TABLE))


def test_rows_of_another_type_are_not_right():
    is_right = load_classes()["questions.json"].is_right
    rows = [Question("0", "0.mp4", "what is it", "dog")]
    assert is_right(rows, rows)
    assert is_right([], rows)
    assert not is_right([Question("0", "0.mp4", "what is it", 3)], rows)
    assert not is_right([*rows, None], rows)


@pytest.mark.parametrize(("fault", "is_right"), [("a/config.json is damaged", True), ("something is damaged", False)])
def test_a_check_must_name_the_damaged_file(fault, is_right):
    chosen = load_classes()["check of a checkpoint"]
    found = Verification("checkpoint", 2, (), (fault,))
    sound = ({"model/config.json": 1}, {"model/config.json": "0"})
    assert chosen.is_right((found, *sound), (None, {"model/config.json": 2}, {"model/config.json": "1"})) == is_right


def test_what_a_kill_damaged_or_lost_is_noticed(tmp_path):
    def refuse(place):
        raise ValueError(f"{place.name} is torn")

    faults = []
    kept = Writer("embed", lambda inputs, out: [], lambda place: {"1.mp4", "2.mp4"}, is_replacing=False)
    assert look(kept, tmp_path / "index", {"1.mp4"}, faults) == {"1.mp4", "2.mp4"}
    assert faults == []
    assert look(kept, tmp_path / "index", {"0.mp4", "1.mp4"}, faults) == {"1.mp4", "2.mp4"}
    assert look(kept._replace(check=refuse), tmp_path / "index", {"1.mp4"}, faults) == {"1.mp4"}
    assert faults == ["0.mp4 was lost", "damaged after a kill: ValueError: index is torn"]


def test_an_input_depends_on_its_number_alone(tmp_path):
    chosen = load_classes()["manifest.csv"]
    template = tmp_path / "template"
    template.mkdir()
    chosen.make(template)
    texts = [
        Path(make_input(chosen, template, tmp_path / f"{turn}", seed=0, number=5) / "manifest.csv").read_bytes()
        for turn in range(2)
    ]
    assert texts[0] == texts[1]
