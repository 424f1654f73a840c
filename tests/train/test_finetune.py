"""Whole runs: 16 clips learnt by heart, goes on to the bit, a probe reads every video once, refusals by name."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

from tests.train.squares import LABELS, PREPROCESSING, make_params, make_videos, save_tiny
from vidtldr_jax.data.clip import read_clips
from vidtldr_jax.data.manifest import read_manifest
from vidtldr_jax.inference import load_model, save_checkpoint
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.train import Recipe, TrainError, finetune, loop, prepare
from vidtldr_jax.train.metrics import MetricsLog

PROBE = {"probe": True, "random_time": False, "steps": 6, "batch_size": 4, "learning_rate": 0.05, "warmup": 0.0}
BY_HEART = Recipe(
    steps=60, batch_size=16, learning_rate=5e-3, layer_decay=1.0, random_time=False, schedule="2,1", evaluate_every=20
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, 16 training and 8 validation videos."""
    folder = tmp_path_factory.mktemp("place")
    save_tiny(folder / "model")
    make_videos(folder, 4)
    make_videos(folder, 2, name="val", seed=1)
    return folder


def prepare_run(place, recipe, **options):
    return prepare(place / "model", place / "train.csv", recipe, val=place / "val.csv", **options)


def read_metrics(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def test_sixteen_clips_are_learnt_by_heart_with_merging(place, tmp_path, monkeypatch):
    evaluated, encode = [], loop.encode_entries

    def spy(model, entries, **options):
        evaluated.append(model.schedule.text)
        return encode(model, entries, **options)

    monkeypatch.setattr(loop, "encode_entries", spy)
    setup = prepare(place / "model", place / "train.csv", BY_HEART, val=place / "train.csv")
    assert len(setup.train) == 16
    assert "16 of 16 validation videos are trained on too" in setup.notes[0]
    result = finetune(setup, tmp_path / "run")
    assert result["val_before"]["accuracy"] < 0.6
    assert (result["val"]["right"], result["val"]["of"]) == (16, 16)
    assert result["train"]["accuracy"] == 1.0
    assert result["schedule"] == "2,1"
    assert evaluated == ["2,1"] * 4  # before the first step, and three times after
    # What was written says the same when a user loads it.
    model = load_model(result["model"], schedule="2,1")
    assert model.labels == LABELS
    entries = read_manifest(place / "train.csv", class_names=[LABELS])
    clips = np.concatenate([read_clips(entry.path, model.preprocessing) for entry in entries])
    answers = np.asarray(model.classify(clips)).argmax(-1)
    assert answers.tolist() == [entry.labels[0] for entry in entries]
    assert model.source["started_from"] == {}
    assert model.source["run"]["recipe"]["steps"] == 60


def test_a_run_that_was_broken_off_goes_on_to_the_bit(place, tmp_path, monkeypatch):
    recipe = Recipe(**PROBE | {"evaluate_every": 2, "keep": "best"})
    setup = prepare_run(place, recipe)
    whole = finetune(setup, tmp_path / "whole", save_every=1)
    for last in (1, 2, 4, 5):
        seen, append = [], MetricsLog.append

        def break_off(log, kind, step, values, append=append, last=last):
            if kind == "step" and step > last:
                raise KeyboardInterrupt
            append(log, kind, step, values)

        with monkeypatch.context() as patch:
            patch.setattr(MetricsLog, "append", break_off)
            with pytest.raises(KeyboardInterrupt):
                finetune(setup, tmp_path / "broken", save_every=1)
    result = finetune(setup, tmp_path / "broken", save_every=1, tell=seen.append)
    assert "goes on from step 5 of 6" in seen
    assert result["resumed_from"] == 5
    assert read_metrics(tmp_path / "broken") == read_metrics(tmp_path / "whole")
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "broken"))
    assert one.read_bytes() == other.read_bytes()
    assert {name: result[name] for name in ("val", "kept_step")} == {name: whole[name] for name in ("val", "kept_step")}
    # Only the newest and the best state are kept, and a run that is through says the same again.
    kept = sorted(int(path.name) for path in (tmp_path / "whole" / "checkpoints").iterdir())
    assert kept == sorted({6, whole["kept_step"]})
    assert finetune(setup, tmp_path / "whole")["val"] == whole["val"]


