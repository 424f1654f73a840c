"""A tiny experiment in Scenic's format; the tests give its argument as `manifests:folder:key=value,...`."""

import ast

import ml_collections


def get_config(arg):
    """Returns the config of an argument: kind of data, folder, and changes as dotted paths."""
    kind, folder, *changes = arg.split("::")
    size = {"num_frames": 8, "stride": 2, "min_resize": 36, "crop_size": 32, "num_classes": 8, "zero_centering": True}
    views = {"num_test_clips": 2, "do_three_spatial_crops": True, "test_batch_size": 1}
    splits = ("train", "validation", "test")
    if kind == "manifests":
        data = {"manifests": dict.fromkeys(splits, f"{folder}/list.csv"), "augment": False}
        name = "video_manifest_dataset"
    else:
        data = {"base_dir": folder, "tables": {split: ["clips.tfrecord"] for split in splits}}
        data["examples_per_subset"] = dict.fromkeys(splits, 6)
        name = "video_tfrecord_dataset"
    config = ml_collections.ConfigDict(
        {
            "experiment_name": "tiny",
            "model_name": "vivit_classification_token_merging",
            "trainer_name": "classification_trainer",
            "dataset_name": name,
            "data_dtype_str": "float32",
            "dataset_configs": data | size | views,
            "model": {
                "hidden_size": 32,
                "num_heads": 4,
                "mlp_dim": 64,
                "num_layers": 3,
                "representation_size": None,
                "classifier": "token",
                "dropout_rate": 0.0,
                "attention_dropout_rate": 0.0,
                "stochastic_droplayer_rate": 0.0,
                "attention_config": {"type": "spacetime"},
                "patches": {"size": (8, 8, 2)},
                "temporal_encoding_config": {"method": "3d_conv"},
                "token_merging": {"schedule": "20,8"},
            },
            "optimizer": "momentum",
            "optimizer_configs": {"momentum": 0.9},
            "l2_decay_factor": 0,
            "max_grad_norm": 1,
            "label_smoothing": None,
            "num_training_steps": 4,
            "num_training_epochs": None,
            "batch_size": 6,
            "eval_batch_size": 4,
            "rng_seed": 0,
            "lr_configs": {
                "learning_rate_schedule": "compound",
                "factors": "constant",
                "base_learning_rate": 0.1,
            },
            "log_eval_steps": 2,
            "checkpoint_steps": 2,
            "log_summary_steps": 1,
            "checkpoint": True,
            "debug_train": False,
            "debug_eval": False,
            "xprof": False,
        }
    )
    for change in changes:
        path, value = change.split("=", 1)
        *parents, last = path.split(".")
        tree = config
        for parent in parents:
            tree = tree[parent]
        if value == "None":
            del tree[last]
        else:
            tree[last] = ast.literal_eval(value)
    return config
