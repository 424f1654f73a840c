"""Exported programs run in a process without this package, and give what the model gives."""

import dataclasses
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest

from benchmarks.models import choose_umt_config
from tests.models.test_stacking import CONFIGS
from tests.reference.inputs import make_params
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.export import stablehlo
from vidtldr_jax.export.check import ExportCheck, check_export
from vidtldr_jax.export.stablehlo import export_model, save_export
from vidtldr_jax.inference.load import build_model, load_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.sharding import make_mesh
from vidtldr_jax.reduction.methods import METHODS

EVERY = CONFIGS | {"umt": choose_umt_config(is_smoke=True)}
# The same forms on the same machine; sums over several clips may be taken in another order, and merging weighs that.
TOLERANCE = 1e-6


class Case:
    """What is exported, and for which batch sizes it is run."""

    def __init__(self, config, schedule=None, sizes=(3,), dtype="float32", **options):
        self.config, self.schedule, self.sizes, self.dtype, self.options = config, schedule, sizes, dtype, options


CASES = {
    # Long sequences, which CPUs attend to head by head.
    "shipped": Case("shipped"),
    "shipped merged": Case("shipped", "100,40", sizes=(1, 2)),
    "plain": Case("joint"),
    "merged": Case("joint", "6,3", sizes=(5,)),
    "pixels": Case("joint", "6,3", input_dtype="uint8", output=("tokens", "size", "pooled"), weights="beside"),
    "half": Case("joint", "6,3", dtype="bfloat16", batch_size=3, platforms=("cpu",)),
    "vivit": Case("vivit spacetime cls"),
    "vivit merged": Case("vivit spacetime cls", "6,3"),
    "frames": Case("vivit factorized mean"),
    "frames merged": Case("vivit factorized mean", "2,1"),
    "time and space": Case("vivit self attention"),
    "halved heads": Case("vivit dot product"),
    "clip merged": Case("clip", "2,1"),
    "umt": Case("umt", "0.25,0.2"),
    "umt texts": Case("umt", output="text_embedding"),
}


