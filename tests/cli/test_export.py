"""`vidtldr export`: a file, what is said about it, and what is refused."""

import hashlib
import json

import jax
import numpy as np
import pytest

from tests.cli.test_main import assert_one_error
from vidtldr_jax.export import check
from vidtldr_jax.inference import load_model


@pytest.fixture(autouse=True)
def _sizes_unchecked(shapes_unchecked):
    """A size that is not known yet is no int, which is what annotations say."""


def test_a_model_is_written_compared_and_runs(call_json, model, tmp_path):
    report = call_json("export", "--model", model, "--schedule", "4,2", "--out", "a.stablehlo", "--verify")
    assert report["check"]["passed"]
    assert report["check"]["largest"] <= report["check"]["allowed"] < 1e-2
    assert report["outputs"] == [{"name": "logits", "shape": ["b", 3], "dtype": "float32"}]
    assert report["labels"] == ["left", "right", "turning [fast]"]
    assert report["platforms"] == ["cpu", "cuda", "tpu"]
    assert report["schedule"]["r"] == [4, 2, 0]
    files = {path.name: path.stat().st_size for path in tmp_path.glob("a.*")}
    assert set(files) == {"a.stablehlo", "a.stablehlo.json"}
    assert report["total_bytes"] == sum(files.values())
    beside = json.loads((tmp_path / "a.stablehlo.json").read_text())
    assert (beside.pop("file"), beside.pop("bytes")) == ("a.stablehlo", files["a.stablehlo"])
    assert beside.pop("sha256") == hashlib.sha256((tmp_path / "a.stablehlo").read_bytes()).hexdigest()
    assert len(beside.pop("run")) == 32
    assert len(beside.pop("digest")) == 64
    assert {name: report[name] for name in beside} == beside
    program = jax.export.deserialize((tmp_path / "a.stablehlo").read_bytes())
    video = np.random.default_rng(0).standard_normal((2, 4, 16, 16, 3), np.float32)
    expected = load_model(model, schedule="4,2").classify(video)
    np.testing.assert_allclose(program.call(video), expected, atol=1e-5)


def test_people_read_what_goes_in_and_comes_out(call, model):
    options = ("--input", "uint8", "--output", "pooled,tokens", "--weights", "beside", "--batch-size", "2")
    result = call("export", "--model", model, "--out", "b.bin", *options)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("wrote b.bin: 0.")
    assert lines[1:4] == [
        "  in  video uint8 [2, 4, 16, 16, 3]: pixels of frames in RGB",
        "  out pooled float32 [2, 8]",
        "  out tokens float32 [2, 32, 8]",
    ]
    assert "no merging, 32 tokens in all 3 layers" in result.stdout
    assert result.stderr == "note: the weights lie in b.bin.safetensors; the program takes them as its first argument\n"


def test_nothing_is_overwritten_unless_asked(call, model, tmp_path):
    (tmp_path / "c.json").write_text("mine")
    assert_one_error(call("export", "--model", model, "--out", "c"), "c.json exists in")
    assert [path.name for path in tmp_path.glob("c*")] == ["c.json"]
    assert call("export", "--model", model, "--out", "c", "--overwrite").exit_code == 0
    assert (tmp_path / "c.json").read_text() != "mine"
    (tmp_path / "d").mkdir()
    assert_one_error(call("export", "--model", model, "--out", "d", "--overwrite"), "no folder is overwritten")
    assert_one_error(call("export", "--model", model, "--out", "c/e"), "a part of")


def test_what_can_not_be_done_is_one_line(call, model, tmp_path):
    out = ("--model", model, "--out", "x")
    assert_one_error(call("export", *out, "--output", "embedding"), "this model gives logits, pooled, tokens, size")
    assert_one_error(call("export", *out, "--platforms", "tpu", "--verify"), "it is for tpu alone; add this platform")
    assert_one_error(call("export", "--model", "nowhere", "--out", "x"), "there is no 'nowhere'")
    assert list(tmp_path.glob("x*")) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--output", "logit"), "names are logits, embedding, pooled, tokens, size, text_embedding; got 'logit'"),
        (("--platforms", "cpu,cpu"), "each name is given once; got 'cpu,cpu'"),
        (("--platforms", "gpu"), "names are cpu, cuda, rocm, tpu; got 'gpu'"),
        (("--batch-size", "0"), "--batch-size"),
        (("--output", "text_embedding", "--schedule", "4"), "a text encoder merges nothing"),
        (("--format", "savedmodel", "--weights", "beside"), "leave --weights out"),
        (("--out", ""), "--out names a file or a folder to write; got '.'"),
    ],
)
def test_wrong_usage_has_exit_code_2(call, model, options, message):
    assert_one_error(call("export", "--model", model, "--out", "x", *options), message, exit_code=2)


def test_a_program_that_differs_from_its_model_is_a_failure(call, model, monkeypatch):
    monkeypatch.setattr(check, "check_export", lambda *_: check.ExportCheck(0.5, 0.1, (1,), "cpu"))
    result = call("export", "--model", model, "--out", "y", "--verify")
    assert_one_error(result, "gives other numbers than the model, by 5.0e-01 with 1.0e-01 allowed; y is there")
