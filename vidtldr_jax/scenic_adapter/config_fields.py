"""Names that a Scenic config may have, as far as the adapter or Scenic's ViViT reads them. Imports no Scenic.

Scenic reads a config field by field and never says that a field has no reader. What is misspelt is then missing.
"""

from __future__ import annotations

from typing import Any, Final

SUFFIX: Final = "_token_merging"
SCENIC_NAMES: Final = ("vivit_classification", "vivit_multilabel_classification", "vivit_multihead_classification")
MODEL_NAMES: Final = tuple(name + suffix for name in SCENIC_NAMES for suffix in ("", SUFFIX))

DEFAULT_TRAINER: Final = "classification_trainer"
TRAINERS: Final = {
    DEFAULT_TRAINER: "scenic.train_lib.classification_trainer",
    "objectvivit_trainer": "scenic.projects.objectvivit.trainer",
    "vivit_trainer": "scenic.projects.vivit.trainer",
}

# Of `config.model`, and of its subtrees; token_merging has a reader of its own.
MODEL_FIELDS: Final[dict[str, tuple[str, ...] | None]] = {
    **dict.fromkeys(
        (
            *("hidden_size", "num_heads", "mlp_dim", "num_layers", "representation_size", "classifier"),
            *("dropout_rate", "attention_dropout_rate", "stochastic_droplayer_rate"),
            *("return_prelogits", "return_preclassifier", "token_merging"),
        )
    ),
    "patches": ("size", "grid"),
    "attention_config": ("type", "attention_order", "attention_kernel_init_method", "spatial_only_baseline"),
    "temporal_encoding_config": ("method", "kernel_init_method", "n_sampled_frames"),
    "spatial_transformer": ("num_heads", "mlp_dim", "num_layers"),
    "temporal_transformer": ("num_heads", "mlp_dim", "num_layers"),
}
# Any other text is the default initialiser in Scenic.
KERNEL_INITS: Final = ("central_frame_initializer", "average_frame_initializer", "average_arp_frame_initializer")
INIT_FIELDS: Final = (
    *("checkpoint_path", "checkpoint_format", "model_config", "classifier_type", "positional_embed_size_change"),
    *("restore_positional_embedding", "restore_input_embedding", "restore_from_non_mae_checkpoint"),
    *("init_spatial_transformer", "init_temporal_transformer", "init_temporal_layer_norm", "vivit_transformer_key"),
)
# Fields at the top whose loss nobody would see; a name that is nearly one of these is a mistake.
TOP_FIELDS: Final = (
    *("model", "model_name", "dataset_name", "dataset_configs", "trainer_name", "init_from", "batch_size"),
    *("eval_batch_size", "multicrop_softmax_logits", "multicrop_clips_per_device", "model_dtype_str"),
    *("data_dtype_str", "checkpoint", "label_smoothing", "num_training_epochs", "num_training_steps", "mixup"),
)
# What else Scenic has at the top, near to one of these or not.
OTHER_TOP_FIELDS: Final = ("checkpoint_steps", "batch_sizes", "optimizer", "optimizer_configs", "lr_configs")

# Of `dataset_configs` with video_manifest_dataset.
MANIFEST_FIELDS: Final = (
    *("manifests", "root", "num_classes", "class_splits", "split_names", "labels_file"),
    *("num_frames", "stride", "min_resize", "crop_size", "zero_centering"),
    *("num_test_clips", "do_three_spatial_crops", "test_batch_size", "augment", "use_mirror"),
    *("do_multicrop_test", "log_test_epochs"),  # the trainers read these
)
# Scenic's own fields that the data set of manifests has in one way only: name -> the values that say so.
FIXED_MANIFEST_FIELDS: Final[dict[str, tuple[Any, ...]]] = {
    "one_hot_label": (True,),
    "one_hot_labels": (True,),
    "label_offset": (0,),
    "keep_key": (False,),
    "keep_test_key": (False,),
    "get_label_str": (False,),
    "num_train_val_clips": (1,),
    "test_split": ("test",),
}
# Where TFRecords lie and how batches reach a device: these change nothing of what is seen.
IGNORED_MANIFEST_FIELDS: Final = ("base_dir", "tables", "examples_per_subset", "prefetch_to_device")
