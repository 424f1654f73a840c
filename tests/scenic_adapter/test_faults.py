"""Faults of a config are one line in training and evaluation alike, where Scenic is on the path."""

import functools
import warnings

import jax
import numpy as np
import pytest

from tests.data.making import write_video
from tests.reference.files import find_golden
from tests.scenic_adapter.tiny import get_config
from vidtldr_jax.scenic_adapter.availability import find_scenic_fault

FAULT = find_scenic_fault()
pytestmark = pytest.mark.skipif(FAULT is not None, reason=f"no main of Scenic is asked: {FAULT}")
AUGMENTED = "dataset_configs.augmentation_params={'do_jitter_scale': True}"


@functools.cache
def get_mains():
    """Returns the two mains, with their flags at the defaults; what TensorFlow warns of at its import is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from absl import flags

        from vidtldr_jax.scenic_adapter import evaluate, main
    flags.FLAGS.mark_as_parsed()
    flags.FLAGS.checkpoint = str(find_golden("scenic/checkpoint_2023_layout"))
    return {"training": main.main, "evaluation": evaluate.main}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "list.csv").write_text("path,label\n" + "".join(f"{n}.mp4,{n}\n" for n in range(8)))
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for number in range(6):
        write_video(folder / f"{number}.mp4", num_frames=8, height=36, width=36)
    (folder / "list.csv").write_text("path,label\n" + "".join(f"{number}.mp4,{number}\n" for number in range(6)))
    return folder


def start(way, folder, *changes):
    config = get_config("::".join(("manifests", str(folder), *changes)))
    with pytest.raises(SystemExit) as error:
        get_mains()[way](jax.random.key(0), config, str(folder / "run"), None)
    message = str(error.value)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("way", ["training", "evaluation"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.token_merging=None", "model.token_mergin={'schedule': '8'}"], "model.token_mergin has no reader (did"),
        (["model_name='vivit_classification'"], "(did you mean 'vivit_classification_token_merging'?)"),
        (["model_name='vivit_multi_label_classification'"], "(did you mean 'vivit_multilabel_classification'?)"),
        ([AUGMENTED], "augmentation_params asks for do_jitter_scale, which video_tfrecord_dataset has"),
        (["model.token_merging.schedule='eight'"], "entries are numbers; got 'eight'"),
        (["model.token_merging.methods='tome'"], "there is no field 'methods' (did you mean 'method'?)"),
        (["model.attention_config.type='axial'"], "axial"),
        (["dataset_name='video_manifests'"], "did you mean 'video_manifest_dataset'?"),
        (["dataset_configs.manifests={'test': 'nowhere.csv'}"], "nowhere.csv"),
        (["model.hidden_size=None"], "hidden_size"),
        (["data_dtype_str='float31'"], "data_dtype_str = 'float31' is none of bfloat16,"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_in_training_and_evaluation(folder, way, changes, message):
    assert message in start(way, folder, *changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["lr_configs=None"], "if 'base_learning_rate' not in config.lr_configs:"),
        (["optimizer='addam'"], "module 'optax' has no attribute 'addam' at "),
    ],
)
def test_what_scenic_itself_finds_missing_is_one_line_too(videos, changes, message):
    assert message in start("training", videos, *changes)


@pytest.mark.parametrize("way", ["training", "evaluation"])
def test_views_and_batches_that_the_devices_can_t_share_name_the_fields(folder, way, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    changes = ["batch_size=8", "eval_batch_size=8", "dataset_configs.do_multicrop_test=True"]
    assert "num_test_clips = 2 clips and 3 crops (do_three_spatial_crops) are 6 views" in start(way, folder, *changes)
    changes = ["batch_size=6", "eval_batch_size=8", "dataset_configs.test_batch_size=4"]
    assert "batch_size = 6 can't be shared by 4 devices" in start(way, folder, *changes)


def test_scores_that_are_no_numbers_are_refused_with_the_video():
    get_mains()
    from vidtldr_jax.scenic_adapter.evaluate import check_finite

    scores = np.zeros((4, 3), np.float32)
    check_finite(scores, way="merged", first=10)
    scores[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"got others for video 13 of the test split \(merged\)"):
        check_finite(scores, way="merged", first=10)


def test_a_trainer_that_lacks_a_package_says_which(folder, monkeypatch):
    import importlib

    import_module = importlib.import_module

    def fail(name, *args):
        if name == "scenic.projects.vivit.trainer":
            raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
        return import_module(name, *args)

    get_mains()
    monkeypatch.setattr("vidtldr_jax.scenic_adapter.main.install_stand_in", lambda: True)
    monkeypatch.setattr(importlib, "import_module", fail)
    message = start("training", folder, "trainer_name='vivit_trainer'")
    assert "got No module named 'sklearn'; pip install scikit-learn, or set config.trainer_name" in message
