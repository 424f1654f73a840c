"""UMT's checkpoints, fine-tuned and pre-trained, give the original's numbers when converted; faults are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from checkpoints_convert import FAMILIES, ConversionError, convert_checkpoint
from checkpoints_convert.facts import find_facts, list_missing
from checkpoints_convert.families.umt_text import build_umt
from checkpoints_convert.sources import open_source
from tests.reference.files import load_golden, require_torch
from vidtldr_jax.inference.checkpoint import read_checkpoint
from vidtldr_jax.models.umt import UMT

Find = Callable[[str], Path]
# The checkpoint's own config names vision heads, frames and image size; that of BERT is a file that is not with it.
SETTINGS = {"text_heads": 4}
BARE = {"text_heads": 4, "heads": 4, "frames": 4, "image_size": 32}
NAMES = ("umt_retrieval", "umt_pretrained", "umt_qa")


def settings_for(name: str) -> dict[str, int]:
    return BARE if name == "umt_pretrained" else SETTINGS


def read_video(golden: Any) -> jax.Array:
    return jnp.asarray(golden["video"].transpose(0, 1, 3, 4, 2))


def load(folder: Path, r: tuple[int, ...] = ()) -> tuple[UMT, dict[str, Any]]:
    stored = read_checkpoint(folder)
    return UMT(stored.config, r=r), {"params": traverse_util.unflatten_dict(stored.params, sep="/")}


@pytest.mark.parametrize("name", NAMES)
def test_the_family_is_told_by_the_keys_and_what_is_left_out_has_a_name(find_golden: Find, tmp_path: Path, name: str):
    report = convert_checkpoint(find_golden(f"{name}.pth"), tmp_path / "model", settings=settings_for(name))
    assert report.family == name
    assert len(report.assignments) + len(report.left_out) == len(open_source(find_golden(f"{name}.pth")).tensors)
    assert all(
        any(part in key for part in ("clip_teacher", "clip_decoder", "position_ids", "cls.predictions"))
        for key in report.left_out
    )
    written = json.loads((tmp_path / "model" / "config.json").read_text())
    assert written["family"] == ("umt_qa" if name == "umt_qa" else "umt_retrieval")
    assert written["architecture"]["name"] == "umt"
    recipe = report.preprocessing
    assert (recipe.num_frames, recipe.image_size, recipe.sampling, recipe.resize) == (4, 32, "middle", "squash")
    assert (recipe.kernel, recipe.mean, recipe.std) == ("bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    text = report.config.text
    assert (text.vocab_size, text.max_positions, text.depth, text.fusion_from_layer) == (80, 20, 4, 2)


def test_the_checkpoints_own_config_tells_heads_frames_and_image_size(find_golden: Find, tmp_path: Path):
    report = convert_checkpoint(find_golden("umt_retrieval.pth"), tmp_path / "model", settings=SETTINGS)
    for name in ("num_heads", "num_frames", "image_size"):
        assert report.origins[name] == "the checkpoint's config"
    assert report.origins["text_heads"] == "settings"


def test_golden_retrieval_gives_the_original_numbers(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("umt_retrieval.pth"), tmp_path / "model", settings=SETTINGS)
    golden = load_golden("umt_merge.npz")
    model, variables = load(tmp_path / "model", tuple(int(r) for r in golden["r"]))
    ids, mask = (jnp.asarray(golden[name]) for name in ("input_ids", "attention_mask"))

    def run(variables: Any) -> tuple[Any, Any, Any]:
        video = model.apply(variables, read_video(golden))
        text = model.apply(variables, ids, mask, method="encode_text")
        return video, text, model.apply(variables, video.tokens, text.tokens, mask, method="match")

    video, text, scores = jax.jit(run)(variables)
    # float32 rounding of towers of width 24.
    np.testing.assert_allclose(video.tokens, golden["tokens"], atol=2e-5, rtol=0)
    np.testing.assert_allclose(video.embedding, golden["vision_proj"], atol=2e-5, rtol=0)
    np.testing.assert_allclose(text.embedding, golden["text_proj"], atol=2e-5, rtol=0)
    np.testing.assert_allclose(scores, golden["itm_v2t"], atol=2e-5, rtol=0)


def test_golden_question_answering_gives_the_original_answers(find_golden: Find, tmp_path: Path):
    convert_checkpoint(find_golden("umt_qa.pth"), tmp_path / "model", settings=SETTINGS)
    golden = load_golden("umtqa_merge.npz")
    model, variables = load(tmp_path / "model", tuple(int(r) for r in golden["r"]))
    given = [jnp.asarray(golden[name]) for name in ("question_ids", "question_mask", "answer_ids", "answer_mask")]
    video = read_video(golden)
    ranked = jax.jit(lambda v: model.apply(v, video, *given, k=int(golden["k"]), method="answer"))(variables)
    np.testing.assert_array_equal(ranked.ids, golden["topk_ids"])
    np.testing.assert_allclose(ranked.probabilities, golden["topk_probs"], atol=2e-5, rtol=0)


def test_pre_training_and_fine_tuning_layouts_give_the_same_parameters_bit_for_bit(find_golden: Find, tmp_path: Path):
    for name in ("umt_retrieval", "umt_pretrained"):
        convert_checkpoint(find_golden(f"{name}.pth"), tmp_path / name, settings=settings_for(name))
    tuned, pretrained = (read_checkpoint(tmp_path / name) for name in ("umt_retrieval", "umt_pretrained"))
    assert tuned.config == pretrained.config
    assert tuned.params.keys() == pretrained.params.keys()
    for path, values in tuned.params.items():
        np.testing.assert_array_equal(values, pretrained.params[path], err_msg=path)


def test_a_missing_config_is_asked_for_by_name(find_golden: Find, tmp_path: Path):
    with pytest.raises(ConversionError, match="neither the weights nor a config tell") as caught:
        convert_checkpoint(find_golden("umt_pretrained.pth"), tmp_path / "model")
    assert all(name in str(caught.value) for name in ("text_heads", "num_heads", "num_frames", "image_size"))
    with pytest.raises(ConversionError, match="text_heads") as caught:
        convert_checkpoint(find_golden("umt_qa.pth"), tmp_path / "model")
    assert "num_heads" not in str(caught.value).replace("text_heads", "")
    assert not (tmp_path / "model").exists()


def resize_shapes(shapes: dict[str, tuple[int, ...]], size: str) -> dict[str, tuple[int, ...]]:
    """Returns shapes of a published size: the golden's, repeated layer by layer and as wide as B or L."""
    dim, depth, fusion = {"b16": (768, 12, 9), "l16": (1024, 24, 19)}[size]
    lengths = {24: dim, 72: 3 * dim, 96: 4 * dim, 48: 4 * dim, 80: 30522, 20: 512, 16: {"b16": 512, "l16": 768}[size]}
    made: dict[str, tuple[int, ...]] = {}
    for key, shape in shapes.items():
        wide = tuple(lengths.get(length, length) for length in shape)
        wide = (dim, 3, 1, 16, 16) if "patch_embed.proj.weight" in key else wide
        for kind in (".blocks.", ".layer."):
            if kind in key:
                before, rest = key.split(kind)
                name = rest.split(".", 1)[1]
                is_decoder = before.startswith("text_decoder")
                count = depth - fusion if is_decoder else depth
                first = fusion if "crossattention" in name and not is_decoder else 0
                made |= {f"{before}{kind}{layer}.{name}": wide for layer in range(first, count)}
                break
        else:
            made[key] = wide
    return made


