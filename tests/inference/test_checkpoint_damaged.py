"""A checkpoint folder with a flipped bit or hostile content: refused in one line, or the very same values."""

import dataclasses
import json
import logging
import os
import random

import ml_dtypes
import numpy as np
import pytest

from tests.inference.test_checkpoint import CONFIG, edit_config, make_params, save
from tests.models.test_umt import RETRIEVAL
from vidtldr_jax.inference import CheckpointError, load_model, read_checkpoint
from vidtldr_jax.inference.checkpoint import check_params, find_param_shapes
from vidtldr_jax.inference.checkpoint_check import verify_checkpoint_folder
from vidtldr_jax.inference.finite_weights import is_finite
from vidtldr_jax.models import VideoViTConfig

TOKENIZER = '{"ü": 1, "words": ["a", "b"]}\n'


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model", tokenizer=TOKENIZER, source={"name": "weights.pth", "files": 2})


@pytest.fixture
def older(folder):
    """The folder as a version before digests wrote it."""
    edit_config(folder, format=1, digests=...)
    return folder


def read_refused(folder):
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(folder)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 2000
    return message


def make_plain(stored):
    params = {name: (value.dtype.name, value.shape, value.tobytes()) for name, value in stored.params.items()}
    return stored._replace(params=params)


def choose_bytes(name, data):
    """Every byte of a text; of the weights the header's length, and some of the header and of the numbers."""
    if name != "model.safetensors":
        return range(len(data))
    start, rng = 8 + int.from_bytes(data[:8], "little"), random.Random(0)
    return [*range(9), *rng.sample(range(9, start), 400), *rng.sample(range(start, len(data)), 200)]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_flipped_bit_is_refused_or_changes_nothing(folder, name):
    expected = make_plain(read_checkpoint(folder))
    path, rng = folder / name, random.Random(1)
    data = path.read_bytes()
    num_harmless = 0
    for place in choose_bytes(name, data):
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            found = make_plain(read_checkpoint(folder))
        except CheckpointError:
            continue
        assert found == expected, f"byte {place}"
        num_harmless += 1
    assert num_harmless == 0 if name != "config.json" else num_harmless < len(data) / 3  # spaces alone


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [("mean", "0.485", "0.435"), ("label", '"b"', '"c"'), ("family", "video_vit", "vivit"), ("source", ".pth", ".ptz")],
)
def test_each_field_of_the_config_is_covered(folder, field, old, new):
    text = (folder / "config.json").read_text()
    assert old in text
    (folder / "config.json").write_text(text.replace(old, new, 1))
    message = read_refused(folder)
    assert "config.json is damaged or was changed: its SHA-256 begins with" in message
    assert 'set "config.json" under "digests" in config.json to null' in message


def test_spaces_and_the_order_of_names_are_of_no_meaning(folder):
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(dict(reversed(fields.items())), indent=7, ensure_ascii=True))
    assert read_checkpoint(folder).labels == ["a", "b", "c"]


def flip_number(folder, bit=0):
    """Flips a bit of the last number of the weights."""
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4 + bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_the_comparison_can_be_left_out(folder, monkeypatch, caplog):
    flip_number(folder)
    assert "model.safetensors is damaged or was changed" in read_refused(folder)
    with pytest.raises(CheckpointError, match="is damaged or was changed"):
        load_model(folder)
    read_checkpoint(folder, verify=False)
    load_model(folder, verify=False)
    monkeypatch.setenv("VIDTLDR_CHECK_DIGESTS", "0")
    read_checkpoint(folder)
    assert caplog.text == ""
    with pytest.raises(CheckpointError, match="is damaged or was changed"):
        read_checkpoint(folder, verify=True)
    monkeypatch.setenv("VIDTLDR_CHECK_DIGESTS", "perhaps")
    assert "VIDTLDR_CHECK_DIGESTS is 0" in read_refused(folder)


def test_a_folder_without_digests_is_read_with_a_note(older, caplog):
    with caplog.at_level(logging.WARNING):
        stored = read_checkpoint(older)
    assert stored.labels == ["a", "b", "c"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{older} is of a version before digests, so damage may go unseen; convert it again to have it checked"
    ]


