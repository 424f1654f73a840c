"""The parts of an export belong together: any other part, a flipped bit or a stopped writer is found."""

import json
import os
import random
import re
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest

from tests.inference.test_checkpoint import CONFIG, PREPROCESSING, make_params
from vidtldr_jax.export import savedmodel
from vidtldr_jax.export.files import ExportError, open_export, verify_export
from vidtldr_jax.export.savedmodel import DESCRIPTION, export_savedmodel
from vidtldr_jax.export.stablehlo import ExportedModel, save_export
from vidtldr_jax.inference.model import VideoModel

DESCRIBED = {
    "format": 2, "kind": "stablehlo", "inputs": [{"name": "video", "shape": ["b", 4], "dtype": "float32"}],
    "outputs": [{"name": "logits", "shape": ["b", 3], "dtype": "float32"}], "is_dict": False, "platforms": ["cpu"],
    "preprocessing": {"mean": [0.5, 0.5, 0.5]}, "labels": ["a", "b", "ü"],
}  # fmt: skip


class Program:
    """Stands for what JAX made; a number says which run it is of."""

    def __init__(self, number):
        self.number = number

    def serialize(self):
        return bytearray([self.number] * 64)


def make(number=1, *, is_beside=True):
    weights = {"a": np.full(5, number, np.float32), "b": np.zeros((), np.float32)} if is_beside else {}
    return ExportedModel(Program(number), DESCRIBED | {"weights": "beside" if is_beside else "inside"}, weights)


@pytest.fixture
def place(tmp_path):
    return save_export(make(), tmp_path / "m.stablehlo")


def flip_each(path, check, expected, *, seed=0):
    """Flips a bit of each byte of a file; returns how many flips changed nothing."""
    data, rng, num_harmless = path.read_bytes(), random.Random(seed), 0
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            found = check()
        except ExportError:
            continue
        assert found == expected, at
        num_harmless += 1
    path.write_bytes(data)
    return num_harmless


def read_plain(place):
    opened = open_export(place)
    weights = {name: value.tobytes() for name, value in opened.weights.items()}
    return opened.description, opened.program, weights


@pytest.mark.parametrize("suffix", ["", ".json", ".safetensors"])
def test_a_flipped_bit_in_any_part_is_refused_or_changes_nothing(place, suffix):
    path = place.with_name(place.name + suffix)
    num_harmless = flip_each(path, lambda: read_plain(place), read_plain(place))
    assert num_harmless < path.stat().st_size / 3 if suffix == ".json" else num_harmless == 0


@pytest.mark.parametrize("suffix", ["", ".json", ".safetensors"])
def test_a_part_of_another_run_is_refused(place, tmp_path, suffix):
    other = save_export(make(2), tmp_path / "other" / place.name)
    os.replace(other.with_name(other.name + suffix), place.with_name(place.name + suffix))
    with pytest.raises(ExportError, match=r"is damaged or not of the run that its sidecar is of: .*; export again"):
        open_export(place)
    found = verify_export(place)
    assert not found.is_sound
    assert len(found.faults) == (2 if suffix == ".json" else 1)


def test_even_equal_weights_of_another_run_are_refused(place, tmp_path):
    other = save_export(make(), tmp_path / "other" / place.name)
    assert other.read_bytes() == place.read_bytes()
    os.replace(f"{other}.safetensors", f"{place}.safetensors")
    with pytest.raises(ExportError, match="it is of another run"):
        open_export(place)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_files_of_a_writer_that_is_stopped_between_them_are_completed_by_their_reader(
    place, monkeypatch, caplog, number
):
    replace, calls = os.replace, []

    def stop(source, target):
        if len(calls) == number:
            raise KeyboardInterrupt
        calls.append(Path(target).suffix)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            save_export(make(2), place, overwrite=True)
    assert len(calls) == number
    opened = open_export(place)
    assert opened.program == bytes([2] * 64)
    assert verify_export(place).is_sound
    assert f"{place} was completed" in caplog.text
    assert sorted(path.name for path in place.parent.iterdir()) == [
        "m.stablehlo", "m.stablehlo.json", "m.stablehlo.safetensors",
    ]  # fmt: skip


def test_a_sound_export_is_counted_and_one_without_its_digests_is_noted(place, caplog):
    assert verify_export(place) == ("export", 3, (), ())
    description = json.loads(Path(f"{place}.json").read_text())
    older = {name: value for name, value in description.items() if name not in ("run", "digest")} | {"format": 1}
    Path(f"{place}.json").write_text(json.dumps(older))
    save_export(make(is_beside=False), place.with_name("inside"))
    assert verify_export(place.with_name("inside")) == ("export", 2, (), ())
    found = verify_export(place)
    assert not found.is_sound, "weights that name a run that their sidecar does not"
    (note,) = found.notes
    assert "of a version before digests of all parts" in note
    inside = place.with_name("inside.json")
    older = {name: value for name, value in json.loads(inside.read_text()).items() if name not in ("run", "digest")}
    inside.write_text(json.dumps(older | {"format": 1}))
    caplog.clear()
    assert open_export(inside.with_suffix("")).program == bytes([1] * 64)
    assert caplog.messages == list(verify_export(inside.with_suffix("")).notes)


def test_weights_of_a_program_that_is_replaced_by_one_with_its_own_are_removed(place):
    save_export(make(is_beside=False), place, overwrite=True)
    assert sorted(path.name for path in place.parent.iterdir()) == ["m.stablehlo", "m.stablehlo.json"]
    Path(f"{place}.safetensors").write_text("somebody else's")
    save_export(make(is_beside=False), place, overwrite=True)
    assert Path(f"{place}.safetensors").read_text() == "somebody else's"


