"""Scenic's ViViT checkpoints give the original's logits, from msgpack of both layouts and from .npz."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flax.serialization
import flax.traverse_util
import jax.numpy as jnp
import numpy as np
import pytest

from checkpoints_convert import ConversionError, convert_checkpoint
from tests.reference.files import read_arrays
from tests.reference.golden_checkpoints import SCENIC_SETTINGS
from vidtldr_jax.inference.load import load_model

Find = Callable[[str], Path]


def read_params(path: Path) -> dict[str, np.ndarray]:
    golden = read_arrays(path)
    return {name.removeprefix("params/"): golden[name] for name in golden if name.startswith("params/")}


def nest(params: dict[str, np.ndarray]) -> dict:
    return flax.traverse_util.unflatten_dict(params, sep="/")


@pytest.mark.parametrize("name", SCENIC_SETTINGS)
def test_golden_vivits_give_the_original_logits(find_golden: Find, tmp_path: Path, name: str):
    source = find_golden(f"{name}.npz")
    golden = read_arrays(source)
    report = convert_checkpoint(source, tmp_path / "model", settings=SCENIC_SETTINGS[name])
    model = load_model(tmp_path / "model")
    assert report.family == "scenic_vivit"
    assert (model.config.num_heads, model.config.num_frames, model.config.image_size) == (4, 8, 32)
    assert name.startswith(model.config.attention)
    # float32 rounding of five layers of width 32.
    np.testing.assert_allclose(model.classify(golden["input"]), golden["logits"], atol=1e-5, rtol=0)


def test_the_layout_of_2023_gives_the_original_logits(find_golden: Find, tmp_path: Path):
    golden = read_arrays(find_golden("checkpoint_2023_layout.npz"))
    convert_checkpoint(find_golden("checkpoint_2023_layout"), tmp_path / "model", settings={"frames": 8})
    logits = load_model(tmp_path / "model").classify(golden["input"])
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", ["train state", "variables", "bare"])
def test_todays_layouts_give_the_original_logits(find_golden: Find, tmp_path: Path, layout: str):
    golden = read_arrays(find_golden("spacetime_token.npz"))
    params = nest(read_params(find_golden("spacetime_token.npz")))
    state = {
        "train state": {
            "global_step": 7,
            "opt_state": {"0": {"mu": params}},
            "params": params,
            "model_state": {},
            "rng": np.zeros(2, np.uint32),
        },
        "variables": {"params": params},
        "bare": params,
    }[layout]
    (tmp_path / "checkpoint").write_bytes(flax.serialization.msgpack_serialize(state))
    convert_checkpoint(tmp_path / "checkpoint", tmp_path / "model", settings={"frames": 8})
    logits = load_model(tmp_path / "model").classify(golden["input"])
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-5, rtol=0)


def test_the_last_step_of_a_folder_is_taken(find_golden: Find, tmp_path: Path):
    params = read_params(find_golden("spacetime_token.npz"))
    for step, scale in ((9, 3.0), (30, 1.0)):
        changed = {**params, "output_projection/bias": params["output_projection/bias"] * scale}
        data = flax.serialization.msgpack_serialize({"params": nest(changed)})
        (tmp_path / f"checkpoint_{step}").write_bytes(data)
    report = convert_checkpoint(tmp_path, tmp_path / "out" / "model", settings={"frames": 8})
    assert report.source.endswith("/checkpoint_30")
    golden = read_arrays(find_golden("spacetime_token.npz"))
    logits = load_model(tmp_path / "out" / "model").classify(golden["input"])
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-5, rtol=0)


def test_weights_in_bfloat16_are_read(find_golden: Find, tmp_path: Path):
    params = read_params(find_golden("spacetime_token.npz"))
    half = nest({name: values.astype(jnp.bfloat16) for name, values in params.items()})
    (tmp_path / "checkpoint").write_bytes(flax.serialization.msgpack_serialize({"params": half}))
    convert_checkpoint(tmp_path / "checkpoint", tmp_path / "model", settings={"frames": 8})
    bias = load_model(tmp_path / "model").params["head"]["bias"]
    np.testing.assert_array_equal(bias, params["output_projection/bias"].astype(jnp.bfloat16).astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rename", "unknown key output_projection/biass .nearest: output_projection/bias"),
        ("drop", "nothing fills head/bias; it comes from output_projection/bias"),
        ("transpose", r"Transformer/encoderblock_1/MlpBlock_0/Dense_0/kernel .* should be \(32, 64\)"),
    ],
)
def test_a_faulty_key_is_named(find_golden: Find, tmp_path: Path, change: str, message: str):
    params = read_params(find_golden("spacetime_token.npz"))
    key = "output_projection/bias"
    if change == "rename":
        params["output_projection/biass"] = params.pop(key)
    elif change == "drop":
        del params[key]
    else:
        wide = "Transformer/encoderblock_1/MlpBlock_0/Dense_0/kernel"
        params[wide] = params[wide].T
    np.savez(tmp_path / "weights.npz", **params)
    with pytest.raises(ConversionError, match=message):
        convert_checkpoint(tmp_path / "weights.npz", tmp_path / "model", settings={"frames": 8})
    assert not (tmp_path / "model").exists()


def test_frames_that_do_not_fit_the_position_table_are_refused(find_golden: Find, tmp_path: Path):
    source = find_golden("spacetime_token.npz")
    with pytest.raises(ConversionError, match=r"num_frames \(give frames=16\); image_size"):
        convert_checkpoint(source, tmp_path / "model")
    with pytest.raises(ConversionError, match="num_positions is 65 in the weights and 33 by the settings"):
        convert_checkpoint(source, tmp_path / "model", settings={"frames": 4, "image_size": 32})


def test_a_form_that_the_keys_do_not_tell_is_asked_for(find_golden: Find, tmp_path: Path):
    for name, missing in (
        ("spacetime_gap", r"attention \(give attention=spacetime or attention=factorized_dot_product\)"),
        ("factorized_dot_product_gap", "attention"),
        (
            "factorized_self_attention_gap",
            r"attention_order \(give attention_order=time_space or",
        ),
    ):
        with pytest.raises(ConversionError, match=f"neither the weights nor a config tell: {missing}"):
            convert_checkpoint(find_golden(f"{name}.npz"), tmp_path / "model", settings={"frames": 8})


def test_the_order_of_axes_and_the_form_change_the_logits(find_golden: Find, tmp_path: Path):
    for name, wrong in (
        ("factorized_self_attention_gap", {"attention_order": "space_time"}),
        ("factorized_dot_product_gap", {"attention": "spacetime"}),
    ):
        source = find_golden(f"{name}.npz")
        golden = read_arrays(source)
        convert_checkpoint(source, tmp_path / "model", settings={**SCENIC_SETTINGS[name], **wrong})
        logits = load_model(tmp_path / "model").classify(golden["input"])
        assert np.abs(np.asarray(logits) - golden["logits"]).max() > 1e-3


def test_a_factorised_attention_refuses_a_schedule_and_says_why(find_golden: Find, tmp_path: Path):
    name = "factorized_self_attention_gap"
    convert_checkpoint(find_golden(f"{name}.npz"), tmp_path / "model", settings=SCENIC_SETTINGS[name])
    with pytest.raises(ValueError, match="needs the whole grid of patches in every block, so nothing can be merged"):
        load_model(tmp_path / "model", schedule="4,4,4")
    model = load_model(tmp_path / "model", schedule="none")
    assert model.encode_video(np.zeros((1, 8, 32, 32, 3), np.float32), trace=True).trace.source.shape == (1, 64)
