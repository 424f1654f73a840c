"""Tiny random models of Hugging Face's own classes, and the folders that people have of such models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.reference.files import require_module

torch = require_module("torch")
transformers = require_module("transformers")
safetensors_torch = require_module("safetensors.torch")

VIVIT_PROCESSOR = {
    "image_processor_type": "VivitImageProcessor",
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 127.5,
    "offset": True,
    "do_normalize": False,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
VIDEOMAE_PROCESSOR = {
    "resample": 2,
    "rescale_factor": 1 / 255,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
CLIP_PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "resample": 3,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
VIVIT_SHAPES = {
    "tubelets of 2": {"num_attention_heads": 4, "tubelet_size": [2, 8, 8], "num_frames": 8},
    "odd tokens, tubelets of 1": {
        "num_attention_heads": 3, "tubelet_size": [1, 8, 8], "num_frames": 3, "image_size": 24, "qkv_bias": False,
    },
    "exact GELU, large epsilon": {
        "num_attention_heads": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-3, "num_labels": 2,
    },
}  # fmt: skip
VIDEOMAE_SHAPES = {
    "tubelets of 2": {"num_attention_heads": 4, "tubelet_size": 2, "num_frames": 8},
    "odd tokens without biases": {
        "num_attention_heads": 3, "tubelet_size": 1, "num_frames": 3, "image_size": 24, "qv_bias": False,
    },
    "tanh, large epsilon": {
        "num_attention_heads": 2, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "num_labels": 2,
    },
    "first patch instead of the mean": {"num_attention_heads": 6, "use_mean_pooling": False},
}  # fmt: skip
CLIP_SHAPES = {
    "quick GELU": {"num_attention_heads": 4},
    "exact GELU, odd tokens": {
        "num_attention_heads": 3,
        "hidden_act": "gelu",
        "image_size": 24,
        "layer_norm_eps": 1e-3,
    },
}
# transformers 5 in memory -> files on the hub.
_HUB_NAMES = {
    r"\.layers\.": ".encoder.layer.",
    r"\.attention\.q_proj\.": ".attention.attention.query.",
    r"\.attention\.k_proj\.": ".attention.attention.key.",
    r"\.attention\.v_proj\.": ".attention.attention.value.",
    r"\.attention\.o_proj\.": ".attention.output.dense.",
    r"\.mlp\.fc1\.": ".intermediate.dense.",
    r"\.mlp\.fc2\.": ".output.dense.",
}


# Hugging Face's names -> OpenAI's, in the order in which they are tried.
_OPENAI_NAMES = (
    ("visual_projection.weight", "visual.proj"),
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"),
    ("vision_model.pre_layrnorm", "visual.ln_pre"),
    ("vision_model.post_layernorm", "visual.ln_post"),
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
)


def _make_sizes(side: int) -> dict[str, Any]:
    """As 36 pixels cut to 32."""
    return {"size": {"shortest_edge": side * 9 // 8}, "crop_size": {"height": side, "width": side}}


def randomise(model: Any, *, scale: float = 0.2) -> Any:
    """Gives every parameter a random value, biases and scales too: at 0 and 1 a swap would not show."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_scale = "norm" in name and name.endswith("weight")
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_(noise + (1.0 if is_scale else 0.0))
    return model


def make_vivit(**fields: Any) -> Any:
    """A tiny random model; biases and scales are randomised too, at 0 and 1 a swap would not show."""
    shape = {"image_size": 32, "tubelet_size": [2, 8, 8], "num_frames": 4, "hidden_size": 24, "num_hidden_layers": 2}
    config = transformers.VivitConfig(**{**shape, "intermediate_size": 48, "num_labels": 5, **fields})
    twin = transformers.VivitForVideoClassification(config).eval()
    return randomise(twin)


def rename_for_hub(state: dict[str, Any]) -> dict[str, Any]:
    renamed = {}
    for key, value in state.items():
        for pattern, name in _HUB_NAMES.items():
            key = re.sub(pattern, name, key)
        renamed[key] = value.contiguous()
    return renamed


def save_vivit(twin: Any, folder: Path, layout: str) -> Path:
    folder.mkdir()
    if layout == "today":
        twin.save_pretrained(folder)
    elif layout == "memory":
        safetensors_torch.save_file(dict(twin.state_dict()), folder / "model.safetensors")
    else:
        torch.save(rename_for_hub(twin.state_dict()), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(twin.config.to_dict()))
    size = twin.config.image_size
    processor = VIVIT_PROCESSOR | _make_sizes(size)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def make_videomae(**fields: Any) -> Any:
    """A tiny random model; biases and scales are randomised too, at 0 and 1 a swap would not show."""
    shape = {"image_size": 32, "patch_size": 8, "num_frames": 4, "hidden_size": 24, "num_hidden_layers": 2}
    config = transformers.VideoMAEConfig(**{**shape, "intermediate_size": 48, "num_labels": 5, **fields})
    twin = transformers.VideoMAEForVideoClassification(config).eval()
    return randomise(twin)


def save_videomae(twin: Any, folder: Path, layout: str) -> Path:
    folder.mkdir()
    state = {key: value.contiguous() for key, value in twin.state_dict().items()}
    if layout == "today":
        twin.save_pretrained(folder)
    elif layout == "memory":  # the names that transformers 5 has in memory
        safetensors_torch.save_file(state, folder / "model.safetensors")
    else:
        names = {".query.bias": ".q_bias", ".value.bias": ".v_bias"}
        for theirs, old in names.items():
            state = {key.replace(theirs, old): value for key, value in state.items()}
        if layout == "hub":
            torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
        else:
            _save_shards(state, folder)
    (folder / "config.json").write_text(json.dumps(twin.config.to_dict()))
    size = twin.config.image_size
    processor = VIDEOMAE_PROCESSOR | _make_sizes(size)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def _save_shards(state: dict[str, Any], folder: Path) -> None:
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    shards = {name: files[number % 2] for number, name in enumerate(state)}
    for file in files:
        part = {name: state[name] for name in state if shards[name] == file}
        safetensors_torch.save_file(part, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))


def make_clip(**fields: Any) -> Any:
    shape = {"image_size": 32, "patch_size": 8, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 48}
    config = transformers.CLIPVisionConfig(**{**shape, "projection_dim": 16, **fields})
    twin = transformers.CLIPVisionModelWithProjection(config).eval()
    return randomise(twin)


def save_clip(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    side = getattr(model.config, "image_size", 32)
    processor = CLIP_PROCESSOR | _make_sizes(side)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def rename_as_openai(state: dict[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for key, value in state.items():
        for theirs, name in _OPENAI_NAMES:
            key = key.replace(theirs, name)
        renamed[key] = value.T.contiguous() if key == "visual.proj" else value
    for key in [key for key in renamed if ".self_attn.q_proj." in key]:
        parts = [renamed.pop(key.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        renamed[key.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(parts)
    return renamed


# The published shapes; the rest are the classes' defaults.
FULL_SIZES = {
    "ViViT-B/16x2": lambda: transformers.VivitForVideoClassification(transformers.VivitConfig(num_labels=400)),
    "VideoMAE-B": lambda: transformers.VideoMAEForVideoClassification(transformers.VideoMAEConfig(num_labels=400)),
}


def save_full_size(name: str, folder: Path) -> Path:
    """Saves a model of a published shape, its weights as small as trained ones."""
    twin = randomise(FULL_SIZES[name]().eval(), scale=0.02)
    return (save_vivit if "ViViT" in name else save_videomae)(twin, folder, "hub")