def test_a_run_with_dropout_that_was_broken_off_goes_on_to_the_bit(place, tmp_path, monkeypatch):
    recipe = Recipe(
        steps=3, batch_size=4, dropout=0.2, attention_dropout=0.1, drop_path=0.3, head_dropout=0.2, remat=True,
        schedule="2,1",
    )  # fmt: skip
    setup = prepare(place / "model", place / "train.csv", recipe)
    finetune(setup, tmp_path / "whole")
    append = MetricsLog.append

    def break_off(log, kind, step, values):
        if step > 1:
            raise KeyboardInterrupt
        append(log, kind, step, values)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", break_off)
        with pytest.raises(KeyboardInterrupt):
            finetune(setup, tmp_path / "broken", save_every=1)
    assert finetune(setup, tmp_path / "broken")["resumed_from"] == 1
    assert read_metrics(tmp_path / "broken") == read_metrics(tmp_path / "whole")
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "broken"))
    assert one.read_bytes() == other.read_bytes()
    # Rates belong to training: the checkpoint's architecture has none.
    assert "dropout" not in (tmp_path / "whole" / "model" / "config.json").read_text().partition('"source"')[0]


def test_a_probe_leaves_the_encoder_to_the_bit_and_encodes_every_video_once(place, tmp_path, monkeypatch):
    encoded, encode = [], loop.encode_entries

    def spy(model, entries, **options):
        encoded.extend(entry.name for entry in entries)
        return encode(model, entries, **options)

    monkeypatch.setattr(loop, "encode_entries", spy)
    setup = prepare_run(place, Recipe(**PROBE | {"evaluate_every": 2}))
    result = finetune(setup, tmp_path / "run")
    assert len(encoded) == len(set(encoded)) == 24
    found = safetensors.numpy.load_file(tmp_path / "run" / "model" / "model.safetensors")
    start = make_params()
    changed = {path for path in start if not np.array_equal(found[path], start[path])}
    assert changed == {"head/kernel", "head/bias"}
    # The features' logits are the model's.
    model = load_model(result["model"])
    entries = read_manifest(place / "val.csv", class_names=[LABELS])
    clips = np.concatenate([read_clips(entry.path, model.preprocessing) for entry in entries])
    right = (np.asarray(model.classify(clips)).argmax(-1) == [entry.labels[0] for entry in entries]).sum()
    assert result["val"]["right"] == right


def test_another_recipe_model_or_list_is_refused_with_every_difference(place, tmp_path):
    finetune(prepare_run(place, Recipe(**PROBE)), tmp_path / "run")
    other = tmp_path / "other.csv"
    other.write_text("\n".join((place / "train.csv").read_text().splitlines()[:-4]) + "\n")
    save_tiny(tmp_path / "model", preprocessing=dataclasses.replace(PREPROCESSING, kernel="bicubic"))
    setup = prepare(tmp_path / "model", other, Recipe(**PROBE | {"seed": 2}), val=place / "val.csv", root=place)
    with pytest.raises(TrainError) as caught:
        finetune(setup, tmp_path / "run")
    for difference in ("recipe.seed was 0, now 2", 'preprocessing.kernel was "bilinear", now "bicubic"',
                       "train.count was 16, now 12"):  # fmt: skip
        assert difference in str(caught.value)
    assert "give another place, or --restart to begin anew" in str(caught.value)
    result = finetune(setup, tmp_path / "run", restart=True)
    assert (result["videos"], result["resumed_from"]) == (12, 0)


