"""A checkpoint with thousands of faults gives one message that a person can read, and little work."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import FAMILIES, ConversionError, convert_checkpoint, open_source
from checkpoints_convert.check import plan_assignments
from checkpoints_convert.rules import RuleFinder, assign_key, is_left_out, strip_prefix

Find = Callable[[str], Path]
SETTINGS: dict[str, Any] = {"heads": 4, "image_size": 32}


def save_with_faults(find_golden: Find, folder: Path, extra: dict[str, np.ndarray]) -> Path:
    source = open_source(find_golden("cls_umt.pth"))
    arrays = {key: np.asarray(tensor.read()) for key, tensor in source.tensors.items()}
    safetensors.numpy.save_file(arrays | extra, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def make_extra(count: int, length: int = 0) -> dict[str, np.ndarray]:
    one = np.zeros(1, np.float32)
    return {f"x{'y' * length}.{number}.weight": one for number in range(count)}


def test_the_message_names_the_first_faults_and_counts_the_others(find_golden: Find, tmp_path: Path, monkeypatch):
    # Fewer than half of the keys are strange, so that the family is told.
    source = save_with_faults(find_golden, tmp_path, make_extra(40, length=3000))
    with pytest.raises(ConversionError, match=r"; \.\.\. and 20 more; get the original file") as caught:
        convert_checkpoint(source, tmp_path / "model", settings=SETTINGS)
    assert len(str(caught.value)) < 10_000
    assert len(caught.value.faults) == 40
    monkeypatch.setenv("VIDTLDR_MAX_FAULTS", "35")
    with pytest.raises(ConversionError, match=r"\.\.\. and 5 more"):
        convert_checkpoint(source, tmp_path / "model", settings=SETTINGS)


def test_thousands_of_strange_keys_are_counted(find_golden: Find, tmp_path: Path, monkeypatch):
    source = save_with_faults(find_golden, tmp_path, make_extra(3000))
    calls = []
    nearest = difflib.get_close_matches
    monkeypatch.setattr(difflib, "get_close_matches", lambda *args, **options: calls.append(args) or nearest(*args))
    with pytest.raises(ConversionError, match=r"and 2,980 more") as caught:
        convert_checkpoint(source, tmp_path / "model", settings=SETTINGS, family="single_modality")
    assert len(str(caught.value)) < 3000
    assert 0 < len(calls) <= 10, "the nearest name is looked for a few times, not for every key"


def test_names_of_any_length_stay_out_of_messages(find_golden: Find, tmp_path: Path):
    source = save_with_faults(find_golden, tmp_path, make_extra(100, length=20_000))
    with pytest.raises(ConversionError, match="the family is told by the keys") as caught:
        convert_checkpoint(source, tmp_path / "model", settings=SETTINGS)
    assert len(str(caught.value)) < 3000
    assert len(str(ConversionError("x" * 10**6))) <= 8000


@pytest.mark.parametrize("name", FAMILIES)
def test_rules_found_by_their_skeleton_are_those_found_one_by_one(name: str):
    family = FAMILIES[name]
    finder = RuleFinder(family.rules, family.prefixes)
    keys = [rule.source.replace("{i}", number) for rule in family.rules for number in ("0", "11", "01", "x", "99999")]
    keys += [prefix + key for prefix in family.prefixes for key in keys] + [f"{key}0" for key in keys]
    found = [finder.find(key) for key in keys]
    assert found == [assign_key(key, family.rules, family.prefixes) for key in keys]
    assert sum(one is not None for one in found) >= 2 * len(
        {rule.source for rule in family.rules if "{i}" in rule.source}
    )
    others = [pattern.replace("*", "a.b").replace("{i}", "3") for pattern in family.leave_out]
    _, left_out, unknown = plan_assignments(
        [*others, "strange"], family.rules, prefixes=family.prefixes, leave_out=family.leave_out
    )
    assert (left_out, unknown) == (others, ["strange"])
    assert not is_left_out("a", ())
    assert strip_prefix("a.b", ("a.",)) == "b"
