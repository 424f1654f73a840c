"""Scenic's checkpoint files, of both layouts and as folders, and what is said where they don't fit."""

import flax
import jax
import numpy as np
import pytest

from tests.reference.files import find_golden
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.scenic_adapter.checkpoints import check_params, find_shapes, read_checkpoint
from vidtldr_jax.scenic_adapter.modules import MergingViViT

CONFIG = ViViTConfig(
    num_frames=8, image_size=32, patch_size=8, tubelet_size=2, dim=32, depth=3, num_heads=4, mlp_dim=64, num_classes=8
)
VIDEO = (1, 8, 32, 32, 3)


def write(path, state):
    path.write_bytes(flax.serialization.msgpack_serialize(state))
    return path


def read_golden():
    return read_checkpoint(find_golden("scenic/checkpoint_2023_layout")).params


def test_the_layout_of_2023_holds_what_the_module_wants_head_included():
    read = read_checkpoint(find_golden("scenic/checkpoint_2023_layout"))
    check_params(read.params, find_shapes(MergingViViT(CONFIG, schedule=(4,)), VIDEO))
    assert np.abs(read.params["output_projection"]["kernel"]).max() > 0


@pytest.mark.parametrize("layout", ["today", "frozen", "bare"])
def test_today_s_layouts_hold_the_same(tmp_path, layout):
    params = read_golden()
    state = {
        "today": {"global_step": 7, "params": params, "opt_state": {"0": {"mu": params}}, "model_state": {}},
        "frozen": {"params": flax.core.freeze(params), "global_step": np.array([7])},
        "bare": params,
    }[layout]
    read = read_checkpoint(write(tmp_path / "anything", flax.serialization.to_state_dict(state)))
    jax.tree.map(np.testing.assert_array_equal, read.params, params)
    assert read.step == (None if layout == "bare" else 7)


def test_of_a_folder_the_last_step_is_taken(tmp_path):
    params = read_golden()
    for step in (9, 30, 100):
        write(tmp_path / f"checkpoint_{step}", {"params": params, "global_step": step})
    (tmp_path / "checkpoint_200").mkdir()
    assert read_checkpoint(tmp_path).step == 100
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    write(zoo / "checkpoint", {"params": params, "global_step": 3})
    assert read_checkpoint(zoo).path == zoo / "checkpoint"


def test_what_is_no_checkpoint_is_explained(tmp_path):
    for name, content in (
        ("text", b"not msgpack at all"),
        ("cut", find_golden("scenic/checkpoint_2023_layout").read_bytes()[:9000]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="a checkpoint is Flax's msgpack"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(ValueError, match=r"parameters lie under optimizer/target .2023. or params; .* has weights"):
        read_checkpoint(write(tmp_path / "other", {"weights": {"a": np.zeros(2)}}))
    with pytest.raises(ValueError, match="there is no "):
        read_checkpoint(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"a folder holds checkpoint or checkpoint_N as files; .* holds nothing"):
        read_checkpoint(empty)


def test_all_that_does_not_fit_a_module_is_named_at_once():
    params = read_golden()
    params["output_projection"]["kernel"] = np.zeros((32, 5), np.float32)
    params["Transformer"]["encoder_norms"] = params["Transformer"].pop("encoder_norm")
    with pytest.raises(ValueError, match="one model") as error:
        check_params(params, find_shapes(MergingViViT(CONFIG), VIDEO))
    for part in (
        "output_projection/kernel is (32, 5) and should be (32, 8)",
        "Transformer/encoder_norm/scale (32,) is missing",
        "Transformer/encoder_norms/scale has no place (nearest: Transformer/encoder_norm/scale)",
    ):
        assert part in str(error.value)
