"""The verifier passes what is right and names the first layer of what is wrong."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import ConversionError, convert_checkpoint
from checkpoints_convert.verify import check_verifiable, verify_checkpoint
from tests.reference import huggingface
from tests.reference.files import require_module
from tests.reference.golden_checkpoints import GOLDEN_CHECKPOINTS
from tests.reference.signing import sign_again

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
    sign_again(folder)


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


def test_an_output_that_is_not_finite_differs(tmp_path: Path):
    source = make_vivit(tmp_path / "hub")
    convert_checkpoint(source, tmp_path / "model")
    change_weights(tmp_path / "model", lambda params: params["head/kernel"].fill(3e38))
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
    expect(r"video is \[B, T, Y, X, 3\] or \[B, T, 3, Y, X\], .* has \(4, 32, 32, 3\)", video=video[0])
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


VIDEO = np.zeros((1, 4, 32, 32, 3), np.float32)
TEXT = {"input_ids": np.ones((1, 5), np.int64), "attention_mask": np.ones((1, 5), np.int64)}
BAD_SAMPLES: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "text as a video": ({"video": np.full((1, 4, 32, 32, 3), "x")}, "video is .* real numbers.*; .* has .* <U1"),
    "an empty batch": ({"video": VIDEO[:0], "logits": np.zeros((0, 3))}, r"no axis empty; .* has \(0, 4, 32, 32, 3\)"),
    "patches that don't divide": ({"video": VIDEO[:, :, :27], "tokens": VIDEO}, "does not run on .* Y, X of 8"),
    "text as tokens": ({"video": VIDEO, "tokens": np.array(["x"])}, "outputs are real numbers; tokens has dtype <U1"),
    "scalar states": ({"video": VIDEO, "hidden_states": np.array(1.0)}, r"is \[4, B, N, D\].*; got shape \(\)"),
    "too few states": ({"video": VIDEO, "hidden_states": np.zeros((2, 1, 64, 24))}, r"got shape \(2, 1, 64, 24\)"),
    "r of text": ({"video": VIDEO, "r": np.array(["1"]), "tokens": VIDEO}, "one number for each block; got .*<U1"),
    "r of infinity": ({"video": VIDEO, "r": np.array([np.inf]), "tokens": VIDEO}, "r does not fit the model"),
    "r of halves": ({"video": VIDEO, "r": np.array([2.5]), "tokens": VIDEO}, "r does not fit the model: .*got 2.5"),
    "r of tables": ({"video": VIDEO, "r": np.ones((2, 2)), "tokens": VIDEO}, r"for each block; got shape \(2, 2\)"),
    "words that are no numbers": (
        {"video": VIDEO, **TEXT, "input_ids": np.ones((1, 5)), "text_tokens": VIDEO}, "does not run on .*samples.npz",
    ),
    "a long text": (
        {"video": VIDEO, **{name: np.ones((1, 999), np.int64) for name in TEXT}, "text_tokens": VIDEO},
        "a text has at most .* tokens; got 999",
    ),
    "names of escapes": ({"video": VIDEO, "\x1b[31m": VIDEO}, r"nothing in .* it has video, \\x1b\[31m"),
}  # fmt: skip


@pytest.fixture(scope="module")
def retrieval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieval") / "model"
    convert_checkpoint(Path(__file__).parents[1] / "goldens" / "umt_retrieval.pth", folder, settings=UMT)
    return folder


def expect_one_line(message: str, verify: Callable[[], object]) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        verify()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("case", BAD_SAMPLES)
def test_samples_that_the_model_does_not_take_give_one_line(retrieval: Path, tmp_path: Path, case: str):
    arrays, message = BAD_SAMPLES[case]
    np.savez(tmp_path / "samples.npz", **arrays)
    expect_one_line(message, lambda: verify_checkpoint("unused", retrieval, samples=tmp_path / "samples.npz"))


def test_an_odd_number_of_frames_and_other_files_give_one_line(tmp_path: Path):
    source = make_videomae(tmp_path / "hub")
    convert_checkpoint(source, tmp_path / "model")
    np.savez(tmp_path / "samples.npz", video=VIDEO[:, :3], logits=np.zeros((1, 3)))
    np.save(tmp_path / "video.npy", VIDEO)
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("samples.npz", "does not run on .* T a multiple of 2"),
        ("video.npy", r"video.npy is no .npz of arrays; save it with numpy.savez"),
        ("folder", r"is no .npz of arrays"),
    ):
        expect_one_line(message, lambda n=name: verify_checkpoint(source, tmp_path / "model", samples=tmp_path / n))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 8}, "config.json says: num_frames is 4 there and 8 in the conversion; convert without"),
        ({"image_size": 64}, "config.json says: image_size is 32 there and 64 in the conversion; convert without"),
    ],
)
def test_a_model_for_other_clips_than_the_original_takes_gives_one_line(
    tmp_path: Path, settings: dict[str, int], message: str
):
    source = make_videomae(tmp_path / "hub")
    (source / "preprocessor_config.json").unlink()
    report = convert_checkpoint(source, tmp_path / "model", settings={**settings, "mean": [0.5] * 3, "std": [0.5] * 3})
    expect_one_line(message, lambda: verify_checkpoint(source, tmp_path / "model"))
    expect_one_line(message, lambda: check_verifiable(report.family, report.config, None, source=source))
    config = json.loads((source / "config.json").read_text())
    config = {name: value for name, value in config.items() if name not in ("num_frames", "image_size")}
    (source / "config.json").write_text(json.dumps(config))  # what is not said is found out by running
    expect_one_line(
        "VideoMAEForVideoClassification (takes clips as|does not load)",
        lambda: verify_checkpoint(source, tmp_path / "model"),
    )


def test_what_can_not_be_verified_is_said_before_a_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = make_videomae(tmp_path / "hub")
    report = convert_checkpoint(source, tmp_path / "model")
    family, config, samples = report.family, report.config, tmp_path / "samples.npz"
    check_verifiable(family, config, None)
    check_verifiable(family, config, None, source=source)
    check_verifiable(family, config, None, source="hf://owner/name")
    np.savez(samples, input=VIDEO, logits=np.zeros((1, 3)))
    check_verifiable("scenic_vivit", config, samples)
    expect_one_line("of family scenic_vivit can't be imported", lambda: check_verifiable("scenic_vivit", config, None))
    for place in (source / "pytorch_model.bin", "hf://owner/name/model.bin"):
        expect_one_line("is a file; name its folder", lambda p=place: check_verifiable(family, config, None, source=p))
    expect_one_line("there is no .*nothing.npz", lambda: check_verifiable(family, config, tmp_path / "nothing.npz"))
    np.savez(samples, logits=np.zeros((1, 3)))
    expect_one_line("has video or input; .* has logits", lambda: check_verifiable(family, config, samples))
    np.savez(samples, video=VIDEO[..., :2])
    expect_one_line(r"has \(1, 4, 32, 32, 2\)", lambda: check_verifiable(family, config, samples))
    clip = dataclasses.make_dataclass("Clip", [("encoding", str)])("joint")
    expect_one_line("encodes them jointly", lambda: check_verifiable("huggingface_clip", clip, None))
    monkeypatch.setitem(sys.modules, "transformers", None)
    expect_one_line("runs in torch and transformers .*; pip install", lambda: check_verifiable(family, config, None))
