"""hf://: a small local server stands for the hub; missing, private, gated and unreachable ones say so in a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import ConversionError, convert_checkpoint, open_source
from checkpoints_convert.export import make_state_dict
from checkpoints_convert.families import FAMILIES
from tests.reference.files import find_golden, require_module
from tests.reference.hub_calls import run_command_with_hub, run_with_hub
from tests.reference.hub_server import COMMIT, Hub
from vidtldr_jax.inference.checkpoint import CheckpointError, find_param_shapes, read_checkpoint
from vidtldr_jax.inference.hub import parse_place
from vidtldr_jax.models.config import VideoViTConfig

require_module("huggingface_hub")

_VIT = VideoViTConfig(
    num_frames=4, image_size=32, patch_size=8, tubelet_size=2, dim=24, depth=2, num_heads=4, mlp_dim=48, num_classes=3,
    pool_norm=True,
)  # fmt: skip
_CONFIG = {"num_attention_heads": 4, "num_frames": 4, "image_size": 32, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
_PROCESSOR = {
    "size": {"shortest_edge": 36},
    "crop_size": {"height": 32, "width": 32},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def make_state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    params = {path: rng.normal(size=shape).astype(np.float32) for path, shape in find_param_shapes(_VIT).items()}
    return make_state_dict(params, _VIT, FAMILIES["huggingface_videomae"])[0]


def make_repositories() -> dict[str, Any]:
    state = make_state()
    beside = {
        "config.json": json.dumps(_CONFIG).encode(),
        "preprocessor_config.json": json.dumps(_PROCESSOR).encode(),
        "README.md": b"# made up",
    }
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    where = {key: names[number % 2] for number, key in enumerate(state)}
    shards = {name: safetensors.numpy.save({key: state[key] for key in state if where[key] == name}) for name in names}
    index = json.dumps({"metadata": {}, "weight_map": where}).encode()
    return {
        "lab/whole": {**beside, "model.safetensors": safetensors.numpy.save(state)},
        "lab/shards": {**beside, "model.safetensors.index.json": index, **shards},
        "lab/one-lost": {**beside, "model.safetensors.index.json": index, names[0]: shards[names[0]]},
        "lab/adapters": {**beside, "model.safetensors": b"", "adapter_config.json": b"{}"},
        "lab/other-names": {"README.md": b"", "weights/best.safetensors": safetensors.numpy.save(state)},
        "lab/gated": "gated",
        "lab/private": "private",
        "lab/broken": "broken",
        "lab/odd": "odd",
    }


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub(make_repositories()).serve() as hub:
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def convert(hub: Hub, home: Path, *words: Any, **environment: str) -> tuple[int, str, str]:
    return run_command_with_hub("convert", *words, endpoint=hub.address, home=home, **environment)


def test_an_address_has_an_owner_a_name_a_revision_and_a_file():
    assert parse_place("hf://a/b") == ("a/b", None, None)
    assert parse_place("hf://a/b@v1.0/") == ("a/b", "v1.0", None)
    assert parse_place("hf://a.b/c-d_e@main/folder/file.pth") == ("a.b/c-d_e", "main", "folder/file.pth")
    for text in ("hf://a", "hf://", "hf:///b", "hf://a/b@", "hf://a /b"):
        with pytest.raises(CheckpointError, match="a place on a hub is hf://owner/name"):
            parse_place(text)
        with pytest.raises(ConversionError, match="a place on a hub is hf://owner/name"):
            open_source(text)


@pytest.mark.parametrize("address", ["hf://lab/whole", "hf://lab/shards", f"hf://lab/whole@{COMMIT}"])
def test_a_repository_converts_like_its_folder(hub: Hub, home: Path, tmp_path: Path, address: str):
    code, out, err = convert(hub, home, address, tmp_path / "model", "--json")
    assert (code, err.count("error")) == (0, 0), err
    report = json.loads(out)
    assert (report["source"], report["family"]) == (address, "huggingface_videomae")
    assert report["preprocessing"]["shortest_edge"] == 36

    folder = tmp_path / "local"
    folder.mkdir()
    for name, body in hub.repositories["lab/whole"].items():
        (folder / name).write_bytes(body)
    convert_checkpoint(folder, tmp_path / "same")
    fetched, same = (read_checkpoint(tmp_path / name) for name in ("model", "same"))
    assert fetched.config == same.config
    assert all(np.array_equal(value, same.params[path]) for path, value in fetched.params.items())
    assert not any(name == "/lab/whole/resolve/main/README.md" for _, name in hub.requests), "only what is needed"


def test_a_file_is_named_behind_the_repository_and_a_repository_without_weights_lists_its_files(
    hub: Hub, home: Path, tmp_path: Path
):
    code, _, err = convert(hub, home, "hf://lab/other-names", tmp_path / "model")
    assert code == 1
    assert "it has README.md, weights/best.safetensors; name the file that holds the weights" in err
    facts = "heads=4 frames=4 image_size=32 gelu=exact norm_eps=1e-12 mean=0.5,0.5,0.5 std=0.5,0.5,0.5"
    settings = [word for fact in facts.split() for word in ("--set", fact)]
    address = "hf://lab/other-names/weights/best.safetensors"
    code, out, err = convert(hub, home, address, tmp_path / "model", "--json", *settings)
    assert code == 0, err
    assert json.loads(out)["source"] == address


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://lab/nothing", "there is no hf://lab/nothing, or it is private; check owner and name"),
        ("hf://lab/private", "or it is private; check owner and name; for a private one set HF_TOKEN"),
        ("hf://lab/gated", "hf://lab/gated wants its terms accepted"),
        ("hf://lab/whole@v9", "hf://lab/whole has no revision v9"),
        ("hf://lab/whole/no.pth", "hf://lab/whole/no.pth has no no.pth; it has config.json"),
        ("hf://lab/one-lost", "lists model-00002-of-00002.safetensors but does not have it; tell its owner"),
        ("hf://lab/adapters", "hf://lab/adapters has adapter_config.json; merge them with PEFT's merge_and_unload()"),
        ("hf://lab/odd", "a hub answers as huggingface_hub expects; got what it can't read from http://127.0.0.1:"),
        ("hf://lab/odd/x.pth", "for hf://lab/odd (ValueError: Invalid pointer path"),
        ("hf://-lab/x", "the owner '-lab' is not of 1 to 96 letters, digits and single - _ . between them"),
    ],
)
def test_what_can_not_be_had_is_one_line(hub: Hub, home: Path, tmp_path: Path, address: str, message: str):
    code, out, err = convert(hub, home, address, tmp_path / "model")
    assert (code, out) == (1, "")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in err
    assert not (tmp_path / "model").exists()


def test_without_a_network_the_cache_serves_and_what_is_not_in_it_says_so(hub: Hub, tmp_path: Path):
    assert convert(hub, tmp_path / "home", "hf://lab/whole", tmp_path / "first")[0] == 0
    assert convert(hub, tmp_path / "home", "hf://lab/whole", tmp_path / "again", HF_HUB_OFFLINE="1")[0] == 0
    code, _, err = convert(hub, tmp_path / "home", "hf://lab/shards", tmp_path / "other", HF_HUB_OFFLINE="1")
    assert code == 1
    assert "error: hf://lab/shards is not in the cache and HF_HUB_OFFLINE is set" in err
    closed = {"endpoint": "http://127.0.0.1:9", "home": tmp_path / "home"}
    code, _, err = run_command_with_hub("convert", "hf://lab/shards", tmp_path / "other", **closed)
    assert code == 1
    assert "error: http://127.0.0.1:9 can't be reached and hf://lab/shards is not in the cache" in err


def test_a_converted_checkpoint_is_loaded_from_a_hub(hub: Hub, home: Path, tmp_path: Path):
    assert convert(hub, home, "hf://lab/whole", tmp_path / "model")[0] == 0
    ours = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    code = """
