"""What a Scenic config asks for and nobody would do is refused by name, in training and evaluation alike. No Scenic."""

import pathlib
import runpy

import ml_collections
import pytest

from tests.scenic_adapter.tiny import get_config
from vidtldr_jax.scenic_adapter.config_check import check_config, check_manifest_fields, check_sharing, find_ignored
from vidtldr_jax.scenic_adapter.config_fields import MODEL_NAMES, SUFFIX

CONFIGS = pathlib.Path(__file__).parents[2] / "configs" / "scenic"
MERGING = {"schedule": "20,8"}


def make(*changes, **fields):
    config = get_config("::".join(("manifests", "clips", *changes)))
    for path, value in fields.items():
        *parents, name = path.split("__")
        tree = config
        for parent in parents:
            tree = tree[parent]
        tree[name] = ml_collections.ConfigDict(value) if isinstance(value, dict) else value
    return config


def refuse(config, is_training=True):
    with pytest.raises(ValueError) as error:
        check_config(config, is_training=is_training)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_name_of_a_model_is_taken(name, is_training):
    changes = [f"model_name={name!r}"] + ([] if name.endswith(SUFFIX) else ["model.token_merging=None"])
    splits = {"dataset_configs__class_splits": (5, 3)} if "multihead" in name else {}
    check_config(make(*changes, **splits), is_training=is_training)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize("argument", ["", "none"])
def test_our_own_configs_are_taken(path, argument, is_training):
    config = runpy.run_path(str(path))["get_config"](argument)
    check_config(config, is_training=is_training)
    check_manifest_fields(config.dataset_configs)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize(
    "name", ["token_mergin", "token_merge", "tokenmerging", "merging", "token_mergings", "Token_Merging", "toke_mergin"]
)
def test_a_misspelt_subtree_is_refused_by_name(name, is_training):
    config = make("model.token_merging=None", **{f"model__{name}": MERGING})
    assert f"model.{name} has no reader (did you mean 'token_merging'?)" in refuse(config, is_training)


@pytest.mark.parametrize("name", ["token_merging", "token_mergin"])
def test_a_subtree_in_the_wrong_place_is_refused_by_name(name):
    config = make("model.token_merging=None", **{name: MERGING})
    assert f"{name} stands at the top, where nobody reads it (it belongs to config.model.token_merging)" in refuse(
        config
    )


@pytest.mark.parametrize("is_training", [True, False])
def test_a_name_without_the_suffix_does_not_merge_in_silence(is_training):
    config = make("model_name='vivit_classification'")
    assert "(did you mean 'vivit_classification_token_merging'?)" in refuse(config, is_training)
    check_config(
        make("model_name='vivit_classification'", "model.token_merging.schedule='none'"), is_training=is_training
    )


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("vivit_multi_label_classification", "vivit_multilabel_classification"),
        ("vivit_multilabel_clasification_token_merging", "vivit_multilabel_classification_token_merging"),
        ("vivit", None),
        ("multilabel", None),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest_name(name, nearest, is_training):
    message = refuse(make(f"model_name={name!r}"), is_training)
    assert f"model_name = {name!r} is none of vivit_classification, " in message
    assert nearest is None or f"(did you mean {nearest!r}?)" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__mlp_dims": 64}, "model.mlp_dims has no reader (did you mean 'mlp_dim'?)"),
        ({"model__drop_rate": 0.5}, "model.drop_rate has no reader (did you mean 'dropout_rate'?)"),
        ({"model__attention_config__kind": "spacetime"}, "model.attention_config.kind has no reader"),
        ({"model__patches__sizes": (8, 8, 2)}, "model.patches.sizes has no reader (did you mean 'size'?)"),
        (
            {"model__temporal_encoding_config__kernel_init_method": "centre_frame_initializer"},
            "(did you mean 'central_frame_initializer'?)",
        ),
        ({"init_form": {"checkpoint_path": "zoo"}}, "init_form has no reader (did you mean 'init_from'?)"),
        ({"trainer_nam": "vivit_trainer"}, "trainer_nam has no reader (did you mean 'trainer_name'?)"),
        (
            {"trainer_name": "vivit_trainr"},
            "is none of classification_trainer, objectvivit_trainer, vivit_trainer (did",
        ),
        ({"datset_configs": {"stride": 4}}, "datset_configs has no reader (did you mean 'dataset_configs'?)"),
        ({"init_from": "zoo/checkpoint"}, "init_from = 'zoo/checkpoint' has fields; write init_from.checkpoint_path"),
        ({"init_from": {"checkpoint": "zoo"}}, "init_from.checkpoint has no reader (did you mean 'checkpoint_path'?)"),
        ({"model_dtype_str": "float31"}, "model_dtype_str = 'float31' is none of bfloat16, float16, float32, float64"),
        ({"data_dtype_str": "uint8"}, "data_dtype_str = 'uint8' is none of"),
        ({"init_from": {"checkpoint_format": "scenic"}}, "init_from.checkpoint_path is missing"),
        (
            {"init_from": {"checkpoint_path": "a", "checkpoint_format": "big_vision"}},
            "init_from.checkpoint_format = 'big_vision' is read by no trainer here",
        ),
        ({"dataset_configs__class_splits": (5, 3)}, "(did you mean 'vivit_multihead_classification_token_merging'?)"),
        ({"model_name": "vivit_multihead_classification_token_merging"}, "and there are none"),
    ],
)
def test_what_has_no_effect_is_refused_by_name(changes, message):
    assert message in refuse(make(**changes))