def test_a_folder_of_something_else_is_left_alone(place, tmp_path):
    setup = prepare_run(place, Recipe(**PROBE))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(TrainError, match=r"has other files and no run.json; give another place"):
        finetune(setup, tmp_path / "mine", restart=True)
    with pytest.raises(TrainError, match="there must be a run to go on with"):
        finetune(setup, tmp_path / "new", must_resume=True)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_few_labels_and_new_classes_give_a_new_classifier_and_say_so(place, tmp_path):
    labels = {"right": "ski", "left": "swim", "down": "ski", "up": "swim"}
    lines = (place / "train.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    listed = tmp_path / "two.csv"
    listed.write_text("\n".join(["path,label", *(f"{path},{labels[label]}" for path, label in rows)]))
    told = []
    with pytest.raises(TrainError, match=r"label is 'ski', no class.*give --new-head"):
        prepare(place / "model", listed, Recipe(**PROBE, few=3), root=place)
    setup = prepare(place / "model", listed, Recipe(**PROBE, few=3, new_head=True), root=place)
    result = finetune(setup, tmp_path / "run", tell=told.append)
    assert "a new classifier of 2 classes is trained" in told
    assert (result["classes"], result["videos"], result["has_new_classifier"]) == (2, 6, True)
    assert result["val"] is None
    assert load_model(result["model"]).labels == ["ski", "swim"]
    chosen = read_manifest(tmp_path / "run" / "train.csv", class_names=[["ski", "swim"]])
    assert [entry.path.name for entry in chosen] == [entry.name for entry in setup.train]


def test_few_labels_of_some_of_the_models_classes_keep_its_classifier(place, tmp_path):
    lines = [line for line in (place / "train.csv").read_text().splitlines() if not line.endswith("up")]
    (tmp_path / "some.csv").write_text("\n".join(lines))
    setup = prepare(place / "model", tmp_path / "some.csv", Recipe(few=2), root=place)
    assert (setup.classes.num_classes, setup.classes.is_new, len(setup.train)) == (4, False, 6)
    assert "1 of 4 classes have no training video: up" in setup.notes


def test_one_number_among_names_leaves_the_classifier_alone(place, tmp_path):
    lines = (place / "train.csv").read_text().replace("train_up_0.mp4,up", "train_up_0.mp4,3")
    (tmp_path / "mixed.csv").write_text(lines)
    setup = prepare(place / "model", tmp_path / "mixed.csv", Recipe(few=2), root=place)
    plain = prepare(place / "model", place / "train.csv", Recipe(few=2))
    assert setup.classes[:3] == (4, tuple(LABELS), False)
    assert np.array_equal(setup.params["head/kernel"], make_params()["head/kernel"])
    assert [entry.labels for entry in setup.train] == [entry.labels for entry in plain.train]


def test_classes_of_one_name_are_trained_by_number_and_the_chosen_list_is_read_again(place, tmp_path):
    names = ["right", "left", "right", "up"]
    save_tiny(tmp_path / "model", labels=names)
    with pytest.raises(TrainError, match=r"label is 'right', the name of classes 0, 2; give the number"):
        prepare(tmp_path / "model", place / "train.csv", Recipe(few=1))
    numbers = {name: str(number) for number, name in enumerate(LABELS)}
    rows = [line.split(",") for line in (place / "train.csv").read_text().splitlines()[1:]]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *(f"{path},{numbers[label]}" for path, label in rows)]))
    setup = prepare(tmp_path / "model", tmp_path / "list.csv", Recipe(**PROBE, few=1), root=place)
    assert "names of several classes, which a list of videos gives by number: 'right' (0, 2)" in setup.notes
    result = finetune(setup, tmp_path / "run")
    assert load_model(result["model"]).labels == names
    again = read_manifest(tmp_path / "run" / "train.csv", class_names=[names])
    assert [entry.labels for entry in again] == [entry.labels for entry in setup.train]


