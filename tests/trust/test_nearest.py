"""Names that were probably meant, from one place, in a time that does not grow with what is compared."""

import difflib
from pathlib import Path

from vidtldr_jax.trust.nearest import add_suggestion, find_nearest, find_nearest_name, suggest

FOLDERS = ("vidtldr_jax", "checkpoints_convert", "configs", "scripts", "benchmarks")


def test_names_are_compared_for_the_first_few_only(monkeypatch):
    calls = []
    compare = difflib.get_close_matches
    monkeypatch.setattr(
        difflib, "get_close_matches", lambda *args, **kwargs: calls.append(args) or compare(*args, **kwargs)
    )
    assert find_nearest(["kernal", "zzz"], ["kernel", "bias"]) == {"kernal": "kernel"}
    assert find_nearest(["kernal"], [f"kernel{number}" for number in range(10**4)]) == {}
    assert find_nearest(["a" * 10**6], ["kernel"]) == {}
    calls.clear()
    find_nearest([f"kernal{number}" for number in range(1000)], ["kernel"])
    assert len(calls) == 5


def test_one_name_is_found_or_none():
    assert find_nearest_name("kernal", ["kernel", "bias"]) == "kernel"
    assert find_nearest_name("kernal", ["bias"]) is None
    assert find_nearest_name("kernal", ["kernel"], cutoff=0.95) is None
    assert find_nearest_name("k" * 300, ["k" * 301]) is None


def test_a_suggestion_is_a_question():
    assert suggest("kernal", ["kernel"], otherwise="take one.") == "did you mean 'kernel'?"
    assert suggest(3, ["kernel"], otherwise="take one.") == "take one."
    assert add_suggestion("no field", "kernal", ["kernel"]) == "no field (did you mean 'kernel'?)"
    assert add_suggestion("no field", "zzz", ["kernel"]) == "no field"


def test_names_are_compared_in_one_place():
    root = Path(__file__).parents[2]
    files = [path for folder in FOLDERS for path in (root / folder).rglob("*.py")]
    assert len(files) > 200
    assert [path.name for path in files if "difflib" in path.read_text()] == ["nearest.py"]
