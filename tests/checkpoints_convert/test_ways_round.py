"""What may be missing or left out, and in which dtype weights are stored, is said by the caller and recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from checkpoints_convert import ConversionError, convert_checkpoint
from tests.reference.files import require_torch
from vidtldr_jax.inference.checkpoint import read_checkpoint

torch = require_torch()

Find = Callable[[str], Path]
SETTINGS = {"heads": 4, "image_size": 32}


def save(tmp_path: Path, find_golden: Find, *, drop: tuple[str, ...] = (), add: tuple[str, ...] = ()) -> Path:
    state = torch.load(find_golden("cls_umt.pth"), weights_only=True)["module"]
    kept = {key: value for key, value in state.items() if key not in drop}
    torch.save({**kept, **{key: torch.ones(3) for key in add}}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("pattern", ["head.*", "head/*", "head.weight"])
def test_a_missing_key_is_let_through_by_its_key_or_its_parameter(find_golden: Find, tmp_path: Path, pattern: str):
    source = save(tmp_path, find_golden, drop=("head.weight",))
    with pytest.raises(ConversionError, match=r"nothing fills head/kernel; it comes from head\.weight"):
        convert_checkpoint(source, tmp_path / "model", settings=SETTINGS)
    report = convert_checkpoint(source, tmp_path / "model", settings=SETTINGS, allow_missing=[pattern])
    stored = read_checkpoint(tmp_path / "model")
    assert report.fresh == ("head/kernel",)
    assert stored.source["missing"] == ["head/kernel"]
    assert 0 < np.std(stored.params["head/kernel"]) < 1, "a missing kernel gets initial values"


def test_initial_values_are_the_same_every_time(find_golden: Find, tmp_path: Path):
    source = save(tmp_path, find_golden, drop=("head.weight",))
    for name in ("a", "b"):
        convert_checkpoint(source, tmp_path / name, settings=SETTINGS, allow_missing=["head.weight"])
    first, second = (read_checkpoint(tmp_path / name).params["head/kernel"] for name in ("a", "b"))
    np.testing.assert_array_equal(first, second)


def test_an_unknown_key_is_left_out_when_named_and_recorded(find_golden: Find, tmp_path: Path):
    source = save(tmp_path, find_golden, add=("ema.decay", "ema.count"))
    with pytest.raises(ConversionError, match=r"unknown key ema\.decay"):
        convert_checkpoint(source, tmp_path / "model", settings=SETTINGS)
    report = convert_checkpoint(source, tmp_path / "model", settings=SETTINGS, ignore=["ema.*"])
    assert report.ignored == ("ema.decay", "ema.count")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["source"]["ignored"] == list(report.ignored)


def test_a_key_that_is_ignored_and_needed_is_missing(find_golden: Find, tmp_path: Path):
    with pytest.raises(ConversionError, match="nothing fills head/bias"):
        convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "m", settings=SETTINGS, ignore=["head.bias"])


def test_a_pattern_that_fits_nothing_is_an_error_that_names_it(find_golden: Find, tmp_path: Path):
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(
            find_golden("cls_umt.pth"), tmp_path / "m", settings=SETTINGS, ignore=["emma.*"], allow_missing=["haed.*"]
        )
    assert "--ignore emma.* fits no key" in str(caught.value)
    assert "--allow-missing haed.* fits no parameter" in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_are_stored_in_the_dtype_asked_for(find_golden: Find, tmp_path: Path, dtype: str):
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "exact", settings=SETTINGS)
    convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS, dtype=dtype)
    exact, stored = (read_checkpoint(tmp_path / name).params for name in ("exact", "model"))
    assert {str(values.dtype) for values in stored.values()} == {dtype}
    for path, values in exact.items():
        np.testing.assert_array_equal(stored[path], values.astype(jnp.dtype(dtype)), err_msg=path)


def test_a_number_too_large_for_float16_is_an_error_that_writes_nothing(find_golden: Find, tmp_path: Path):
    state = torch.load(find_golden("cls_umt.pth"), weights_only=True)["module"]
    state["head.bias"][0] = 1e6
    torch.save(state, tmp_path / "weights.pth")
    message = r"float16 holds numbers up to 65504; 'head\.bias' of .*weights\.pth has 1e\+06"
    with pytest.raises(ConversionError, match=message):
        convert_checkpoint(tmp_path / "weights.pth", tmp_path / "model", settings=SETTINGS, dtype="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]


def test_an_unknown_dtype_is_refused(find_golden: Find, tmp_path: Path):
    with pytest.raises(ConversionError, match="dtypes are float32, bfloat16, float16; got 'int8'"):
        convert_checkpoint(find_golden("cls_umt.pth"), tmp_path / "model", settings=SETTINGS, dtype="int8")


def test_progress_ends_at_all_bytes(find_golden: Find, tmp_path: Path):
    steps: list[tuple[int, int]] = []
    report = convert_checkpoint(
        find_golden("cls_umt.pth"),
        tmp_path / "model",
        settings=SETTINGS,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == sorted(steps)
    assert steps[-1] == (4 * report.num_parameters, 4 * report.num_parameters)