def test_a_vivit_is_probed_with_merging(place, tmp_path):
    config = ViViTConfig(
        num_frames=4, image_size=16, patch_size=8, tubelet_size=2, dim=8, depth=1, num_heads=2, mlp_dim=16,
        attention="factorized_encoder", temporal_depth=1, representation_dim=6,
    )  # fmt: skip
    save_tiny(tmp_path / "vivit", config=config, labels=None, family="vivit")
    recipe = Recipe(**PROBE | {"schedule": "1", "evaluate_every": 6})
    setup = prepare(tmp_path / "vivit", place / "train.csv", recipe, val=place / "val.csv")
    assert setup.notes[0] == "the model has no classifier: a new one of 4 classes is trained"
    result = finetune(setup, tmp_path / "run")
    model = load_model(result["model"], schedule="1")
    assert (model.labels, model.config.num_classes) == (sorted(LABELS), 4)
    entries = read_manifest(place / "val.csv", class_names=[model.labels])
    clips = np.concatenate([read_clips(entry.path, model.preprocessing) for entry in entries])
    right = (np.asarray(model.classify(clips)).argmax(-1) == [entry.labels[0] for entry in entries]).sum()
    assert result["val"]["right"] == right


def test_a_restart_that_was_broken_off_leaves_no_run(place, tmp_path):
    setup = prepare_run(place, Recipe(**PROBE))
    finetune(setup, tmp_path / "run")
    described = (tmp_path / "run" / "run.json").read_text()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"kind": json.loads(described)["kind"], "run": None}))
    (tmp_path / "run" / "checkpoints" / "00000006" / "digests.json").unlink()  # half removed
    assert finetune(setup, tmp_path / "run")["resumed_from"] == 0
    assert (tmp_path / "run" / "run.json").read_text() == described


def test_the_average_of_a_probe_is_what_is_kept(place, tmp_path):
    result = finetune(prepare_run(place, Recipe(**PROBE | {"ema": 0.999})), tmp_path / "run")
    found = safetensors.numpy.load_file(tmp_path / "run" / "model" / "model.safetensors")
    # Six steps at 0.999 stay near the start; the parameters themselves do not.
    moved = np.abs(found["head/kernel"] - make_params()["head/kernel"]).max()
    assert 0 < moved < 0.01
    assert result["kept_step"] == 6


@pytest.mark.parametrize("rows", [["missing.mp4,left", "train_up_0.mp4,up"]])
def test_missing_videos_are_named_before_anything_starts(place, tmp_path, rows):
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.raises(TrainError, match=r"videos must exist; 1 of 2 don't: .*missing.mp4; give --root"):
        prepare(place / "model", tmp_path / "list.csv", Recipe(), root=place)


def test_lists_with_faults_are_refused(place, tmp_path):
    (tmp_path / "empty.csv").write_text("path,label\n")
    with pytest.raises(ValueError, match="it lists no video"):
        prepare(place / "model", tmp_path / "empty.csv", Recipe())
    (tmp_path / "val.csv").write_text("path,label\nval_up_0.mp4,rigth\n")
    with pytest.raises(ValueError, match=r"label is 'rigth', no class .nearest: 'right'."):
        prepare(place / "model", place / "train.csv", Recipe(), val=tmp_path / "val.csv")
    with pytest.raises(ValueError, match=r"these classes have fewer: right .4., left .4., down .4., up .4."):
        prepare(place / "model", place / "train.csv", Recipe(few=5))


def test_what_has_no_place_for_a_classifier_or_merging_is_refused(place, tmp_path):
    with pytest.raises(TrainError, match=r"the schedule must fit the model: .*at most 2 entries for 2 layers"):
        prepare(place / "model", place / "train.csv", Recipe(schedule="1,1,1"))
    config = CLIPConfig(
        encoding="joint", num_frames=4, image_size=16, patch_size=8, dim=8, depth=1, num_heads=2, mlp_dim=16
    )
    save_checkpoint(tmp_path / "clip", params=make_params(config), config=config, preprocessing=PREPROCESSING)
    with pytest.raises(TrainError, match="got CLIP's vision tower, which compares videos with texts"):
        prepare(tmp_path / "clip", place / "train.csv", Recipe())


def test_a_loss_that_is_not_finite_stops_the_run_by_its_step(place, tmp_path):
    recipe = Recipe(**PROBE | {"learning_rate": 1e30, "clip_norm": 0.0})
    with pytest.raises(TrainError, match=r"at step \d the loss was (nan|inf).* take a smaller learning_rate"):
        finetune(prepare_run(place, recipe), tmp_path / "run")
