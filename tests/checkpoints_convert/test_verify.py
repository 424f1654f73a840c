"""The verifier passes what is right and names the first layer of what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import ConversionError, convert_checkpoint
from checkpoints_convert.verify import verify_checkpoint
from tests.reference import huggingface
from tests.reference.files import require_module
from tests.reference.golden_checkpoints import GOLDEN_CHECKPOINTS

torch = require_module("torch")

Find = Callable[[str], Path]
UMT = {"text_heads": 4}


def make_vivit(folder: Path, layout: str = "hub") -> Path:
    return huggingface.save_vivit(huggingface.make_vivit(num_attention_heads=4), folder, layout)


def make_videomae(folder: Path, layout: str = "hub") -> Path:
    return huggingface.save_videomae(huggingface.make_videomae(num_attention_heads=4, num_frames=4), folder, layout)


def change_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    path = folder / "model.safetensors"
    params = safetensors.numpy.load_file(path)
    change(params)
    safetensors.numpy.save_file({name: np.array(value) for name, value in params.items()}, path)


def swap(first: str, second: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(params: dict[str, np.ndarray]) -> None:
        params[first], params[second] = params[second], params[first]

    return change


@pytest.mark.parametrize("layout", ["today", "memory", "hub"])
@pytest.mark.parametrize("make", [make_vivit, make_videomae])
def test_a_right_conversion_passes_layer_by_layer(tmp_path: Path, make: Callable[..., Path], layout: str):
    source = make(tmp_path / "hub", layout)
    convert_checkpoint(source, tmp_path / "model")
    check = verify_checkpoint(source, tmp_path / "model")
    assert [row.name for row in check.rows] == ["embeddings", "block_0", "block_1", "logits"]
    assert check.passed
    assert check.compared_with == "transformers"
    assert max(row.max_abs for row in check.rows) < 2e-5


@pytest.mark.parametrize(
    ("first", "second", "layer"),
    [
        ("encoder/block_1/attn/query/kernel", "encoder/block_1/attn/value/kernel", "block_1"),
        ("encoder/block_0/norm1/scale", "encoder/block_0/norm2/scale", "block_0"),
        ("encoder/block_0/attn/proj/bias", "encoder/block_1/attn/proj/bias", "block_0"),
        ("patch_embed/bias", "cls_token", "embeddings"),
        ("encoder/norm/bias", "encoder/block_1/norm1/bias", "block_1"),
    ],
)
def test_two_swapped_parameters_of_equal_shape_are_named_by_their_layer(
    tmp_path: Path, first: str, second: str, layer: str
):
    source = make_vivit(tmp_path / "hub")
    convert_checkpoint(source, tmp_path / "model")
    change_weights(tmp_path / "model", swap(first, second))
    check = verify_checkpoint(source, tmp_path / "model")
    assert not check.passed
    assert check.first_different == layer


def test_a_parameter_that_is_not_finite_differs(tmp_path: Path):
    source = make_vivit(tmp_path / "hub")
    convert_checkpoint(source, tmp_path / "model")
    change_weights(tmp_path / "model", lambda params: params["head/bias"].fill(np.nan))
    assert verify_checkpoint(source, tmp_path / "model").first_different == "logits"


def test_weights_that_are_stored_rounded_are_compared_with_the_rounded_original(tmp_path: Path):
    source = make_videomae(tmp_path / "hub")
    convert_checkpoint(source, tmp_path / "model", dtype="bfloat16")
    assert verify_checkpoint(source, tmp_path / "model").passed
    convert_checkpoint(source, tmp_path / "exact")
    exact, rounded = (safetensors.numpy.load_file(tmp_path / name / "model.safetensors") for name in ("exact", "model"))
    assert any(not np.array_equal(exact[name], rounded[name].astype(np.float32)) for name in exact)


@pytest.mark.parametrize("name", GOLDEN_CHECKPOINTS)
def test_every_golden_passes_through_its_own_numbers(find_golden: Find, tmp_path: Path, name: str):
    source, settings = GOLDEN_CHECKPOINTS[name]
    convert_checkpoint(find_golden(source), tmp_path / "model", settings=settings)
    check = verify_checkpoint(find_golden(source), tmp_path / "model", samples=find_golden(f"{name}.npz"))
    assert check.passed
    assert {"logits", "logits_plain", "embedding", "ranked_ids"} & {row.name for row in check.rows}
    assert set(check.skipped) <= {"num_frames", "source", "tubelet"}


def test_a_swap_is_seen_through_a_file_of_numbers_too(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("umt_retrieval.pth"), tmp_path / "model", settings=UMT)
    change_weights(tmp_path / "model", swap("text/layer_1/attn/query/kernel", "text/layer_1/attn/key/kernel"))
    samples = find_golden("umt_merge.npz")
    check = verify_checkpoint(find_golden("umt_retrieval.pth"), tmp_path / "model", samples=samples)
    assert check.first_different == "text_tokens"


def test_hidden_states_in_the_file_name_the_layer(tmp_path: Path):
    twin = huggingface.make_vivit(num_attention_heads=4)
    source = huggingface.save_vivit(twin, tmp_path / "hub", "hub")
    convert_checkpoint(source, tmp_path / "model")
    video = np.random.default_rng(3).standard_normal((2, 4, 3, 32, 32), np.float32)
    with torch.no_grad():
        out = twin(torch.from_numpy(video), output_hidden_states=True)
    stack = np.stack([states.numpy() for states in out.hidden_states])
    np.savez(tmp_path / "samples.npz", video=video, hidden_states=stack, logits=out.logits.numpy(), other=np.zeros(2))
    check = verify_checkpoint(source, tmp_path / "model", samples=tmp_path / "samples.npz")
    assert check.passed
    assert [row.name for row in check.rows] == ["embeddings", "block_0", "block_1", "logits"]
    assert check.skipped == ("other",)
    change_weights(tmp_path / "model", swap("encoder/block_1/mlp/fc2/bias", "encoder/block_1/norm2/bias"))
    changed = verify_checkpoint(source, tmp_path / "model", samples=tmp_path / "samples.npz")
    assert changed.first_different == "block_1"


def test_what_can_not_be_compared_is_said(find_golden: Find, tmp_path: Path):
    golden = find_golden("umt_retrieval.pth")
    convert_checkpoint(golden, tmp_path / "model", settings=UMT)
    with pytest.raises(ConversionError, match=r"the original of family umt_retrieval can't be imported; give a .npz"):
        verify_checkpoint(golden, tmp_path / "model")

    def expect(message: str, **arrays: np.ndarray) -> None:
        np.savez(tmp_path / "samples.npz", **arrays)
        with pytest.raises(ConversionError, match=message):
            verify_checkpoint(golden, tmp_path / "model", samples=tmp_path / "samples.npz")

    video = np.zeros((1, 4, 32, 32, 3), np.float32)
    expect("a file of samples has video or input; .* has logits", logits=np.zeros(3))
    expect(r"video is \[B, T, Y, X, 3\] or \[B, T, 3, Y, X\]; .* has \(4, 32, 32, 3\)", video=video[0])
    expect("nothing in .* can be compared: it has video, logits", video=video, logits=np.zeros((1, 3)))
    expect(r"tokens is \(1, 64, 24\) here and \(1, 64, 25\) in the original", video=video, tokens=np.zeros((1, 64, 25)))
    expect("r does not fit the model", video=video, r=np.array([1, 1, 1, 1, 1]), tokens=np.zeros((1, 64, 24)))
    (tmp_path / "samples.npz").write_text("no zip")
    with pytest.raises(ConversionError, match=r"is no .npz of arrays"):
        verify_checkpoint(golden, tmp_path / "model", samples=tmp_path / "samples.npz")
    with pytest.raises(ConversionError, match=r"there is no .*nowhere.npz"):
        verify_checkpoint(golden, tmp_path / "model", samples=tmp_path / "nowhere.npz")


def test_an_original_that_does_not_load_is_said(tmp_path: Path):
    source = make_vivit(tmp_path / "hub")
    convert_checkpoint(source, tmp_path / "model")
    with pytest.raises(ConversionError, match=r"is made from a folder with config.json; .*pytorch_model.bin is a file"):
        verify_checkpoint(source / "pytorch_model.bin", tmp_path / "model")
    state = torch.load(source / "pytorch_model.bin", weights_only=True)
    del state["classifier.bias"]
    torch.save(state, source / "pytorch_model.bin")
    with pytest.raises(ConversionError, match="VivitForVideoClassification does not load hub"):
        verify_checkpoint(source, tmp_path / "model")
