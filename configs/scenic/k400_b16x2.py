"""ViViT-B/16x2 on Kinetics-400, evaluated with and without merging.

    vidtldr evaluate classification --config configs/scenic/k400_b16x2.py --model FOLDER \
        --manifest kinetics400/val.csv --compare-plain --out results/k400_b16x2.json
    python -m vidtldr_jax.scenic_adapter.evaluate --config=configs/scenic/k400_b16x2.py \
        --checkpoint=ZOO/checkpoint --workdir=results/k400_b16x2 \
        --config.dataset_configs.manifests.test=kinetics400/val.csv

Protocol of Scenic's config: 3137 tokens; 4 clips of 32 frames 2 apart, 3 crops of each, logits averaged.

Expected: 451.8 GMACs per view without merging, 260.1 with it.
Accuracy as published in Scenic's README, without merging and not measured here: 79.9 % in 4 x 3 views (clips x
crops); it does not say on which split.

The schedule is a choice of this project, neither tuned nor measured for accuracy: about the share of the tokens that
vid-TLDR's 600,200,100 takes with UMT-B/16 (MSR-VTT).

With TFRecords, set `dataset_name` to "video_tfrecord_dataset" and give `base_dir`, `tables` and `examples_per_subset`
as Scenic's own config does.
"""

import ml_collections

SCHEDULE = "800,270,135"


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: a schedule in place of `SCHEDULE`; "none" is Scenic's own model.
    """
    config = ml_collections.ConfigDict()
    config.experiment_name = "k400_b16x2"
    config.rng_seed = 0
    config.data_dtype_str = "float32"
    config.model_dtype_str = "float32"

    data = config.dataset_configs = ml_collections.ConfigDict()
    config.dataset_name = "video_manifest_dataset"
    data.manifests = ml_collections.ConfigDict({"test": "kinetics400/val.csv"})
    data.num_classes = 400
    data.num_frames = 32
    data.stride = 2
    data.min_resize = 256
    data.crop_size = 224
    data.zero_centering = True
    data.num_test_clips = 4
    data.do_three_spatial_crops = True
    config.multicrop_clips_per_device = 2
    config.multicrop_softmax_logits = False

    model = config.model = ml_collections.ConfigDict()
    config.model_name = "vivit_classification"
    model.hidden_size = 768
    model.representation_size = None
    model.classifier = "token"
    model.attention_dropout_rate = 0.0
    model.dropout_rate = 0.0
    model.patches = ml_collections.ConfigDict({"size": (16, 16, 2)})
    model.temporal_encoding_config = ml_collections.ConfigDict(
        {"method": "3d_conv", "kernel_init_method": "central_frame_initializer"}
    )
    model.attention_config = ml_collections.ConfigDict({"type": "spacetime"})
    model.num_heads = 12
    model.mlp_dim = 3072
    model.num_layers = 12

    if arg != "none":
        config.model_name += "_token_merging"
        model.token_merging = ml_collections.ConfigDict(
            {"schedule": arg or SCHEDULE, "method": "vidtldr", "pooling": "plain"}
        )
    config.evaluation = ml_collections.ConfigDict({"checkpoint": "", "manifest": ""})
    return config
