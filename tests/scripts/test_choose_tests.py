"""The fast check runs tests that are near to what has changed, and few of them."""

import subprocess
from pathlib import Path

import pytest

from scripts import choose_tests
from scripts.choose_tests import find_tests, list_changed

ROOT = Path(__file__).resolve().parent.parent.parent


def list_found(name, root=ROOT):
    return [str(path) for path in find_tests(Path(name), root)]


def test_the_tests_of_a_module_are_those_named_after_it_then_those_that_import_it(tmp_path):
    sources = {
        "ops/test_merging.py": "",
        "ops/test_merging_again.py": "",
        "ops/test_other.py": "from vidtldr_jax.ops.merging import merge_tokens",
        "ops/test_room.py": "from vidtldr_jax.ops import matching, merging",
        "ops/test_near.py": "from vidtldr_jax.ops.merging_rules import f",
        "models/test_block.py": "from vidtldr_jax.ops.merging import merge_tokens",
    }
    for name, source in sources.items():
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    places = ["test_merging.py", "test_merging_again.py", "test_other.py", "test_room.py"]
    assert list_found("vidtldr_jax/ops/merging.py", tmp_path) == [f"tests/ops/{place}" for place in places]


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("tests/ops/test_merging.py", ["tests/ops/test_merging.py"]),
        ("vidtldr_jax/ops/merging.py", ["tests/ops/test_merging.py"]),
        ("benchmarks/fidelity_run.py", ["tests/benchmarks/test_fidelity.py"]),
        ("scripts/choose_tests.py", ["tests/scripts/test_choose_tests.py"]),
        ("tests/scripts/fuzz_traps.py", ["tests/scripts/test_fuzz.py"]),
        ("README.md", []),
    ],
)
def test_files_of_this_repository_have_their_tests(changed, tests):
    assert list_found(changed)[:1] == tests


def test_each_changed_file_has_its_turn_and_few_are_run(monkeypatch):
    found = {"a": ["a1", "a2"], "b": ["b1"], "c": ["c1", "c2", "c3"]}
    monkeypatch.setattr(choose_tests, "find_tests", lambda path, root: [Path(one) for one in found[str(path)]])
    tests, rest = choose_tests.choose_tests(map(Path, "cab"))
    assert [str(path) for path in tests] == ["b1", "a1", "c1", "a2"]
    assert [str(path) for path in rest] == ["c2", "c3"]


def test_contract_tests_are_not_named_again():
    assert choose_tests.choose_tests([Path("tests/contracts/test_style.py")]) == ([], [])


def test_what_differs_from_main_is_listed_committed_or_not(tmp_path, monkeypatch):
    def git(*words):
        who = ("-c", "user.name=one", "-c", "user.email=one@example.com")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(choose_tests, "ROOT", tmp_path)
    for name in ("kept.py", "edited.py", "gone.py"):
        (tmp_path / name).write_text(name)
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert list_changed() == []
    git("checkout", "-q", "-b", "work")
    (tmp_path / "committed.py").touch()
    git("add", ".")
    git("commit", "-q", "-m", "second")
    (tmp_path / "edited.py").write_text("other")
    (tmp_path / "gone.py").unlink()
    (tmp_path / "new.py").touch()
    assert [str(path) for path in list_changed()] == ["committed.py", "edited.py", "new.py"]