from vidtldr_jax.inference.checkpoint import CheckpointError
from vidtldr_jax.inference.load import load_model
print(load_model("hf://lab/ours").config.dim)
try:
    load_model("hf://lab/whole")
except CheckpointError as error:
    print(error)
"""
    hub.repositories["lab/ours"] = ours
    status, out, err = run_with_hub(code, endpoint=hub.address, home=home)
    assert status == 0, err
    assert out.splitlines()[0] == "24"
    assert "convert" in out.splitlines()[1]
    # Without a network: the cache remembers, too, which files the repository has not.
    status, out, err = run_command_with_hub(
        "info", "hf://lab/ours", endpoint=hub.address, home=home, HF_HUB_OFFLINE="1"
    )
    assert "checkpoint, family videomae" in out, err
    status, out, err = convert(hub, home, "hf://lab/ours", tmp_path / "twice")
    assert status == 1
    assert "is converted already; load it as it is" in err


def test_a_tokenizer_comes_from_a_hub_alone_or_with_its_model(hub: Hub, home: Path, tmp_path: Path):
    words = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"word{number}" for number in range(76))])
    (tmp_path / "vocab.txt").write_text(words)
    source, settings = find_golden("umt_retrieval.pth"), {"text_heads": 4}
    convert_checkpoint(source, tmp_path / "ours", settings=settings, tokenizer=tmp_path / "vocab.txt")
    stored = (tmp_path / "ours" / "tokenizer.json").read_bytes()
    hub.repositories["lab/both"] = {"tokenizer.json": stored, "vocab.txt": b"not asked for"}
    hub.repositories["lab/vocabulary"] = {"vocab.txt": words.encode()}
    hub.repositories["lab/neither"] = {"README.md": b""}
    hub.repositories["lab/reads"] = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    code = f"""
import json
from click.testing import CliRunner
from vidtldr_jax.cli.main import cli
from vidtldr_jax.inference.load import load_model
for number, place in enumerate(("both", "vocabulary", "vocabulary/vocab.txt", "neither", "both/none.json")):
    words = ["--set", "text_heads=4", "--tokenizer", "hf://lab/" + place, "--json"]
    result = CliRunner().invoke(cli, ["convert", {str(source)!r}, f"{tmp_path}/{{number}}", *words])
    print(result.exit_code, *result.stderr.splitlines())
print(load_model("hf://lab/reads").tokenize(["Word3!"], max_tokens=8).ids.tolist())
"""
    status, out, err = run_with_hub(code, endpoint=hub.address, home=home)
    assert status == 0, err
    assert out.splitlines() == [
        "0", "0", "0",
        "1 error: hf://lab/neither has no tokenizer.json or vocab.txt; name another repository or a file.",
        "1 error: hf://lab/both/none.json has no none.json; name another repository or a file.",
        "[[2, 7, 3, 0, 0, 0, 0, 0]]",
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "ours", "vocab.txt"]
    assert {(tmp_path / name / "tokenizer.json").read_bytes() for name in "012"} == {stored}
    assert ("GET", "/lab/both/resolve/main/vocab.txt") not in hub.requests
