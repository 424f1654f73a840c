"""Which golden checkpoint each file of the originals' numbers belongs to, and what the weights can't tell."""

from __future__ import annotations

from typing import Any

# One table for all positions does not tell frames from rows and columns; without a class token the keys don't tell
# joint attention from the factorised dot product, nor does any file say which axis comes first in a block.
SCENIC_SETTINGS: dict[str, dict[str, Any]] = {
    "spacetime_token": {"frames": 8},
    "spacetime_gap": {"frames": 8, "attention": "spacetime"},
    "factorized_encoder_token": {},
    "factorized_encoder_gap": {},
    "factorized_self_attention_gap": {"frames": 8, "attention_order": "time_space"},
    "factorized_dot_product_gap": {"frames": 8, "attention": "factorized_dot_product"},
}
_UMT: dict[str, Any] = {"text_heads": 4}
_BARE: dict[str, Any] = {**_UMT, "heads": 4, "frames": 4, "image_size": 32}
_CLASSIFIER: dict[str, Any] = {"heads": 4, "frames": 4, "image_size": 32}
# File with inputs and outputs -> checkpoint, settings.
GOLDEN_CHECKPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "umt_plain": ("umt_retrieval.pth", _UMT),
    "umt_merge": ("umt_retrieval.pth", _UMT),
    "umt_merge_ratio": ("umt_retrieval.pth", _UMT),
    "umt_merge_late": ("umt_retrieval.pth", _UMT),
    "umt_image": ("umt_pretrained.pth", _BARE),
    "umtqa_plain": ("umt_qa.pth", _UMT),
    "umtqa_merge": ("umt_qa.pth", _UMT),
    "cls_umt": ("cls_umt.pth", _CLASSIFIER),
    "cls_videomae": ("cls_videomae.pth", {**_CLASSIFIER, "frames": 8}),
    "checkpoint_2023_layout": ("checkpoint_2023_layout", {"frames": 8}),
    **{name: (f"{name}.npz", settings) for name, settings in SCENIC_SETTINGS.items()},
}
