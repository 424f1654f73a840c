"""The checkpoint folder: there and back, one fault at a time, and nothing lost."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference import CheckpointError, read_checkpoint, save_checkpoint
from vidtldr_jax.inference.checkpoint import find_param_shapes, flatten_params
from vidtldr_jax.models import VideoViT, VideoViTConfig

CONFIG = VideoViTConfig(
    num_frames=4, image_size=16, patch_size=8, tubelet_size=2, dim=8, depth=2, num_heads=2, mlp_dim=16, num_classes=3
)
PREPROCESSING = Preprocessing(num_frames=4, image_size=16)


def make_params(config=CONFIG):
    rng = np.random.default_rng(0)
    return {path: rng.normal(size=shape).astype(np.float32) for path, shape in find_param_shapes(config).items()}


def save(folder, **changes):
    kwargs = {"params": make_params(), "config": CONFIG, "preprocessing": PREPROCESSING, "labels": ["a", "b", "c"]}
    return save_checkpoint(folder, **(kwargs | changes))


def edit_config(folder: Path, **changes):
    path = folder / "config.json"
    description = json.loads(path.read_text())
    description.update(changes)
    if isinstance(description.get("digests"), dict) and "digests" not in changes:
        description["digests"]["config.json"] = None
    path.write_text(json.dumps({key: value for key, value in description.items() if value is not ...}))


def test_a_saved_checkpoint_comes_back_the_same(tmp_path):
    folder = save(tmp_path / "model", source={"name": "weights.pth", "sha256": "0" * 64})
    stored = read_checkpoint(folder)
    assert stored.config == CONFIG
    assert stored.preprocessing == PREPROCESSING
    assert stored.labels == ["a", "b", "c"]
    assert stored.source == {"name": "weights.pth", "sha256": "0" * 64}
    assert stored.params.keys() == make_params().keys()
    for path, value in make_params().items():
        np.testing.assert_array_equal(stored.params[path], value)


def test_others_may_read_a_saved_checkpoint(tmp_path):
    folder = save(tmp_path / "model")
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "model.safetensors")] == [0o755, 0o644]


def test_nested_parameters_are_stored_flat(tmp_path):
    variables = jax.jit(VideoViT(CONFIG).init)(jax.random.key(0), jnp.zeros((1, 4, 16, 16, 3)))
    stored = read_checkpoint(save(tmp_path / "model", params=variables["params"]))
    expected = flatten_params(variables["params"])
    assert stored.params.keys() == expected.keys()
    np.testing.assert_array_equal(stored.params["head/kernel"], expected["head/kernel"])


def test_transposed_arrays_keep_their_values(tmp_path):
    params = make_params()
    params["head/kernel"] = np.asfortranarray(params["head/kernel"])
    stored = read_checkpoint(save(tmp_path / "model", params=params))
    np.testing.assert_array_equal(stored.params["head/kernel"], params["head/kernel"])


def test_all_parameter_faults_are_named_together_and_nothing_is_written(tmp_path):
    params = make_params()
    params["head/kernal"] = params.pop("head/kernel")
    params["patch_embed/bias"] = np.zeros(9, np.float32)
    with pytest.raises(CheckpointError) as error:
        save(tmp_path / "model", params=params)
    message = str(error.value)
    assert "missing head/kernel (8, 3)" in message
    assert "unknown head/kernal (nearest: head/kernel)" in message
    assert "patch_embed/bias is (9,), not (8,)" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_a_checkpoint_and_leaves_nothing_beside_it(tmp_path):
    folder = save(tmp_path / "model")
    save(folder, labels=["x", "y", "z"])
    assert read_checkpoint(folder).labels == ["x", "y", "z"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_tokenizer_lies_beside_the_weights_and_is_replaced_with_them(tmp_path):
    folder = save(tmp_path / "model", tokenizer='{"ü": 1}\n')
    assert read_checkpoint(folder).tokenizer == '{"ü": 1}\n'
    save(folder, tokenizer="{}")
    assert read_checkpoint(folder).tokenizer == "{}"
    (folder / "notes.txt").write_text("")
    with pytest.raises(CheckpointError, match="or has other files in it; nothing was written"):
        save(folder)
    (folder / "notes.txt").unlink()
    save(folder)
    assert read_checkpoint(folder).tokenizer is None
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_tokenizer_alone_makes_no_folder_ours(tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="exists and is no checkpoint folder"):
        save(tmp_path / "words")


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    folder = save(tmp_path / "model")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("vidtldr_jax.inference.checkpoint.write_safetensors", fail)
    with pytest.raises(OSError, match="disk full"):
        save(folder, labels=["x", "y", "z"])
    assert read_checkpoint(folder).labels == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"exists and is no checkpoint folder .*; nothing was written"):
        save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


def test_the_number_of_labels_is_checked(tmp_path):
    with pytest.raises(CheckpointError, match="one label for each of 3 classes; got 2"):
        save(tmp_path / "model", labels=["a", "b"])


def test_an_unknown_family_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"families are umt, videomae, video_vit, .*; got 'resnet'"):
        save(tmp_path / "model", family="resnet")


def test_a_missing_folder_says_what_a_checkpoint_is(tmp_path):
    with pytest.raises(CheckpointError, match=r"a folder with model.safetensors and config.json; there is no folder"):
        read_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "has no config.json"),
        ("config.json", b"{", "is not JSON"),
        ("config.json", b"\xff\xfe", "is not JSON"),
        ("config.json", b"[]", "another program's config"),
        ("config.json", b'{"model_type": "videomae"}', "another program's config"),
        ("model.safetensors", None, "has no model.safetensors"),
        ("model.safetensors", b"", "is damaged"),
        ("model.safetensors", b"not weights at all", "is damaged"),
        ("tokenizer.json", b"\xff\xfe", "tokenizer.json is damaged .*; put the model's own there"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    folder = save(tmp_path / "model")
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(folder)
    assert "\n" not in str(error.value)


def test_truncated_weights_are_refused(tmp_path):
    folder = save(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint(folder)


def test_an_unknown_format_is_refused(tmp_path):
    folder = save(tmp_path / "model")
    edit_config(folder, format=99)
    with pytest.raises(CheckpointError, match="formats 1 and 2 are read"):
        read_checkpoint(folder)


def test_an_unknown_architecture_field_gets_the_nearest_name(tmp_path):
    folder = save(tmp_path / "model")
    architecture = CONFIG.to_dict()
    architecture["num_head"] = architecture.pop("num_heads")
    edit_config(folder, architecture=architecture)
    with pytest.raises(
        CheckpointError, match=r"unknown field 'num_head' \(did you mean 'num_heads'\?\); missing field"
    ):
        read_checkpoint(folder)


def test_weights_of_another_architecture_are_refused(tmp_path):
    folder = save(tmp_path / "model")
    edit_config(folder, architecture=CONFIG.to_dict() | {"num_classes": 4}, labels=None)
    fault = r"the parameters don't fit the architecture: .*head/bias is \(3,\), not \(4,\)"
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(folder / 'model.safetensors'))}: {fault}"):
        read_checkpoint(folder)