def test_all_faults_are_named_together_and_missing_fields_too():
    message = refuse(make("model_name=None", "dataset_name=None", **{"model__mlp_dims": 3}))
    for part in ("there is no model_name", "there is no dataset_name", "model.mlp_dims has no reader"):
        assert part in message


def test_scenic_s_own_slips_of_the_pen_are_taken():
    # Of its Kinetics config: an empty subtree of a misspelt name, and a label field that it does not read.
    config = make(datset_configs={}, **{"dataset_configs__one_hot_labels": True})
    config.dataset_configs.base_dir = "/path"
    config.dataset_configs.prefetch_to_device = 2
    check_config(config, is_training=True)
    check_manifest_fields(config.dataset_configs)


def test_first_parameters_are_no_matter_of_an_evaluation():
    check_config(make(init_from={"checkpoint_format": "big_vision"}), is_training=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"augmentation_params": {"do_jitter_scale": True, "scale_min_factor": 0.9, "do_color_augment": True}},
            "augmentation_params asks for do_color_augment, do_jitter_scale, which video_tfrecord_dataset has",
        ),
        ({"one_hot_label": False}, "one_hot_label = False is True always"),
        ({"label_offset": 1}, "label_offset = 1 is 0 always"),
        ({"strid": 4}, "strid has no reader (did you mean 'stride'?)"),
        ({"use_mirrors": False}, "use_mirrors has no reader (did you mean 'use_mirror'?)"),
        ({"num_train_val_clips": 2}, "num_train_val_clips = 2 is 1 always"),
        (
            {"class_splits": (5, 3), "split_names": ("noun",)},
            "split_names = ('noun',) are not one for each of class_splits = (5, 3)",
        ),
        (
            {"class_splits": (5, 3), "labels_file": "names.txt"},
            "labels_file names the classes of one label, and class_splits = (5, 3) are 2",
        ),
    ],
)
def test_what_the_data_set_of_manifests_does_not_do_is_refused_by_name(fields, message):
    data = make().dataset_configs
    check_manifest_fields(data)
    for name, value in fields.items():
        data[name] = ml_collections.ConfigDict(value) if isinstance(value, dict) else value
    with pytest.raises(ValueError) as error:
        check_manifest_fields(data)
    assert message in str(error.value)


def test_augmentation_params_that_ask_for_nothing_are_taken():
    for params in ({}, {"do_jitter_scale": False, "scale_min_factor": 0.9}):
        check_manifest_fields(ml_collections.ConfigDict({"manifests": {}, "augmentation_params": params}))


def test_what_a_trainer_leaves_out_is_told():
    config = make(mixup={"alpha": 0.2})
    assert find_ignored(config) == []
    config.dataset_configs.do_multicrop_test = True
    assert find_ignored(config)[0].startswith("dataset_configs.do_multicrop_test: classification_trainer makes no test")
    config.trainer_name = "vivit_trainer"
    assert find_ignored(config) == ["mixup: vivit_trainer does not mix; classification_trainer does"]


def share(config, devices, is_training=False):
    check_sharing(config, num_devices=devices, num_local_devices=devices, is_training=is_training)


def test_views_that_devices_can_t_share_are_refused_by_the_fields_that_make_them():
    config = make("batch_size=8", "eval_batch_size=8")
    share(config, 2)  # 1 video in 2 clips and 3 crops
    with pytest.raises(ValueError) as error:
        share(config, 4)
    assert str(error.value) == (
        "devices share batches evenly; config: dataset_configs.test_batch_size = 1 videos in num_test_clips = 2 clips "
        "and 3 crops (do_three_spatial_crops) are 6 views, which 4 devices can't share; change these fields."
    )
    share(config, 4, is_training=True)  # its trainer makes no such test
    config.dataset_configs.do_multicrop_test = True
    with pytest.raises(ValueError, match="are 6 views, which 4 devices can't share"):
        share(config, 4, is_training=True)
    with pytest.raises(ValueError, match="test_batch_size = 1 is not the 2 devices of a host"):
        share(config, 2, is_training=True)


def test_batches_that_devices_can_t_share_are_refused_by_name():
    with pytest.raises(ValueError, match="batch_size = 6 can't be shared by 4 devices; change"):
        share(make("eval_batch_size=8", "dataset_configs.test_batch_size=2"), 4)
    with pytest.raises(ValueError, match=r"batch_size = 6 can't .*; eval_batch_size = 6 can't be shared by 4 devices"):
        share(make("eval_batch_size=None", "dataset_configs.test_batch_size=2"), 4)
    with pytest.raises(ValueError, match="config has none; write batch_size"):
        share(make("batch_size=None"), 4, is_training=True)
    share(make("batch_size=None", "eval_batch_size=None", "dataset_configs.test_batch_size=None"), 4)
