"""Published CLIP vision towers: heads, colours and the way of resizing, by the shape of their weights.

The form of GELU is never told by a shape: OpenAI's, DFN's and MetaCLIP's towers of a shape have the quick form, LAION's
and DataComp's of the same shape the exact one. Where it is known it tells which of the models it can be.
"""

from __future__ import annotations

from typing import Any, Final

from checkpoints_convert.families.published import PublishedModel

MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
STD: Final = (0.26862954, 0.26130258, 0.27577711)
_OWN: Final = {"mean": MEAN, "std": STD}
_HALF: Final = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_SQUASH: Final = {"resize": "squash"}
_EDGE: Final = {"resize": "shortest_edge"}

# Size -> width, depth, MLP width, heads; the MLP ratio of g and bigG is 4.3637 and 4.9231.
_SIZES: Final = {
    "B": (768, 12, 3072, 12),
    "B-plus": (896, 12, 3584, 14),
    "L": (1024, 24, 4096, 16),
    "H": (1280, 32, 5120, 16),
    "g": (1408, 40, 6144, 16),
    "bigG": (1664, 48, 8192, 16),
}
_OPENAI: Final = "github.com/openai/CLIP, clip/model.py (build_model: heads of 64 channels), clip/clip.py (_transform)"
_OPEN_CLIP: Final = (
    "github.com/mlfoundations/open_clip, src/open_clip/model_configs/{}.json, src/open_clip/pretrained.py ({})"
)
# Model, size, patch, image size, GELU, colours, way of resizing, file of open_clip (None: OpenAI's own), weights there.
_ROWS: Final[tuple[tuple[str, int, int, str, dict[str, Any], dict[str, str], str | None, str], ...]] = (
    ("B", 32, 224, "quick", _OWN, _EDGE, None, "ViT-B/32"),
    ("B", 32, 224, "quick", _OWN, _EDGE, "ViT-B-32-quickgelu", "laion400m, metaclip"),
    ("B", 32, 224, "exact", _OWN, _EDGE, "ViT-B-32", "laion2b, datacomp, commonpool"),
    ("B", 32, 256, "exact", _OWN, _EDGE, "ViT-B-32-256", "datacomp_s34b_b86k"),
    ("B", 16, 224, "quick", _OWN, _EDGE, None, "ViT-B/16"),
    ("B", 16, 224, "quick", _OWN, _EDGE, "ViT-B-16-quickgelu", "dfn2b, metaclip"),
    ("B", 16, 224, "exact", _OWN, _EDGE, "ViT-B-16", "laion400m, laion2b, datacomp, commonpool"),
    ("B-plus", 16, 240, "exact", _OWN, _EDGE, "ViT-B-16-plus-240", "laion400m"),
    ("L", 14, 224, "quick", _OWN, _EDGE, None, "ViT-L/14"),
    ("L", 14, 224, "quick", _OWN, _EDGE, "ViT-L-14-quickgelu", "dfn2b, metaclip"),
    ("L", 14, 224, "exact", _OWN, _EDGE, "ViT-L-14", "laion400m, datacomp, commonpool, dfn2b_s39b"),
    ("L", 14, 224, "exact", _HALF, _EDGE, "ViT-L-14", "laion2b_s32b_b82k"),
    ("L", 14, 336, "quick", _OWN, _EDGE, None, "ViT-L/14@336px"),
    ("H", 14, 224, "exact", _OWN, _EDGE, "ViT-H-14", "laion2b_s32b_b79k, metaclip_altogether"),
    ("H", 14, 224, "quick", _OWN, _EDGE, "ViT-H-14-quickgelu", "metaclip_fullcc"),
    ("H", 14, 224, "quick", _OWN, _SQUASH, "ViT-H-14-quickgelu", "dfn5b"),
    ("H", 14, 378, "quick", _OWN, _SQUASH, "ViT-H-14-378-quickgelu", "dfn5b"),
    ("H", 14, 224, "quick", _OWN, _EDGE, "ViT-H-14-worldwide-quickgelu", "metaclip2_worldwide"),
    ("H", 14, 378, "exact", _OWN, _SQUASH, "ViT-H-14-worldwide-378", "metaclip2_worldwide"),
    ("g", 14, 224, "exact", _OWN, _EDGE, "ViT-g-14", "laion2b_s12b_b42k, laion2b_s34b_b88k"),
    ("bigG", 14, 224, "exact", _OWN, _EDGE, "ViT-bigG-14", "laion2b_s39b_b160k"),
    ("bigG", 14, 224, "quick", _OWN, _EDGE, "ViT-bigG-14-quickgelu", "metaclip_fullcc"),
    ("bigG", 14, 224, "exact", _OWN, _EDGE, "ViT-bigG-14-worldwide", "metaclip2_worldwide"),
    ("bigG", 14, 378, "exact", _OWN, _SQUASH, "ViT-bigG-14-worldwide-378", "metaclip2_worldwide"),
)


def _make(row: tuple[Any, ...]) -> PublishedModel:
    size, patch_size, image_size, gelu, colours, resize, file, weights = row
    dim, depth, mlp_dim, heads = _SIZES[size]
    return PublishedModel(
        name=f"ViT-{size}/{patch_size} at {image_size} ({weights})",
        source=f"{_OPENAI} ({weights})" if file is None else _OPEN_CLIP.format(file, weights),
        shape={"dim": dim, "depth": depth, "mlp_dim": mlp_dim, "patch_size": patch_size},
        marks={"image_size": image_size, "gelu": gelu},
        follows={"num_heads": heads, **colours, **resize},
    )


PUBLISHED_CLIPS: Final = tuple(map(_make, _ROWS))