def test_a_file_whose_digest_was_taken_out_is_read_with_a_note(folder, caplog):
    edit_config(folder, labels=["x", "y", "z"])  # takes out that of config.json
    (folder / "tokenizer.json").write_text("{}")
    assert "tokenizer.json is damaged or was changed" in read_refused(folder)
    fields = json.loads((folder / "config.json").read_text())
    edit_config(folder, digests=fields["digests"] | {"tokenizer.json": None})
    assert (read_checkpoint(folder).labels, read_checkpoint(folder).tokenizer) == (["x", "y", "z"], "{}")
    assert f"config.json, tokenizer.json in {folder} have no digest in config.json" in caplog.text


def test_a_tokenizer_that_is_listed_must_be_there_and_one_that_is_not_is_noted(folder, tmp_path, caplog):
    (folder / "tokenizer.json").unlink()
    assert "lists tokenizer.json and has none; get it again" in read_refused(folder)
    other = save(tmp_path / "other")
    (other / "tokenizer.json").write_text("{}")
    assert read_checkpoint(other).tokenizer == "{}"
    assert f"tokenizer.json in {other} has no digest" in caplog.text


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_by_name_when_read_and_when_written(tmp_path, dtype, value):
    params = {name: values.astype(dtype) for name, values in make_params().items()}
    folder = save(tmp_path / "model", params=params)
    edit_config(folder, format=1, digests=...)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-2 * np.dtype(dtype).itemsize : -np.dtype(dtype).itemsize] = np.array(value, dtype).tobytes()
    path.write_bytes(data)
    message = read_refused(folder)
    assert "parameters are finite numbers; " in message
    assert sum(name in message for name in params) == 1

    params["head/kernel"] = params["head/kernel"].copy()
    params["head/kernel"][0, 0] = value
    with pytest.raises(CheckpointError, match="has infinite ones or NaN in head/kernel"):
        save(tmp_path / "new", params=params)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_float64_that_float32_can_not_hold_is_refused_when_read_and_when_written(tmp_path):
    params = {name: values.astype(np.float64) for name, values in make_params().items()}
    folder = save(tmp_path / "model", params=params)
    edit_config(folder, format=1, digests=...)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-16:-8] = np.array(-1e39, np.float64).tobytes()
    path.write_bytes(data)
    message = read_refused(folder)
    assert "has float64 numbers beyond its range in " in message
    assert sum(name in message for name in params) == 1
    assert not verify_checkpoint_folder(folder).is_sound
    with pytest.raises(CheckpointError, match="has float64 numbers beyond its range in head/kernel"):
        save(tmp_path / "new", params=params | {"head/kernel": params["head/kernel"] * 1e40})


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int32, bool])
def test_finite_numbers_are_told_from_others_anywhere(dtype):
    values = np.ones((3, 2**17), dtype)
    assert is_finite(values)
    assert is_finite(values[:0])
    if np.dtype(dtype).kind not in "biu":
        for place in ((0, 0), (2, 2**17 - 1)):
            broken = values.copy()
            broken[place] = -np.inf
            assert not is_finite(broken)
            assert not is_finite(broken.T)


def test_whole_numbers_are_no_parameters(tmp_path):
    params = make_params() | {"head/bias": np.zeros(3, np.int32)}
    with pytest.raises(CheckpointError, match="head/bias has dtype int32 and no floating-point numbers"):
        save(tmp_path / "model", params=params)


HUGE = {"depth": 10**9, "image_size": 8 * 10**6, "num_frames": 4 * 10**6, "dim": 2**20, "mlp_dim": 2**40}


