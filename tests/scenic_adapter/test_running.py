"""The mains as a user starts them, where Scenic is on the path: training, going on, evaluation in several views."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import flax
import numpy as np
import pytest

from checkpoints_convert import convert_checkpoint
from tests.data.making import write_video
from tests.reference.files import find_golden
from tests.scenic_adapter.tiny import get_config
from vidtldr_jax.data.clip import read_clips
from vidtldr_jax.evaluation.metrics import compute_mean_average_precision
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.scenic_adapter.availability import find_scenic_fault
from vidtldr_jax.scenic_adapter.checkpoints import flatten_params, read_checkpoint
from vidtldr_jax.scenic_adapter.settings import read_preprocessing

FAULT = find_scenic_fault()
pytestmark = pytest.mark.skipif(FAULT is not None, reason=f"nothing runs through Scenic: {FAULT}")
CONFIG = Path(__file__).with_name("tiny.py")
LABELS = (0, 3, 1, 7, 3, 5)
# TensorFlow's own warnings and Scenic's come to stderr; only what the main itself makes is looked at.
WRITE_RECORDS = """
import sys, numpy as np, tensorflow as tf
from tests.data.making import draw_frame
folder, labels = sys.argv[1], [int(n) for n in sys.argv[2].split(",")]
with tf.io.TFRecordWriter(f"{folder}/clips.tfrecord") as writer:
    for number, label in enumerate(labels):
        frames = [tf.io.encode_jpeg(draw_frame(5 * number + n, height=40, width=56)).numpy() for n in range(30)]
        example = tf.train.SequenceExample()
        example.context.feature["clip/label/index"].int64_list.value.append(label)
        for frame in frames:
            example.feature_lists.feature_list["image/encoded"].feature.add().bytes_list.value.append(frame)
        writer.write(example.SerializeToString())
