"""What follows from the shape of weights is what a file of the publisher says; everything else is a question."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from checkpoints_convert import FAMILIES, ConversionError, convert_checkpoint, open_source
from checkpoints_convert.facts import find_disputed, find_facts
from checkpoints_convert.families.published_clips import MEAN, PUBLISHED_CLIPS
from checkpoints_convert.plan import plan_conversion
from vidtldr_jax.models.presets import PRESET_SOURCES, PRESETS

# Of the publishers' files, written down a second time: width, depth, MLP, patch, image size -> heads.
OPEN_CLIP = {
    "ViT-B-32": ((768, 12, 3072, 32, 224), 12),
    "ViT-B-16": ((768, 12, 3072, 16, 224), 12),
    "ViT-B-16-plus-240": ((896, 12, 3584, 16, 240), 14),
    "ViT-L-14": ((1024, 24, 4096, 14, 224), 16),
    "ViT-L-14-336": ((1024, 24, 4096, 14, 336), 16),
    "ViT-H-14": ((1280, 32, 5120, 14, 224), 16),
    "ViT-H-14-378": ((1280, 32, 5120, 14, 378), 16),
    "ViT-g-14": ((1408, 40, 6144, 14, 224), 16),
    "ViT-bigG-14": ((1664, 48, 8192, 14, 224), 16),
}
SOURCE = re.compile(
    r"github\.com/[\w-]+/[\w-]+, [\w./-]+\.(py|json)\b|arXiv \d{4}\.\d{5}|huggingface\.co/[\w/-]+, config\.json"
)


def list_rows() -> list[Any]:
    families = FAMILIES.values()
    return [row for family in families for row in (*family.published, *family.known_inputs)]


def test_every_row_names_the_publishers_file():
    rows = list_rows()
    assert len(rows) > 50
    for row in rows:
        assert SOURCE.match(row.source), row
    assert PRESET_SOURCES.keys() == PRESETS.keys()
    assert all(SOURCE.match(source) for source in PRESET_SOURCES.values())


def test_every_family_has_its_table():
    assert {name: bool(family.published) for name, family in FAMILIES.items()} == dict.fromkeys(FAMILIES, True)
    for preset in PRESETS.values():
        assert preset.dim % preset.num_heads == 0


def make_clip_shapes(name: str, size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    dim, depth, mlp_dim, patch, image = size
    positions = (image // patch) ** 2 + 1
    if name == "openai_clip":
        shapes: dict[str, tuple[int, ...]] = {
            "visual.conv1.weight": (dim, 3, patch, patch),
            "visual.class_embedding": (dim,),
            "visual.positional_embedding": (positions, dim),
        }
        for layer in range(depth):
            block = f"visual.transformer.resblocks.{layer}"
            shapes |= {f"{block}.ln_1.weight": (dim,), f"{block}.mlp.c_fc.bias": (mlp_dim,)}
        return shapes
    shapes = {
        "embeddings.patch_embedding.weight": (dim, 3, patch, patch),
        "embeddings.class_embedding": (dim,),
        "embeddings.position_embedding.weight": (positions, dim),
    }
    for layer in range(depth):
        block = f"encoder.layers.{layer}"
        shapes |= {f"{block}.layer_norm1.weight": (dim,), f"{block}.mlp.fc1.bias": (mlp_dim,)}
    return shapes


@pytest.mark.parametrize("family", ["openai_clip", "huggingface_clip"])
@pytest.mark.parametrize("model", OPEN_CLIP)
def test_a_bare_published_tower_gets_the_publishers_heads(model: str, family: str):
    size, heads = OPEN_CLIP[model]
    facts = find_facts(FAMILIES[family], make_clip_shapes(family, size), config=None, settings={})
    assert (facts["num_heads"].value, facts["num_heads"].origin) == (heads, "published models of this shape")
    assert facts["image_size"].value == size[-1]
    assert "gelu" not in facts, "no shape tells it"


@pytest.mark.parametrize(
    "size",
    [
        (1280, 32, 5120, 16, 224),  # as ViT-H/14, with other patches
        (1664, 48, 4 * 1664, 14, 224),  # bigG's MLP is 4.9231 times as wide
        (512, 12, 2048, 32, 224),
        (1024, 23, 4096, 14, 224),
    ],
)
def test_an_unknown_shape_is_a_question(tmp_path, size: tuple[int, ...]):
    family = FAMILIES["openai_clip"]
    facts = find_facts(family, make_clip_shapes("openai_clip", size), config=None, settings={})
    assert "num_heads" not in facts
    tiny = make_clip_shapes("openai_clip", (24, 2, 48, 8, 32))
    state = {key: np.zeros(shape, np.float32) for key, shape in tiny.items()} | {"visual.ln_pre.weight": np.zeros(24)}
    safetensors.numpy.save_file(state, tmp_path / "clip.safetensors")
    with pytest.raises(ConversionError, match=r"num_heads \(give heads=12\)"):
        convert_checkpoint(
            tmp_path / "clip.safetensors", tmp_path / "model", settings={"frames": 2, "encoding": "joint"}
        )


@pytest.mark.parametrize(
    ("model", "gelu", "disputed"),
    [
        ("ViT-L-14", "quick", []),
        ("ViT-L-14", "exact", ["mean", "std"]),  # LAION's of 2B pairs was trained on values of -1 to 1
        ("ViT-H-14", "quick", ["resize"]),  # DFN squashes, MetaCLIP crops
        ("ViT-H-14", "exact", []),
        ("ViT-B-32", "quick", []),
    ],
)
def test_what_published_models_of_a_shape_disagree_on_is_a_question(model: str, gelu: str, disputed: list[str]):
    family = FAMILIES["openai_clip"]
    facts = find_facts(
        family, make_clip_shapes("openai_clip", OPEN_CLIP[model][0]), config=None, settings={"gelu": gelu}
    )
    assert find_disputed(family, facts) == disputed
    assert ("mean" in facts) == ("mean" not in disputed)


def test_disputed_facts_are_asked_for_and_the_answer_counts(tmp_path, monkeypatch):
    """On a tower as small as the tests', as if two publishers had trained it."""
    size = (32, 2, 48, 8, 32)
    shape = dict(zip(("dim", "depth", "mlp_dim", "patch_size"), size))
    rows = [row for row in PUBLISHED_CLIPS if "dfn5b" in row.name or "metaclip_fullcc" in row.name]
    rows = [dataclasses.replace(row, shape=shape, marks={"gelu": "quick"}) for row in rows if row.shape["dim"] == 1280]
    family = dataclasses.replace(FAMILIES["openai_clip"], published=tuple(rows))
    monkeypatch.setitem(FAMILIES, "openai_clip", family)
    state = {key: np.zeros(s, np.float32) for key, s in make_clip_shapes("openai_clip", size).items()}
    state["visual.ln_pre.weight"] = np.zeros(32, np.float32)
    safetensors.numpy.save_file(state, tmp_path / "clip.safetensors")
    settings = {"frames": 2, "encoding": "joint", "gelu": "quick", "heads": 4}
    source = open_source(tmp_path / "clip.safetensors")
    plan = plan_conversion(source, settings=settings)
    assert plan.missing == (), "heads that the table does not have: it is none of these models"
    plan = plan_conversion(source, settings={**settings, "heads": 16})
    assert plan.missing == ("resize (give resize=shortest_edge or resize=squash)",)
    plan = plan_conversion(source, settings={**settings, "heads": 16, "resize": "squash"})
    assert plan.missing == ()
    assert (plan.facts["resize"].value, plan.facts["mean"].value) == ("squash", MEAN)
    assert "shortest_edge" not in plan.facts


def test_a_tower_without_a_processor_is_resized_as_clips_are():
    fields, _ = FAMILIES["huggingface_clip"].read_preprocessing({"image_size": 224}, None)
    assert fields["kernel"] == "bicubic_antialias"