@pytest.mark.parametrize("is_older", [False, True])
@pytest.mark.parametrize("name", HUGE)
def test_an_architecture_beyond_all_models_is_refused_before_memory_or_time_is_spent(folder, name, is_older):
    changes = {"format": 1, "digests": ...} if is_older else {}
    edit_config(folder, architecture=CONFIG.to_dict() | {name: HUGE[name]}, **changes)
    assert "to allow more" in read_refused(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": CONFIG.to_dict() | {"depth": 50}}, "50 blocks have more than 36"),
        ({"architecture": CONFIG.to_dict() | {"num_classes": 0}, "labels": None}, "num_classes = 0 is not a positive"),
        ({"architecture": CONFIG.to_dict() | {"embed_dim": -1}}, "embed_dim = -1 is not a positive int"),
        ({"architecture": CONFIG.to_dict() | {"depth": "2"}}, "architecture.depth: Expected `int`, got `str`"),
        ({"architecture": CONFIG.to_dict() | {"depth": True}}, "architecture.depth: Expected `int`, got `bool`"),
        ({"architecture": CONFIG.to_dict() | {"depth": 2.5}}, "architecture.depth: Expected `int`, got `float`"),
        ({"architecture": CONFIG.to_dict() | {"norm_eps": "x"}}, "architecture.norm_eps: Expected `float`"),
        ({"architecture": CONFIG.to_dict() | {"norm_eps": 1e30}}, "architecture.norm_eps is at most 1; got 1e+30"),
        ({"architecture": CONFIG.to_dict() | {"gelu": ["exact"]}}, "architecture.gelu: Expected `str`, got `array`"),
        (
            {"architecture": CONFIG.to_dict() | {"position_grid": [1, 2]}},
            "position_grid: Expected `array`",
        ),
        ({"architecture": CONFIG.to_dict() | {"position_grid": [0, 2, 2]}}, "position_grid has at least one patch"),
        ({"architecture": CONFIG.to_dict() | {"position_grid": [2**20, 2, 2]}}, "architecture.position_grid may have"),
        ({"architecture": CONFIG.to_dict() | {"name": ["vivit"]}}, "architecture.name is a text, not list"),
        ({"architecture": CONFIG.to_dict() | {"name": "x" * 10**5}}, "architectures are video_vit"),
        ({"architecture": {"name": "umt", "vision": 3}}, "architecture.vision is an object with fields, not int"),
        ({"architecture": {"name": "umt", "vision": {"depth": "x"}}}, "architecture.vision.depth: Expected `int`"),
        ({"architecture": []}, "architecture: Expected `object`, got `array`"),
        ({"preprocessing": None}, "preprocessing: Expected `object`, got `null`"),
        (
            {"preprocessing": {"num_frames": 4, "image_size": 16, "mean": [0, 0]}},
            "mean: Expected `array`",
        ),
        (
            {"preprocessing": {"num_frames": 4, "image_size": 16, "std": [0.5, 1e-30, 1]}},
            "preprocessing.std from",
        ),
        (
            {"preprocessing": {"num_frames": 4, "image_size": 16, "std": [1e308, 0.5, 1]}},
            "preprocessing.std from",
        ),
        (
            {"preprocessing": {"num_frames": 3, "image_size": 16}},
            "preprocessing.num_frames equals the architecture's, 4; got 3",
        ),
        (
            {"preprocessing": {"num_frames": 4, "image_size": 8}},
            "preprocessing.image_size equals the architecture's, 16; got 8",
        ),
        ({"preprocessing": {"num_frames": 4, "image_size": 10**6}}, "VIDTLDR_MAX_CLIP_PIXELS"),
        ({"preprocessing": {"num_frames": 4, "image_size": 16, "num_clips": 10**7}}, "VIDTLDR_MAX_CLIPS"),
        ({"labels": "abc"}, "labels: Expected `array | null`, got `str`"),
        ({"labels": ["a", 1, "c"]}, "labels: Expected `str`, got `int` - at `$[1]`"),
        ({"labels": ["a", "b", "c" * 1001]}, "labels: Expected `str` of length <= 1000 - at `$[2]`"),
        ({"labels": ["a"] * 10**5}, "one label for each of 3 classes; got 100000"),
        ({"family": "resnet" * 10**4}, "families are umt, videomae"),
        ({"family": 3}, "family: Expected `str`, got `int`"),
        ({"source": []}, "source: Expected `object`, got `array`"),
        ({"format": 1.0}, "formats 1 and 2 are read; "),
        ({"format": True}, "formats 1 and 2 are read; "),
        ({"format": [2]}, "formats 1 and 2 are read; "),
        ({"more": {f"field {number}": 1 for number in range(10**4)}}, "another program's config, or a damaged one"),
        ({f"field {number}": 1 for number in range(10**4)}, "... and 9,987 more; this is another program's config"),
    ],
)
def test_a_field_of_another_type_or_size_is_one_line(folder, changes, message):
    edit_config(folder, **changes)
    assert message in read_refused(folder)


