"""Configs check themselves and name every fault at once."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidtldr_jax.models import PRESETS, VideoViTConfig, get_preset
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.models.vivit_config import ViViTConfig

FIELDS = {
    "num_frames": 4, "image_size": 16, "patch_size": 8, "tubelet_size": 2,
    "dim": 8, "depth": 2, "num_heads": 2, "mlp_dim": 16,
}  # fmt: skip


def count_by_hand(c):
    if isinstance(c, ViViTConfig):
        return count_vivit_by_hand(c)
    # From the architecture: patches, blocks without a bias on the keys, norms, heads.
    patches = c.tubelet_size * c.patch_size**2 * 3 * c.dim + c.dim
    attention = 4 * c.dim * c.dim + 3 * c.dim
    mlp = 2 * c.dim * c.mlp_dim + c.mlp_dim + c.dim
    block = attention + mlp + 4 * c.dim
    total = patches + c.depth * block + 2 * c.dim * (c.final_norm + c.pool_norm)
    for outputs in (c.embed_dim, c.num_classes):
        total += 0 if outputs is None else (c.dim + 1) * outputs
    return total


def count_vivit_by_hand(c):
    # Patches, positions and a class token for each encoder, blocks, their last norms, the head.
    encoders = [(c.depth, c.num_tokens)]
    if c.attention == "factorized_encoder":
        encoders.append((c.temporal_depth, c.num_frames // c.tubelet_size + 1))
    block = 4 * (c.dim * c.dim + c.dim) + 2 * c.dim * c.mlp_dim + c.mlp_dim + c.dim + 4 * c.dim
    total = (c.tubelet_size * c.patch_size**2 * 3 + 1) * c.dim + (c.dim + 1) * c.num_classes
    return total + sum(depth * block + (length + 1 + 2) * c.dim for depth, length in encoders)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_the_parameters_of_its_architecture(name):
    config = get_preset(name)
    video = jax.ShapeDtypeStruct((1, config.num_frames, 224, 224, 3), jnp.float32)
    r = (50,) + (0,) * (config.depth - 1)
    model = make_module(config, r=r)
    output, variables = jax.eval_shape(lambda v: model.init_with_output(jax.random.key(0), v), video)
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables["params"]))
    assert count == count_by_hand(config)
    sequences = config.count_sequences(config.num_frames)
    assert output.tokens.shape == (1, sequences * (config.num_tokens - 50), config.dim)
    for outputs, width in ((output.embedding, config.embed_dim), (output.logits, config.num_classes)):
        assert outputs is None if width is None else outputs.shape == (1, width)


def test_published_sizes():
    sizes = {name: (c.dim, c.depth, c.num_heads, c.mlp_dim, c.num_tokens) for name, c in PRESETS.items()}
    assert sizes == {
        "umt-b16": (768, 12, 12, 3072, 2352),
        "umt-l16": (1024, 24, 16, 4096, 2352),
        "videomae-s16": (384, 12, 6, 1536, 1568),
        "videomae-b16": (768, 12, 12, 3072, 1568),
        "videomae-l16": (1024, 24, 16, 4096, 1568),
        "videomae-h16": (1280, 32, 16, 5120, 1568),
        "vivit-b16x2": (768, 12, 12, 3072, 3137),
        "vivit-b16x2-fe": (768, 12, 12, 3072, 197),
        "vivit-l16x2": (1024, 24, 16, 4096, 3137),
        "vivit-l16x2-fe": (1024, 24, 16, 4096, 197),
        "vivit-h14x2": (1280, 32, 16, 5120, 4097),
        "vivit-h14x2-fe": (1280, 32, 16, 5120, 257),
    }


def test_an_unknown_preset_is_answered_with_the_nearest():
    names = ", ".join(PRESETS)
    for name, hint in (("umt-b-16", "did you mean 'umt-b16'?"), ("resnet", "choose one of these.")):
        with pytest.raises(ValueError) as error:
            get_preset(name)
        assert str(error.value) == f"presets are {names}; got {name!r}; {hint}"


def test_a_config_is_frozen_and_survives_json():
    config = VideoViTConfig(**FIELDS, positions="learned", position_grid=(2, 2, 2), num_classes=3)
    assert VideoViTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert hash(config) == hash(VideoViTConfig.from_dict(config.to_dict()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.dim = 3


def test_the_grid_is_over_time_rows_and_columns():
    config = VideoViTConfig(**FIELDS | {"num_frames": 6, "image_size": 32})
    assert config.grid == (3, 4, 4)
    assert config.num_tokens == 48


def test_wrong_fields_are_named_together():
    with pytest.raises(ValueError) as error:
        VideoViTConfig(**FIELDS | {"dim": 0, "depth": 1.5, "num_heads": True, "gelu": "fast", "pooling": "max"})
    assert str(error.value) == (
        "dim = 0 is not a positive int; depth = 1.5 is not a positive int; "
        "num_heads = True is not a positive int; gelu = 'fast' is none of exact, tanh; "
        "pooling = 'max' is none of mean, mean_by_size, first; change these fields."
    )


def test_fields_that_do_not_fit_each_other_are_named_together():
    wrong = {"image_size": 17, "num_frames": 5, "dim": 9, "position_grid": (2, 2)}
    with pytest.raises(ValueError) as error:
        VideoViTConfig(**FIELDS | wrong, positions="learned", image_positions="separate")
    assert str(error.value) == (
        "image_size = 17 is not a multiple of patch_size = 8; "
        "num_frames = 5 is not a multiple of tubelet_size = 2; dim = 9 is not a multiple of num_heads = 2; "
        'image_positions = "separate" needs positions = "sincos"; position_grid = (2, 2) is not (t, y, x); '
        "change these fields."
    )


def test_unknown_and_missing_fields_are_named_together():
    fields = VideoViTConfig(**FIELDS).to_dict()
    del fields["depth"]
    fields |= {"num_head": 2, "zzz": 1}
    with pytest.raises(ValueError) as error:
        VideoViTConfig.from_dict(fields)
    assert str(error.value) == (
        "unknown field 'num_head' (did you mean 'num_heads'?); unknown field 'zzz'; "
        "missing field 'depth'; fix the architecture in config.json."
    )