@pytest.fixture(autouse=True, scope="module")
def _sizes_unchecked():
    """A size that is not known yet is no int, which is what annotations say."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@functools.cache
def make(name):
    """A model with random weights, for a case of `CASES`."""
    case = CASES[name]
    if case.config == "shipped":
        return load_model("moving-objects", schedule=case.schedule)
    config = EVERY[case.config]
    size = getattr(config, "vision", config)
    recipe = Preprocessing(num_frames=size.num_frames, image_size=size.image_size, mean=(0.4, 0.5, 0.6))
    options = {"preprocessing": recipe, "schedule": case.schedule, "dtype": case.dtype}
    return build_model(make_params(config), config, **options)


def make_inputs(name, batch_size):
    case, config = CASES[name], make(name).config
    rng = np.random.default_rng(batch_size)
    if case.options.get("output") == "text_embedding":
        mask = np.arange(6) < rng.integers(1, 7, batch_size)[:, None]
        return [rng.integers(0, 50, (batch_size, 6)).astype(np.int32), mask.astype(np.int32)]
    shape = (batch_size, config.num_frames, config.image_size, config.image_size, 3)
    if case.options.get("input_dtype") == "uint8":
        return [rng.integers(0, 256, shape, np.uint8)]
    return [rng.standard_normal(shape, np.float32)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every case, exported here and run in another process."""
    folder = tmp_path_factory.mktemp("exported")
    for name, case in CASES.items():
        save_export(export_model(make(name), **case.options), folder / f"{name}.stablehlo")
        inputs = {f"{n} {at}": part for n in case.sizes for at, part in enumerate(make_inputs(name, n))}
        np.savez(folder / f"{name}.in.npz", **inputs)
    script = Path(__file__).with_name("run_exported.py")
    command = [sys.executable, "-P", "-W", "error", str(script), str(folder)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert result.returncode == 0, result.stderr
    return folder


def run_model(name, inputs):
    """What the model itself says, by output."""
    model, case = make(name), CASES[name]
    outputs = case.options.get("output")
    if outputs == "text_embedding":
        return {"out": model.encode_text(*inputs).embedding}
    (video,) = inputs
    if video.dtype == np.uint8:
        video = normalize_frames(video, mean=model.preprocessing.mean, std=model.preprocessing.std)
    found = model.encode_video(video)
    if outputs:
        return {output: getattr(found, output) for output in outputs}
    return {"out": found.embedding if found.logits is None else found.logits}


@pytest.mark.parametrize("name", CASES)
def test_a_process_without_this_package_gets_the_models_numbers(folder, name):
    results = np.load(folder / f"{name}.out.npz")
    for size in CASES[name].sizes:
        expected = run_model(name, make_inputs(name, size))
        assert {key.split()[1] for key in results if key.split()[0] == str(size)} == set(expected)
        for output, value in expected.items():
            found, value = results[f"{size} {output}"], np.asarray(value)
            assert found.shape == value.shape
            assert np.abs(value).max() > 0.1
            np.testing.assert_allclose(found, value, rtol=0, atol=TOLERANCE * max(1, np.abs(value).max()))


def read_program(name, *platforms):
    """The text of a program; its weights are left out, which are most of it."""
    return export_model(make(name), platforms=platforms, weights="beside").program.mlir_module()


def test_nothing_of_one_machine_and_nothing_young_is_in_it():
    text = read_program("merged", "cpu", "cuda", "rocm", "tpu")
    assert set(re.findall(r"custom_call @([\w.]+)", text)) <= {"shape_assertion"}
    assert "top_k" not in text  # other runtimes can't read it yet


def test_each_platform_gets_the_form_that_suits_it():
    def count_products_of_all_heads(*platforms):
        return len(re.findall(r"batching_dims = \[0, \d\]", read_program("shipped", *platforms)))

    assert count_products_of_all_heads("cpu") == 0
    assert count_products_of_all_heads("cuda") == count_products_of_all_heads("tpu") > 0
    assert count_products_of_all_heads("cpu", "cuda") > 0


def test_the_description_says_what_goes_in_and_what_comes_out(folder):
    description = json.loads((folder / "pixels.stablehlo.json").read_text())
    (video,) = description["inputs"]
    assert (video["name"], video["shape"], video["dtype"]) == ("video", ["b", 4, 24, 24, 3], "uint8")
    assert description["outputs"] == [
        {"name": "pooled", "shape": ["b", 16], "dtype": "float32"},
        {"name": "size", "shape": ["b", 9], "dtype": "float32"},
        {"name": "tokens", "shape": ["b", 9, 16], "dtype": "float32"},
    ]
    assert description["schedule"]["tokens"] == [18, 12, 9, 9]
    assert description["preprocessing"]["mean"] == [0.4, 0.5, 0.6]
    assert description["platforms"] == ["cpu", "cuda", "tpu"]
    assert description["versions"]["jax"] == jax.__version__
    for kind in ("", "weights_"):
        data = (folder / description[f"{kind}file"]).read_bytes()
        assert description[f"{kind}sha256"] == hashlib.sha256(data).hexdigest()
    texts = json.loads((folder / "umt texts.stablehlo.json").read_text())
    assert [item["shape"] for item in texts["inputs"]] == [["b", "n"], ["b", "n"]]
    assert texts["schedule"] is None
    encoders = {name: json.loads((folder / f"{name}.stablehlo.json").read_text()) for name in ("umt", "umt texts")}
    parameters = {name: sum(value.size for value in jax.tree.leaves(make(name).params)) for name in encoders}
    counts = [encoders[name]["num_parameters"] for name in encoders]
    assert sum(counts) == parameters["umt"] + 1  # both have the temperature
    assert min(counts) > 1000


def test_a_fixed_batch_size_takes_no_other():
    program = export_model(make("plain"), batch_size=2, platforms=("cpu",)).program
    with pytest.raises(ValueError, match="Shape mismatch"):
        program.call(*make_inputs("plain", 3))


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    exported = export_model(make("plain"), platforms=("cpu",), weights="beside")
    place = tmp_path / "new" / "a.stablehlo"

    def fail(*words):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(OSError, match="No space"):
            save_export(exported, place)
    assert list(place.parent.iterdir()) == []
    assert save_export(exported, place) == place
    names = ["a.stablehlo", "a.stablehlo.json", "a.stablehlo.safetensors"]
    assert sorted(path.name for path in place.parent.iterdir()) == names
    with pytest.raises(ValueError, match=r"a\.stablehlo\.safetensors, .*exists in .*; give another place, or --over"):
        save_export(exported, place)
    place.write_bytes(b"old")
    save_export(exported, place, overwrite=True)
    assert check_export(make("plain"), place).is_within


def test_a_check_finds_what_is_another_model(folder):
    check = check_export(make("merged"), folder / "merged.stablehlo")
    assert check.is_within
    assert check.batch_sizes == (1, 2)
    assert not check_export(make("plain"), folder / "merged.stablehlo").is_within
    assert not ExportCheck(float("nan"), 1.0, (1,), "cpu").is_within
    assert check_export(make("umt texts"), folder / "umt texts.stablehlo").is_within
    half = check_export(make("half"), folder / "half.stablehlo")
    assert half.is_within
    assert half.batch_sizes == (3,)


class Curious:
    """Asks how many clips there are."""

    def __call__(self, evidence, *, r, num_protected):
        assert evidence.features.shape[0] < 100
        return METHODS["tome"].choose(evidence, r=r, num_protected=num_protected)


def test_a_method_that_must_know_the_batch_size_is_told_so():
    method = dataclasses.replace(METHODS["tome"], name="curious", choose=Curious())
    model = make("plain").with_schedule("6,3", method=method)
    with pytest.raises(ValueError, match="must not ask how large the batch is; 6,3 by curious does; give a batch_size"):
        export_model(model)
    assert export_model(model, batch_size=2).program.in_avals[0].shape[0] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "embedding"}, "this model gives logits, pooled, tokens, size; got 'embedding'"),
        ({"output": ()}, "got 0 with 0 names; take of these, each once"),
        ({"output": ("logits", "logits")}, "got 2 with 1 names"),
        ({"platforms": ("cpu", "metal")}, "platforms are cpu, cuda, rocm, tpu; got 'metal'"),
        ({"platforms": ()}, "got 0 with 0 names"),
        ({"batch_size": 0}, "batch_size is at least 1; got 0"),
        ({"input_dtype": "int8"}, "the input is float32 or uint8; got 'int8'"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        export_model(make("plain"), **options)


def test_what_does_not_go_together_is_refused(monkeypatch):
    texts = make("umt texts")
    with pytest.raises(ValueError, match="texts and videos are two programs; got embedding, text_embedding together"):
        export_model(texts, output=("embedding", "text_embedding"))
    with pytest.raises(ValueError, match="uint8 is for pixels; text_embedding reads numbers of words"):
        export_model(texts, output="text_embedding", input_dtype="uint8")
    plain = make("plain")
    spread = VideoModel(plain.weights, plain.config, preprocessing=plain.preprocessing, mesh=make_mesh())
    with pytest.raises(ValueError, match="a model on one device is needed; this one is spread over 1"):
        export_model(spread)
    monkeypatch.setattr(stablehlo, "_MOST_BYTES_INSIDE", 1000)
    with pytest.raises(ValueError, match="put them beside the program"):
        export_model(make("plain"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'vidtldr-jax\[export\]'"):
        export_model(make("plain"))
