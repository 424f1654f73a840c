"""ViViT-L/16x2 with the factorised encoder on Something-Something v2, evaluated with and without merging.

    vidtldr evaluate classification --config configs/scenic/ssv2_l16x2_fe.py --model FOLDER \
        --manifest ssv2/val.csv --compare-plain --out results/ssv2_l16x2_fe.json
    python -m vidtldr_jax.scenic_adapter.evaluate --config=configs/scenic/ssv2_l16x2_fe.py \
        --checkpoint=ZOO/checkpoint --workdir=results/ssv2_l16x2_fe \
        --config.dataset_configs.manifests.test=ssv2/val.csv

Protocol of Scenic's config: 257 tokens in each of 16 frames; 4 clips of 32 frames in a row, 3 crops of each, logits
averaged.

Expected: 1302.1 GMACs per view without merging, 870.2 with it.
Accuracy: Scenic's README has none for this model.

The schedule is a choice of this project, neither tuned nor measured for accuracy: about the share of the tokens that
vid-TLDR's 450,250,100 takes with UMT-L/16 (Something-Something v2, label).

With TFRecords, set `dataset_name` to "video_tfrecord_dataset" and give `base_dir`, `tables` and `examples_per_subset`
as Scenic's own config does.
"""

import ml_collections

SCHEDULE = "49,27,11"


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: a schedule in place of `SCHEDULE`; "none" is Scenic's own model.
    """
    config = ml_collections.ConfigDict()
    config.experiment_name = "ssv2_l16x2_fe"
    config.rng_seed = 0
    config.data_dtype_str = "float32"
    config.model_dtype_str = "float32"

    data = config.dataset_configs = ml_collections.ConfigDict()
    config.dataset_name = "video_manifest_dataset"
    data.manifests = ml_collections.ConfigDict({"test": "ssv2/val.csv"})
    data.num_classes = 174
    data.num_frames = 32
    data.stride = 1
    data.min_resize = 288
    data.crop_size = 256
    data.zero_centering = True
    data.num_test_clips = 4
    data.do_three_spatial_crops = True
    config.multicrop_clips_per_device = 2
    config.multicrop_softmax_logits = False

    model = config.model = ml_collections.ConfigDict()
    config.model_name = "vivit_classification"
    model.hidden_size = 1024
    model.representation_size = None
    model.classifier = "token"
    model.attention_dropout_rate = 0.0
    model.dropout_rate = 0.0
    model.patches = ml_collections.ConfigDict({"size": (16, 16, 2)})
    model.temporal_encoding_config = ml_collections.ConfigDict(
        {"method": "3d_conv", "kernel_init_method": "central_frame_initializer"}
    )
    model.attention_config = ml_collections.ConfigDict({"type": "factorized_encoder"})
    model.spatial_transformer = ml_collections.ConfigDict({"num_heads": 16, "mlp_dim": 4096, "num_layers": 24})
    model.temporal_transformer = ml_collections.ConfigDict({"num_heads": 16, "mlp_dim": 4096, "num_layers": 4})

    if arg != "none":
        config.model_name += "_token_merging"
        model.token_merging = ml_collections.ConfigDict(
            {"schedule": arg or SCHEDULE, "method": "vidtldr", "pooling": "plain"}
        )
    config.evaluation = ml_collections.ConfigDict({"checkpoint": "", "manifest": ""})
    return config