@pytest.mark.parametrize("size", ["b16", "l16"])
@pytest.mark.parametrize("name", NAMES)
def test_a_published_shape_needs_no_settings(find_golden: Find, name: str, size: str):
    source = open_source(find_golden(f"{name}.pth"))
    shapes = resize_shapes({key: tensor.shape for key, tensor in source.tensors.items()}, size)
    family = FAMILIES[name]
    facts = find_facts(family, shapes, config=None, settings={})
    assert list_missing(facts, family.required) == []
    config = build_umt({fact: found.value for fact, found in facts.items()})
    heads, projection, fusion = {"b16": (12, 512, 9), "l16": (16, 768, 19)}[size]
    assert (config.vision.num_heads, config.text.num_heads, config.text.fusion_from_layer) == (heads, heads, fusion)
    assert config.vision.embed_dim == (None if name == "umt_qa" else projection)
    assert (config.num_frames, config.image_size) == (4 if name == "umt_pretrained" else 12, 224)
    if config.decoder is not None:
        assert (config.decoder.depth, config.decoder.num_heads) == (config.text.depth - fusion, heads)


@pytest.mark.parametrize(
    "key",
    [
        "text_encoder.encoder.layer.3.intermediate.dense.weight",
        "text_proj.weight",
        "vision_encoder.encoder.blocks.1.mlp.fc2.weight",
        "itm_head.weight",
    ],
)
@pytest.mark.parametrize("fault", ["rename", "drop", "transpose"])
def test_a_faulty_key_is_named(find_golden: Find, tmp_path: Path, key: str, fault: str):
    torch = require_torch()
    source = open_source(find_golden("umt_retrieval.pth"))
    state = {name: torch.tensor(np.asarray(tensor.read())) for name, tensor in source.tensors.items()}
    if fault == "rename":
        state[key.replace("weight", "wieght")] = state.pop(key)
    elif fault == "drop":
        del state[key]
    else:
        state[key] = state[key].T.contiguous()
    torch.save({"model": state}, tmp_path / "weights.pth")
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(tmp_path / "weights.pth", tmp_path / "model", settings=BARE)
    assert key.removesuffix("weight") in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_pooling_that_keeps_time_apart_is_refused():
    family = FAMILIES["umt_retrieval"]
    config = {"model": {"vision_encoder": {"keep_temporal": True}}}
    with pytest.raises(ConversionError, match=r"model\.vision_encoder\.keep_temporal = True is none of False"):
        find_facts(family, {}, config=config, settings={})