@pytest.mark.parametrize(
    ("digests", "message"),
    [
        (None, "digests: Expected `object`"),
        ({}, "digests has config.json, model.safetensors and, where there is one, tokenizer.json; got "),
        ({"config.json": None, "model.safetensors": "0" * 63}, "digests: Expected `str` matching regex"),
        ({"config.json": None, "model.safetensors": "A" * 64}, "digests: Expected `str` matching regex"),
        ({"config.json": None, "model.safetensors": None, "other": None}, "got 'config.json'; 'model.safetensors'; 'o"),
    ],
)
def test_damaged_digests_are_not_taken_for_missing_ones(folder, digests, message):
    fields = json.loads((folder / "config.json").read_text()) | {"digests": digests}
    (folder / "config.json").write_text(json.dumps(fields))
    assert message in read_refused(folder)


def test_nested_and_long_configs_are_refused(folder):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"files": 2', '"files": ' + "[" * 10**5 + "]" * 10**5))
    assert "is not JSON" in read_refused(folder)
    (folder / "config.json").write_text(text + " " * 5 * 2**20)
    assert "set VIDTLDR_MAX_CONFIG_BYTES to allow more" in read_refused(folder)
    (folder / "config.json").write_text(text.replace('"files": 2', '"files": 2, "files": 3'))
    assert "the name 'files' is there twice" in read_refused(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert f"{name} can't be read (a regular file is needed; " in read_refused(folder)


def test_a_header_of_many_tensors_is_refused_by_its_limit(folder, monkeypatch):
    monkeypatch.setenv("VIDTLDR_MAX_TENSORS", "5")
    assert "set VIDTLDR_MAX_TENSORS to allow more" in read_refused(folder)
    monkeypatch.setenv("VIDTLDR_MAX_TENSORS", "100")
    monkeypatch.setenv("VIDTLDR_MAX_HEADER_BYTES", "50")
    assert "set VIDTLDR_MAX_HEADER_BYTES to allow more" in read_refused(folder)


def test_thousands_of_unknown_parameters_are_one_short_line():
    params = {f"block_{number}/{'x' * 500}": np.zeros(1, np.float32) for number in range(20_000)}
    with pytest.raises(CheckpointError, match=r"\.\.\. and 20,016 more; convert the weights again") as error:
        check_params(params, CONFIG)
    assert len(str(error.value)) < 7000


def test_an_architecture_that_fits_no_limit_is_refused_wherever_its_parameters_are_listed():
    config = VideoViTConfig(**CONFIG.to_dict() | {"depth": 10**9})
    with pytest.raises(CheckpointError, match=r"architecture.depth may have at most 64 .*; set VIDTLDR_MAX_DEPTH to"):
        find_param_shapes(config)


def test_a_text_encoder_of_one_position_is_refused():
    config = dataclasses.replace(RETRIEVAL, text=dataclasses.replace(RETRIEVAL.text, max_positions=1))
    with pytest.raises(CheckpointError, match=r"architecture\.text\.max_positions is at least 2; got 1; fix it"):
        find_param_shapes(config)


def test_an_architecture_of_which_no_module_can_be_made_is_one_line(monkeypatch):
    def fail(*_):
        raise TypeError("Only non-negative\n  indices are allowed")

    monkeypatch.setattr("vidtldr_jax.inference.params._trace_param_shapes", fail)
    with pytest.raises(CheckpointError, match=r"no module can be made of the architecture \(Only non-negative indices"):
        find_param_shapes(CONFIG)


def list_places(value, place=()):
    """The place of every value in nested data."""
    yield place
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from list_places(inner, (*place, name))


HOSTILE = [None, True, 0, -1, 2**63, 10**40, 0.5, 1e308, "", "\ud800\x1b[2J", "x" * 10**5, [], [[]] * 3, [-1, 2, 2], {}]


@pytest.mark.parametrize("seed", range(4))
def test_any_value_anywhere_in_a_config_is_refused_in_one_line_or_read(folder, seed):
    text = (folder / "config.json").read_text()
    places = [place for place in list_places(json.loads(text)) if place]
    rng = random.Random(seed)
    for _ in range(100):
        fields = json.loads(text)
        fields["digests"]["config.json"] = None
        *above, last = rng.choice(places)
        inner = fields
        for name in above:
            inner = inner[name]
        inner[last] = rng.choice(HOSTILE)
        (folder / "config.json").write_text(json.dumps(fields))
        try:
            read_checkpoint(folder)
        except CheckpointError as error:
            message = str(error)
        else:
            continue
        assert "\n" not in message
        assert len(message) < 2500
