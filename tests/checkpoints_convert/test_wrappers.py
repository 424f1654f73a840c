"""What wrappers add to names is taken off where a family fits without it, said and recorded; adapters are refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.serialization
import flax.traverse_util
import numpy as np
import pytest

from checkpoints_convert import ConversionError, convert_checkpoint, open_source
from checkpoints_convert.plan import plan_conversion
from checkpoints_convert.wrappers import find_names
from tests.reference.files import require_module
from tests.reference.huggingface import make_clip, make_videomae, rename_as_openai, save_videomae
from vidtldr_jax.inference.checkpoint import read_checkpoint

torch = require_module("torch")

Find = Callable[[str], Path]
SETTINGS = {"heads": 4, "image_size": 32}
CLIP_SETTINGS = {"frames": 3, "encoding": "per_frame", "heads": 4, "gelu": "quick", "mean": "0,0,0", "std": "1,1,1"}
WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "model.", "net.", "base_model.model.")
PREFIXES = (
    *WRAPPERS,
    *(first + second for first, second in itertools.permutations(WRAPPERS, 2)),
    "model._orig_mod.module._fsdp_wrapped_module.",
)


def read_state(find_golden: Find) -> dict[str, torch.Tensor]:
    return torch.load(find_golden("cls_umt.pth"), weights_only=True)["module"]


def save(folder: Path, state: Any) -> Path:
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_that_all_keys_share_is_taken_off_and_recorded(find_golden: Find, tmp_path: Path, prefix: str):
    state = read_state(find_golden)
    source = open_source(save(tmp_path, {"model": {prefix + key: value for key, value in state.items()}}))
    plan = plan_conversion(source, settings=SETTINGS)
    assert (plan.family.name, plan.source.stripped, plan.faults) == ("single_modality", prefix, ())
    assert list(plan.source.tensors) == list(state)


@pytest.mark.parametrize("prefix", ["module/", "model/", "_orig_mod/", "module/_orig_mod/", "model/params/"])
@pytest.mark.parametrize("kind", ["msgpack", "npz"])
def test_a_prefix_in_files_of_flax_and_numpy_is_taken_off(find_golden: Find, tmp_path: Path, prefix: str, kind: str):
    plain = open_source(find_golden("scenic/checkpoint_2023_layout"))
    arrays = {f"{prefix}{key}": np.asarray(tensor.read()) for key, tensor in plain.tensors.items()}
    if kind == "npz":
        np.savez(tmp_path / "weights.npz", **arrays)
    else:
        nested = flax.traverse_util.unflatten_dict(arrays, sep="/")
        (tmp_path / "weights.msgpack").write_bytes(flax.serialization.msgpack_serialize(nested))
    plan = plan_conversion(open_source(tmp_path / f"weights.{kind}"), settings={"frames": 8, "image_size": 32})
    assert (plan.family.name, plan.source.stripped, plan.faults) == ("scenic_vivit", prefix, ())
    assert set(plan.source.tensors) == set(plain.tensors)


def test_a_wrapped_file_gives_the_same_parameters_bit_for_bit(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    convert_checkpoint(save(tmp_path, state), tmp_path / "plain", settings=SETTINGS)
    wrapped = {f"module._orig_mod.{key}": value for key, value in state.items()}
    report = convert_checkpoint(save(tmp_path, wrapped), tmp_path / "wrapped", settings=SETTINGS)
    assert report.stripped == "module._orig_mod."
    assert json.loads((tmp_path / "wrapped/config.json").read_text())["source"]["stripped"] == "module._orig_mod."
    plain, other = (read_checkpoint(tmp_path / name) for name in ("plain", "wrapped"))
    assert plain.params.keys() == other.params.keys()
    for path, values in plain.params.items():
        np.testing.assert_array_equal(values, other.params[path], err_msg=path)


@pytest.mark.parametrize("marker", ["_fsdp_wrapped_module", "_orig_mod", "_checkpoint_wrapped_module", "module"])
@pytest.mark.parametrize("prefix", ["", "module.", "_fsdp_wrapped_module."])
def test_a_wrapper_around_single_blocks_is_taken_out_of_the_names(
    find_golden: Find, tmp_path: Path, marker: str, prefix: str
):
    state = read_state(find_golden)
    wrapped = {prefix + key.replace("blocks.1.", f"blocks.1.{marker}."): value for key, value in state.items()}
    plan = plan_conversion(open_source(save(tmp_path, wrapped)), settings=SETTINGS)
    assert list(plan.source.tensors) == list(state)
    assert not plan.faults
    assert f"{marker}. inside names" in plan.source.stripped


def test_an_average_of_weights_loses_its_counter_by_name(find_golden: Find, tmp_path: Path):
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2)).state_dict()
    assert list(averaged) == ["n_averaged", "module.weight", "module.bias"]
    state = {"n_averaged": averaged["n_averaged"], **{f"module.{k}": v for k, v in read_state(find_golden).items()}}
    plan = plan_conversion(open_source(save(tmp_path, state)), settings=SETTINGS)
    assert (plan.left_out, plan.faults, plan.source.stripped) == (("n_averaged",), (), "module.")


def test_nothing_is_taken_off_where_it_would_not_be_plain(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    not_shared = {(f"module.{key}" if "blocks" in key else key): value for key, value in state.items()}
    unknown = {f"my_own_name.{key}": value for key, value in state.items()}
    for names in (not_shared, unknown):
        with pytest.raises(ConversionError, match="the family is told by the keys"):
            convert_checkpoint(save(tmp_path, names), tmp_path / "model", settings=SETTINGS)
    both = {**state, "module.head.bias": state["head.bias"]}
    plan = plan_conversion(open_source(save(tmp_path, both)), settings=SETTINGS)
    assert plan.faults == ("unknown key module.head.bias",)


def rate(names: Sequence[str]) -> float:
    """The share of the keys of a model that has two."""
    return sum(name in ("a.weight", "a.bias") for name in names) / len(names)


def test_names_that_would_become_one_stay_apart():
    assert find_names(["module.a.weight", "module.a._orig_mod.weight"], rate) is not None
    assert find_names(["a.weight", "a._orig_mod.weight"], rate) is None, "two keys would become one"
    assert find_names(["a.weight", "a._orig_mod.bias"], rate) is not None
    assert find_names(["encoder.a.weight"], rate) is None, "no wrapper's name"
    assert find_names(["module.a.weight"], lambda names: 1.0) is None, "what fits is left as it is"


def test_patterns_fit_names_with_and_without_the_prefix(find_golden: Find, tmp_path: Path):
    state = {f"module.{key}": value for key, value in read_state(find_golden).items()}
    for pattern in ("head.*", "module.head.*"):
        options: dict[str, Any] = {"ignore": [pattern], "settings": SETTINGS}
        plan = plan_conversion(open_source(save(tmp_path, state | {"module.head.extra": torch.ones(1)})), **options)
        assert plan.ignored == ("head.weight", "head.bias", "head.extra")


def test_keys_of_a_loss_beside_the_model_are_a_question_with_its_answer(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    lightning = {f"model.module.{key}": value for key, value in state.items()} | {"criterion.weight": torch.ones(3)}
    path = save(tmp_path, {"epoch": 1, "state_dict": lightning, "callbacks": {}, "optimizer_states": []})
    with pytest.raises(ConversionError, match=r"names below 'model' are a family's; take them with --weights model\."):
        convert_checkpoint(path, tmp_path / "model", settings=SETTINGS)
    taken = plan_conversion(open_source(path, weights="model"), settings=SETTINGS)
    assert (list(taken.source.tensors), taken.source.other_entries) == (list(state), ("criterion",))
    left = plan_conversion(open_source(path), settings=SETTINGS, ignore=["criterion.*"])
    assert (left.ignored, left.faults, left.source.stripped) == (("criterion.weight",), (), "model.module.")
    assert list(left.source.tensors) == ["criterion.weight", *state]
    deeper = {f"module.{key}": value for key, value in lightning.items()}
    with pytest.raises(ConversionError, match=r"take them with --weights module\.model\."):
        convert_checkpoint(save(tmp_path, deeper), tmp_path / "model", settings=SETTINGS)
    path = save(tmp_path, {f"my_own_name.{key}": value for key, value in state.items()})
    with pytest.raises(ConversionError, match=r"take them with --weights my_own_name\."):
        convert_checkpoint(path, tmp_path / "model", settings=SETTINGS)
    assert list(open_source(path, weights="my_own_name").tensors) == list(state)


def test_part_of_a_model_is_never_offered_as_a_model(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    half = {(f"module.{key}" if "blocks" in key else key): value for key, value in state.items()}
    twice = state | {f"module.{key}": value for key, value in state.items()}
    other = {key.replace(".", "_"): value for key, value in state.items()}
    for names in (half, twice, other):
        with pytest.raises(ConversionError, match="name the family, or convert one of these kinds"):
            convert_checkpoint(save(tmp_path, names), tmp_path / "model", settings=SETTINGS)


def save_shards(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    names = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    where = {key: names[number % 2] for number, key in enumerate(state)}
    for name in names:
        torch.save({key: value for key, value in state.items() if where[key] == name}, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def test_shards_are_joined_before_names_are_read(find_golden: Find, tmp_path: Path):
    state = read_state(find_golden)
    both = {f"model.{key}": value for key, value in state.items()}
    both |= {f"model_ema.{key}": value + 1 for key, value in state.items()}
    folder = save_shards(tmp_path, both)
    source = open_source(folder)
    assert (source.entry, source.other_entries, set(source.tensors)) == ("model", ("model_ema",), set(state))
    assert open_source(folder, weights="model_ema").entry == "model_ema"
    torch.save({"model": state}, folder / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(ConversionError, match=r"a shard is a dict of tensors; .*00001-of-00002.bin has them below"):
        open_source(folder)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
@pytest.mark.parametrize("base", [True, False])
def test_a_folder_with_adapters_beside_the_weights_is_refused_by_name(tmp_path: Path, file: str, base: bool):
    folder = save_videomae(make_videomae(num_attention_heads=4), tmp_path / "hub", "hub")
    open_source(folder)
    (folder / file).write_text("{}")
    if not base:
        (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ConversionError, match=rf"adapters merged into them; .*hub has {file}; merge them with PEFT"):
        convert_checkpoint(folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "part",
    ["lora_A.default", "lora_B", "base_layer", "modules_to_save.default", "lora_magnitude_vector", "ia3_l", "oft_R",
     "hada_w1_a", "lokr_w1", "vera_lambda_b", "fourierft_spectrum", "prompt_embeddings"],
)  # fmt: skip
def test_adapters_that_are_not_merged_are_refused_by_name(find_golden: Find, tmp_path: Path, part: str):
    state = {f"base_model.model.{key}": value for key, value in read_state(find_golden).items()}
    state[f"base_model.model.blocks.0.attn.qkv.{part}.weight"] = torch.ones(4, 4)
    with pytest.raises(ConversionError, match=rf"has 1 keys of adapters .*{part.split('.')[0]}.*merge_and_unload"):
        convert_checkpoint(save(tmp_path, state), tmp_path / "model", settings=SETTINGS)
    assert not (tmp_path / "model").exists()


def test_a_wrapped_hub_folder_is_verified_with_transformers(tmp_path: Path):
    from checkpoints_convert.verify import verify_checkpoint

    folder = save_videomae(make_videomae(num_attention_heads=4, tubelet_size=2), tmp_path / "hub", "hub")
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({f"_orig_mod.{key}": value for key, value in state.items()}, folder / "pytorch_model.bin")
    report = convert_checkpoint(folder, tmp_path / "model")
    assert (report.family, report.stripped) == ("huggingface_videomae", "_orig_mod.")
    assert verify_checkpoint(folder, tmp_path / "model").passed


def make_openai_state() -> dict[str, torch.Tensor]:
    return rename_as_openai(make_clip(num_attention_heads=4).state_dict())


def test_open_clips_own_training_checkpoint_is_read(tmp_path: Path):
    state = make_openai_state()
    text = {
        "transformer.resblocks.0.ln_1.weight": torch.ones(4),
        "logit_scale": torch.ones(()),
        "token_embedding.weight": torch.ones(5, 4),
    }
    saved = {f"module.{key}": value for key, value in (state | text).items()}
    file = {"epoch": 3, "name": "run", "state_dict": saved, "optimizer": {"state": {}, "param_groups": []}}
    report = convert_checkpoint(save(tmp_path, file), tmp_path / "model", settings=CLIP_SETTINGS)
    assert (report.family, report.entry, report.stripped) == ("openai_clip", "state_dict", "module.")
    assert len(report.assignments) == len(state)
    assert report.left_out == tuple(text)


def test_a_text_tower_of_its_own_is_named_and_left_out(tmp_path: Path):
    state = make_openai_state()
    text = ("text.token_embedding.weight", "text.transformer.resblocks.0.ln_1.weight", "text.positional_embedding",
            "text.text_projection", "text.ln_final.weight", "logit_scale", "logit_bias")  # fmt: skip
    file = state | {key: torch.ones(3) for key in text}
    report = convert_checkpoint(save(tmp_path, file), tmp_path / "model", settings=CLIP_SETTINGS)
    assert report.left_out == text
    assert set(report.assignments) == set(state)