def test_the_comparison_can_be_left_out(place, monkeypatch):
    place.write_bytes(b"other")
    monkeypatch.setenv("VIDTLDR_CHECK_DIGESTS", "0")
    assert open_export(place).program == b"other"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": 3}, "describes no export: Expected `array`, got `int` - at `$.inputs`"),
        ({"kind": "onnx"}, "describes no export: Invalid enum value 'onnx'"),
        ({"format": 3}, "describes no export: "),
        ({"file": None}, "describes no export: "),
        ({"file": "../m.stablehlo"}, "is of '../m.stablehlo', not of 'm.stablehlo'"),
        ({"weights_file": "../../etc/passwd"}, "names other weights than m.stablehlo.safetensors"),
        ({"kind": "savedmodel"}, "describes no program"),
        ({"sha256": ..., "file": ...}, "describes an export without file, sha256; export again"),
        ({"digest": ...}, "describes an export without digest; export again"),
        ({"inputs": []}, "describes no export: Expected `array` of length >= 1 - at `$.inputs`"),
        ({"inputs": [{"name": "v", "shape": ["b"], "dtype": "uint8"}]}, "Invalid enum value 'v'"),
        ({"inputs": [{"name": "video", "shape": [], "dtype": "uint8"}]}, "of length >= 1 - at `$.inputs[0].shape`"),
        ({"inputs": [{"name": "video", "shape": [0], "dtype": "uint8"}]}, "Expected `int` >= 1"),
        ({"inputs": [{"name": "video", "shape": ["b"], "dtype": "x"}]}, "Invalid enum value 'x'"),
        ({"outputs": []}, "Expected `array` of length >= 1 - at `$.outputs`"),
        ({"platforms": ["gpu"]}, "Invalid enum value 'gpu'"),
    ],
)
def test_a_sidecar_of_something_else_is_one_line(place, monkeypatch, changes, message):
    sidecar = Path(f"{place}.json")
    description = json.loads(sidecar.read_text()) | changes
    sidecar.write_text(json.dumps({name: value for name, value in description.items() if value is not ...}))
    monkeypatch.setenv("VIDTLDR_CHECK_DIGESTS", "0")  # what is checked even then
    with pytest.raises(ExportError, match=re.escape(message)) as error:
        open_export(place)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"{", b"[" * 10**5, b"[]", b"\xff"])
def test_a_damaged_sidecar_is_one_line(place, content):
    sidecar = Path(f"{place}.json")
    sidecar.unlink() if content is None else sidecar.write_bytes(content)
    with pytest.raises(ExportError, match=r"m\.stablehlo\.json"):
        open_export(place)
    assert len(verify_export(place).faults) == 1


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """What `export_savedmodel` writes where TensorFlow is a stand-in."""

    def save(folder, *_, **__):
        (folder / "variables").mkdir()
        for name in ("saved_model.pb", "variables/variables.index"):
            (folder / name).write_bytes(os.urandom(20))

    monkeypatch.setattr(savedmodel.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(savedmodel, "_save", save)
    monkeypatch.setattr(savedmodel, "_try", lambda *_: None)
    jaxtyping.config.update("jaxtyping_disable", True)
    model = VideoModel(make_params(), CONFIG, preprocessing=PREPROCESSING, labels=["a", "b", "c"])
    yield lambda name, **options: export_savedmodel(model, tmp_path / name, **options) and tmp_path / name
    jaxtyping.config.update("jaxtyping_disable", False)


def test_a_folder_for_tensorflow_has_the_digest_of_each_file(saved, tmp_path):
    folder, other = saved("m"), saved("other")
    assert verify_export(folder) == ("export", 3, (), ())
    description = json.loads((folder / DESCRIPTION).read_text())
    assert set(description["files"]) == {"saved_model.pb", "variables/variables.index"}
    assert open_export(folder).description == description
    assert flip_each(folder / "saved_model.pb", lambda: open_export(folder), None) == 0
    for change, message in (
        (lambda: os.replace(other / "saved_model.pb", folder / "saved_model.pb"), "saved_model.pb is damaged or of an"),
        (lambda: (folder / "variables" / "more").write_text(""), "variables/more is of another run"),
        (lambda: (folder / "saved_model.pb").unlink(), "saved_model.pb is missing"),
    ):
        change()
        with pytest.raises(ExportError, match=message):
            open_export(folder)
    saved("m", overwrite=True)
    assert verify_export(folder).is_sound
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "other"]


def test_the_recipe_of_the_page_finds_what_does_not_belong_to_a_folder(saved, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    (recipe,) = re.findall(r"```python\n(import hashlib[^`]*saved_model/[^`]*)```", page)
    recipe = recipe[: recipe.index("import tensorflow")]
    folder = saved("saved_model")
    monkeypatch.chdir(tmp_path)
    exec(recipe, {})
    (folder / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(SystemExit, match=r"saved_model\.pb is damaged"):
        exec(recipe, {})


def test_a_real_program_is_never_given_to_jax_before_its_digest_fits(tmp_path, monkeypatch):
    from vidtldr_jax.export.check import check_export

    place = save_export(make(is_beside=False), tmp_path / "m")
    place.write_bytes(b"damaged")
    monkeypatch.setattr(jax.export, "deserialize", lambda *_: pytest.fail("a damaged program may end the process"))
    with pytest.raises(ExportError, match="is damaged"):
        check_export(None, place)