"""


def run(module, *args, path=()):
    """Runs a module or a script in a process of its own."""
    root = str(CONFIG.parents[2])
    folders = [root, *map(str, path), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, *(["-c", module] if "\n" in module else ["-m", module]), *map(str, args)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return result


def train(kind, folder, workdir, *changes, path=()):
    config = f"{CONFIG}:{'::'.join((kind, str(folder), *changes))}"
    log = run("vidtldr_jax.scenic_adapter.main", f"--config={config}", f"--workdir={workdir}", path=path).stderr
    values = {name: float(value) for name, value in re.findall(r"([\w/]+)=([-\d.e]+)", log)}
    return log, values


def evaluate(kind, folder, checkpoint, workdir, *changes, flags=(), path=()):
    config = f"{CONFIG}:{'::'.join((kind, str(folder), *changes))}"
    flags = (f"--config={config}", f"--checkpoint={checkpoint}", f"--workdir={workdir}", *flags)
    output = run("vidtldr_jax.scenic_adapter.evaluate", *flags, path=path).stdout
    return json.loads((workdir / "evaluation.json").read_text()), output


def write_stand_ins(folder, *names):
    """Writes empty modules for what Scenic imports, from git only, and never calls here; what is installed stays."""
    folder.mkdir(exist_ok=True)
    for name in names:
        file = folder / f"{name}.py"
        if importlib.util.find_spec(name.split("/")[0]) is None:
            file.parent.mkdir(parents=True)
            file.write_text("def __getattr__(name):\n    return None\n")
    return folder


def read_params(path):
    state = flax.serialization.msgpack_restore(path.read_bytes())
    return flax.traverse_util.flatten_dict(state["params"], sep="/"), int(np.ravel(state["global_step"])[0])


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    rows = ["path,label"]
    for number, label in enumerate(LABELS):
        write_video(folder / f"{number}.mp4", num_frames=20 + 4 * number, height=40, width=56)
        rows.append(f"{number}.mp4,{label}")
    (folder / "list.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def trained(videos, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    return workdir, *train("manifests", videos, workdir)


needs_plots = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sklearn", "seaborn", "matplotlib")),
    reason="vivit_trainer is not run: scikit-learn, seaborn or matplotlib is not installed",
)
OTHER_TRAINERS = [pytest.param("vivit_trainer", marks=needs_plots), "objectvivit_trainer"]


def test_training_through_the_classification_trainer_learns_writes_and_counts(trained):
    workdir, log, values = trained
    assert "token merging (vidtldr, pooling plain): r = 20,8: 65 -> 37 tokens over 3 layers" in log
    losses = [float(loss) for loss in re.findall(r"train_loss=([\d.]+)", log)]
    assert losses[0] == pytest.approx(np.log(8), abs=1e-5), "the head starts at zero"
    assert losses[-1] < losses[0]
    assert 0 <= values["valid_accuracy"] <= 1
    assert {path.name for path in workdir.glob("checkpoint_*")} >= {"checkpoint_4"}


@pytest.mark.parametrize("trainer", ["classification_trainer", *OTHER_TRAINERS])
def test_training_starts_from_a_file_of_the_zoo_as_the_log_says(videos, tmp_path, trainer):
    path = [write_stand_ins(tmp_path / "modules", "big_vision/utils")]
    golden = find_golden("scenic/checkpoint_2023_layout")
    changes = [f"init_from={{'checkpoint_path': {str(golden)!r}}}", f"trainer_name={trainer!r}"]
    changes += ["num_training_steps=1", "lr_configs.base_learning_rate=0.0"]
    log, _ = train("manifests", videos, tmp_path / "run", *changes, path=path)
    read, found = (flatten_params(read_checkpoint(place).params) for place in (golden, tmp_path / "run"))
    head = {path for path in read if path.startswith("output_projection")}
    for path in read:
        expected = np.zeros_like(read[path]) if path in head else read[path]
        np.testing.assert_allclose(found[path], expected, atol=1e-7, err_msg=path)
    assert f"init_from: {len(read) - len(head)} of {len(found)} parameter arrays come from {golden}" in log
    assert f"first values remain in {', '.join(sorted(head))}" in log


def test_fewer_gflops_are_logged_than_without_merging(trained, videos, tmp_path):
    _, values = train("manifests", videos, tmp_path, "model.token_merging=None", "num_training_steps=1")
    assert trained[2]["gflops"] < 0.85 * values["gflops"]
    assert trained[2]["num_trainable_params"] == values["num_trainable_params"]


def test_a_run_that_stopped_goes_on_to_the_same_end(trained, videos, tmp_path):
    train("manifests", videos, tmp_path, "num_training_steps=2")
    assert read_params(tmp_path / "checkpoint_2")[1] == 2
    log, _ = train("manifests", videos, tmp_path)
    assert "Starting training loop at step 3" in log
    resumed, step = read_params(tmp_path / "checkpoint_4")
    whole, _ = read_params(trained[0] / "checkpoint_4")
    assert step == 4
    # Each batch holds all videos; after the stop they come in the first order again, and sums round differently.
    for path, value in whole.items():
        np.testing.assert_allclose(resumed[path], value, atol=2e-5, err_msg=path)


def test_a_run_s_checkpoint_is_tested_in_several_views(trained, videos, tmp_path):
    result, output = evaluate("manifests", videos, trained[0], tmp_path)
    assert result["checkpoint"].endswith("/checkpoint_4")
    assert (result["step"], result["videos"], result["views"]) == (4, 6, 6)
    assert "plain and merged agree on" in output


def average_by_hand(model, videos, config):
    """Returns the mean logits of every video over its views, read and run by our own pipeline."""
    recipe = dataclasses.replace(model.preprocessing, **dataclasses.asdict(read_preprocessing(config)))
    return [np.mean(model.classify(read_clips(videos / f"{n}.mp4", recipe)), axis=0) for n in range(len(LABELS))]


def test_a_file_of_the_model_zoo_is_evaluated_with_and_without_merging(videos, tmp_path):
    golden = find_golden("scenic/checkpoint_2023_layout")
    result, _ = evaluate("manifests", videos, golden, tmp_path / "out", flags=["--scenic_module"])
    ways = result["ways"]
    assert list(ways) == ["plain", "merged", "scenic"]
    assert ways["plain"]["metrics"] == ways["scenic"]["metrics"]
    assert ways["merged"]["gmacs_per_view"] < 0.8 * ways["plain"]["gmacs_per_view"]
    assert (ways["merged"]["schedule"], result["averaged"]) == ("20,8", "logits")
    assert all(way["seconds"] > 0 for way in ways.values())
    convert_checkpoint(golden, tmp_path / "model", settings={"frames": 8})
    config = get_config(f"manifests::{videos}")
    for way, schedule in (("plain", None), ("merged", "20,8")):
        logits = average_by_hand(load_model(tmp_path / "model", schedule=schedule), videos, config)
        right = np.argmax(logits, axis=-1) == np.array(LABELS)
        among = [label in np.argsort(-row)[:5] for row, label in zip(logits, LABELS)]
        assert ways[way]["metrics"] == {"top_1": right.mean(), "top_5": np.mean(among)}


def test_a_checkpoint_of_another_model_is_explained(videos, tmp_path):
    golden = find_golden("scenic/checkpoint_2023_layout")
    with pytest.raises(AssertionError, match="error: checkpoint and config describe one model") as error:
        evaluate("manifests", videos, golden, tmp_path, "model.mlp_dim=48")
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize("trainer", OTHER_TRAINERS)
def test_scenic_s_other_trainers_learn_the_same_and_test_in_several_views(trained, videos, tmp_path, trainer):
    between = "/" if trainer == "vivit_trainer" else "_"  # in the names of their metrics
    path = [write_stand_ins(tmp_path / "modules", "big_vision/utils")]
    changes = [
        f"trainer_name={trainer!r}",
        "dataset_configs.do_multicrop_test=True",
        "dataset_configs.log_test_epochs=4",
    ]
    log, values = train("manifests", videos, tmp_path / "run", *changes, path=path)
    assert "Completed multicrop test" in log
    # The same data, first values and steps as with classification_trainer.
    assert values[f"valid{between}loss"] == pytest.approx(trained[2]["valid_loss"], abs=1e-5)
    result, _ = evaluate("manifests", videos, tmp_path / "run", tmp_path / "out")
    assert result["step"] == 4
    assert result["ways"]["merged"]["metrics"]["top_1"] == pytest.approx(values[f"test{between}accuracy"], abs=1e-6)


@needs_plots
def test_vivit_s_own_trainer_goes_on_where_it_stopped(trained, videos, tmp_path):
    trainer = "trainer_name='vivit_trainer'"
    train("manifests", videos, tmp_path, trainer, "num_training_steps=2")
    log, values = train("manifests", videos, tmp_path, trainer)
    assert "Starting training loop at step 3" in log
    assert values["valid/loss"] == pytest.approx(trained[2]["valid_loss"], abs=1e-5)


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("dmvr", "tensorflow_text")),
    reason="no TFRecords are read: dmvr is not on the path, or tensorflow-text is not installed",
)
def test_scenic_s_own_tfrecords_are_trained_on_and_tested(tmp_path):
    # Imported for augmentations and texts that are not asked for here.
    names = ("simclr/tf2/data_util", "clip/simple_tokenizer", "official/vision/image_classification/augment")
    path = [write_stand_ins(tmp_path / "modules", *names)]
    run(WRITE_RECORDS, tmp_path, ",".join(map(str, LABELS)))
    log, values = train("records", tmp_path, tmp_path / "run", "num_training_steps=2", path=path)
    assert "r = 20,8: 65 -> 37 tokens" in log
    assert np.isfinite(values["valid_loss"])
    result, _ = evaluate("records", tmp_path, tmp_path / "run", tmp_path / "out", path=path)
    assert (result["videos"], result["views"], result["dataset"]) == (6, 6, "video_tfrecord_dataset")


def test_nouns_and_verbs_are_evaluated_apart_and_together(videos, tmp_path):
    changes = [
        "model_name='vivit_multihead_classification_token_merging'",
        "dataset_configs.class_splits=(5, 3)",
        "dataset_configs.split_names=('noun', 'verb')",
    ]
    rows = ["path,noun,verb", *(f"{n}.mp4,{n % 5},{n % 3}" for n in range(6))]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    for n in range(6):
        (tmp_path / f"{n}.mp4").symlink_to(videos / f"{n}.mp4")
    golden = find_golden("scenic/checkpoint_2023_layout")
    result, _ = evaluate("manifests", tmp_path, golden, tmp_path / "out", *changes, flags=["--scenic_module"])
    convert_checkpoint(golden, tmp_path / "model", settings={"frames": 8})
    config = get_config(f"manifests::{videos}")
    logits = np.array(average_by_hand(load_model(tmp_path / "model", schedule="20,8"), videos, config))
    nouns, verbs = logits[:, :5].argmax(-1) == np.arange(6) % 5, logits[:, 5:].argmax(-1) == np.arange(6) % 3
    expected = {"noun_top_1": nouns.mean(), "verb_top_1": verbs.mean(), "joint_top_1": (nouns & verbs).mean()}
    assert result["ways"]["merged"]["metrics"] == expected
    assert result["ways"]["plain"]["metrics"] == result["ways"]["scenic"]["metrics"]


def test_several_labels_a_video_are_evaluated_by_their_average_precision(videos, tmp_path):
    golden = find_golden("scenic/checkpoint_2023_layout")
    name = "model_name='vivit_multilabel_classification_token_merging'"
    result, _ = evaluate("manifests", videos, golden, tmp_path / "out", name)
    convert_checkpoint(golden, tmp_path / "model", settings={"frames": 8})
    logits = average_by_hand(load_model(tmp_path / "model"), videos, get_config(f"manifests::{videos}"))
    expected = compute_mean_average_precision(np.array(logits), np.eye(8)[list(LABELS)])
    assert result["ways"]["plain"]["metrics"] == {"mean_average_precision": pytest.approx(expected)}
