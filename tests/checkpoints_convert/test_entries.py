"""Of several states of weights in a file one is taken, said and recorded, and the others can be had by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import ConversionError, convert_checkpoint, open_source
from tests.reference.files import require_module
from vidtldr_jax.cli.convert import describe_entries
from vidtldr_jax.inference.checkpoint import read_checkpoint

torch = require_module("torch")

Find = Callable[[str], Path]
ONE, TWO = {"a.weight": torch.ones(2)}, {"a.weight": torch.full((2,), 2.0)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}, "a.weight": {"exp_avg": torch.ones(2)}}, "param_groups": []}


def save(folder: Path, saved: Any) -> Path:
    torch.save(saved, folder / "weights.pth")
    return folder / "weights.pth"


FILES: dict[str, tuple[dict[str, Any], str, str]] = {
    "model and its average": ({"model_ema": TWO, "model": ONE}, "model", "model_ema"),
    "Lightning's names": ({"state_dict": ONE, "state_dict_ema": TWO}, "state_dict", "state_dict_ema"),
    "a name of their own": ({"teacher": TWO, "model": ONE}, "model", "teacher"),
    "module and ema": ({"ema": TWO, "module": ONE}, "module", "ema"),
    "an average in a wrapper": ({"model": ONE, "ema": {"module": TWO, "decay": 0.9}}, "model", "ema.module"),
    "nested": ({"model": {"state_dict": ONE}, "ema": {"shadow": TWO}}, "model.state_dict", "ema.shadow"),
    "two models in one state": (
        {"state_dict": {"model.a.weight": ONE["a.weight"], "model_ema.a.weight": TWO["a.weight"]}},
        "state_dict.model", "state_dict.model_ema",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_usual_state_is_taken_and_the_other_is_offered(tmp_path: Path, name: str):
    saved, entry, other = FILES[name]
    path = save(tmp_path, {**saved, "optimizer": OPTIMIZER, "epoch": 3})
    source = open_source(path)
    assert (source.entry, source.other_entries) == (entry, (other,))
    np.testing.assert_array_equal(source.tensors["a.weight"].read(), [1, 1])
    for wanted in (other, other.removesuffix(".module").removesuffix(".shadow")):
        source = open_source(path, weights=wanted)
        assert (source.entry, source.other_entries) == (other, (entry,))
        np.testing.assert_array_equal(source.tensors["a.weight"].read(), [2, 2])


def test_a_state_of_an_unusual_name_is_taken_where_it_is_the_only_one(tmp_path: Path):
    source = open_source(save(tmp_path, {"student": ONE, "optimizer": OPTIMIZER}))
    assert (source.entry, source.other_entries) == ("student", ())


def test_states_of_unusual_names_are_a_question(tmp_path: Path):
    path = save(tmp_path, {"student": ONE, "teacher": TWO})
    with pytest.raises(
        ConversionError, match=r"has student, teacher, and none of them is the usual one; say .* --weights"
    ):
        open_source(path)
    assert open_source(path, weights="teacher").entry == "teacher"
    with pytest.raises(ConversionError, match="has student, teacher, and got 'ema'"):
        open_source(path, weights="ema")


def test_part_of_the_names_can_be_asked_for(tmp_path: Path):
    path = save(tmp_path, {"state_dict": {"model.a.weight": ONE["a.weight"], "loss.b": TWO["a.weight"]}})
    source = open_source(path, weights="model")
    assert (list(source.tensors), source.entry, source.other_entries) == (["a.weight"], "state_dict.model", ("loss",))
    assert list(open_source(path, weights=source.entry).tensors) == ["a.weight"], "what is recorded can be given"


def test_other_formats_say_it_too(tmp_path: Path):
    one, two = (np.full(2, value, np.float32) for value in (1, 2))
    tree = {"params": {"a": one}, "ema_params": {"a": two}, "opt_state": {"0": {"mu": {"a": two}}}, "step": 3}
    (tmp_path / "checkpoint_1").write_bytes(flax.serialization.to_bytes(tree))
    np.savez(tmp_path / "weights.npz", **{"params/a": one, "ema_params/a": two, "input": two})
    safetensors.numpy.save_file({"model.a": one, "model_ema.a": two}, tmp_path / "weights.safetensors")
    for file, entry, other in (
        ("checkpoint_1", "params", "ema_params"),
        ("weights.npz", "params", "ema_params"),
        ("weights.safetensors", "model", "model_ema"),
    ):
        source = open_source(tmp_path / file)
        assert (source.entry, source.other_entries) == (entry, (other,)), file
        np.testing.assert_array_equal(source.tensors["a"].read(), one)
        np.testing.assert_array_equal(open_source(tmp_path / file, weights=other).tensors["a"].read(), two)


def test_hundreds_of_states_are_counted(tmp_path: Path):
    states = {f"step_{number}": ONE for number in range(300)}
    source = open_source(save(tmp_path, {"model": ONE, **states}))
    assert len(source.other_entries) == 300
    assert describe_entries(source.entry, source.other_entries).endswith("and 290 more; take it with --weights step_0")
    with pytest.raises(ConversionError) as caught:
        open_source(save(tmp_path, {"x" * 5000 + name: state for name, state in states.items()}))
    assert len(str(caught.value)) <= 8000


def test_one_dict_in_thousands_of_places_is_looked_at_once(tmp_path: Path):
    inner = {f"i{number}": ONE for number in range(50)}
    middle = {f"m{number}": inner for number in range(50)}
    with pytest.raises(ConversionError, match="up to 1,000 states of weights"):
        open_source(save(tmp_path, {f"o{number}": middle for number in range(50)}))
    empty = {f"a{number}": {f"b{number}": 1 for number in range(1000)} for number in range(1)}
    deep = {f"c{number}": empty for number in range(1000)}
    with pytest.raises(ConversionError, match="among up to 1,000,000 entries"):
        open_source(save(tmp_path, {f"d{number}": deep for number in range(1000)}))
    source = open_source(save(tmp_path, {"model_ema": ONE, "model": ONE}))  # the same dict under two names
    assert (source.entry, source.other_entries) == ("model", ("model_ema",))


def test_what_was_taken_is_recorded(find_golden: Find, tmp_path: Path):
    state = torch.load(find_golden("cls_umt.pth"), weights_only=True)["module"]
    path = save(tmp_path, {"model": state, "model_ema": {key: value + 1 for key, value in state.items()}})
    settings = {"heads": 4, "image_size": 32}
    plain = convert_checkpoint(path, tmp_path / "plain", settings=settings)
    average = convert_checkpoint(path, tmp_path / "average", settings=settings, weights="model_ema")
    assert (plain.entry, plain.other_entries) == ("model", ("model_ema",))
    source = json.loads((tmp_path / "average/config.json").read_text())["source"]
    assert (source["entry"], source["other_entries"], average.entry) == ("model_ema", ["model"], "model_ema")
    bias = [read_checkpoint(tmp_path / name).params["head/bias"] for name in ("plain", "average")]
    np.testing.assert_array_equal(bias[0] + 1, bias[1])


def test_an_empty_usual_state_is_refused_and_another_can_be_named(tmp_path: Path):
    path = save(tmp_path, {"model": {}, "model_ema": TWO})
    with pytest.raises(ConversionError, match=r"'model' of .* no tensors and nothing else; take --weights model_ema"):
        open_source(path)
    assert open_source(path, weights="model_ema").entry == "model_ema"
    with pytest.raises(ConversionError, match=r"'module' of .* has no tensors and 'a' .*; save model"):
        open_source(save(tmp_path, {"module": {"a": 1}, "ema": {}}))
