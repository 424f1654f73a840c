"""The count of multiply-accumulates against published numbers and a count by hand."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from tests.reference.files import find_golden
from vidtldr_jax.models import VideoViTConfig, block, get_preset
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.models.block import make_gelu
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction import count_macs, count_xla_gmacs, resolve_schedule
from vidtldr_jax.reduction.fitting import fit_schedule

FACTS = json.loads(find_golden("schedules.json").read_text())
PUBLISHED = [
    (preset, name, entry)
    for key, preset in (("umt_b16", "umt-b16"), ("umt_l16", "umt-l16"))
    for name, entry in FACTS[key].items()
]


def resolve(config, r):
    return resolve_schedule(r, num_tokens=config.num_tokens, num_layers=config.depth)


@pytest.mark.parametrize(("preset", "name", "entry"), PUBLISHED, ids=[f"{p}-{n}" for p, n, _ in PUBLISHED])
def test_gmacs_equal_the_published_ones_to_the_decimal(preset, name, entry):
    config = get_preset(preset)
    schedule = resolve(config, entry["r"])
    assert schedule.tokens[0] == FACTS["tokens_in"]
    assert schedule.tokens[-1] == entry["tokens_out"]
    assert round(count_macs(config, schedule).gmacs, 1) == entry["gmacs"]


def test_a_small_model_is_counted_by_hand():
    config = VideoViTConfig(
        num_frames=2,
        image_size=8,
        patch_size=4,
        tubelet_size=1,
        dim=6,
        depth=2,
        num_heads=2,
        mlp_dim=10,
        final_norm=True,
    )
    cost = count_macs(config, resolve(config, "3"))  # 8 tokens, then 5
    assert cost.patches == 8 * 4 * 4 * 3 * 6
    first, second = cost.layers
    assert (first.tokens_in, first.tokens_out, second.tokens_in, second.tokens_out) == (8, 5, 5, 5)
    assert first.projections == 4 * 8 * 6 * 6
    assert first.attention == 2 * 8 * 8 * 6
    assert first.matching == 4 * 4 * 6
    assert first.mlp == 2 * 5 * 6 * 10
    assert first.norms == 5 * 6 * (8 + 5)
    assert second.matching == 0
    assert second.total == 4 * 5 * 36 + 2 * 25 * 6 + 2 * 5 * 60 + 5 * 6 * 10
    assert cost.final_norm == 5 * 5 * 6
    assert cost.total == cost.patches + first.total + second.total + cost.final_norm
    assert cost.gmacs == cost.total / 1e9
    assert sum(cost.by_part().values()) == cost.total
    assert cost.by_part()["mlp"] == first.mlp + second.mlp


def test_an_odd_number_of_tokens_is_matched_unevenly():
    config = VideoViTConfig(
        num_frames=1, image_size=12, patch_size=4, tubelet_size=1, dim=6, depth=1, num_heads=2, mlp_dim=10
    )
    cost = count_macs(config, resolve(config, "2"))
    assert cost.layers[0].matching == 5 * 4 * 6
    assert cost.final_norm == 0


def make_vivit(**fields):
    size = {"num_frames": 4, "image_size": 8, "patch_size": 4, "tubelet_size": 2, "dim": 6, "depth": 2}
    return ViViTConfig(**size, num_heads=2, mlp_dim=10, **fields)


def test_a_class_token_is_counted_but_neither_cut_out_of_the_video_nor_matched():
    config = make_vivit(pooling="cls")
    schedule = resolve_schedule("2", num_tokens=config.num_tokens, num_layers=2, num_protected=1)
    cost = count_macs(config, schedule)  # 8 patches and a class token, then 6 and one
    assert schedule.tokens == (9, 7, 7)
    assert cost.patches == 8 * 2 * 4 * 4 * 3 * 6
    assert cost.layers[0].matching == 4 * 4 * 6
    assert cost.layers[0].attention == 2 * 9 * 9 * 6
    assert cost.layers[0].mlp == 2 * 7 * 6 * 10
    assert cost.temporal == 0


def test_a_factorised_encoder_counts_every_frame_and_the_encoder_over_time():
    config = make_vivit(attention="factorized_encoder", temporal_depth=3, pooling="mean")
    schedule = resolve_schedule("1", num_tokens=config.num_tokens, num_layers=2)
    cost = count_macs(config, schedule)
    assert schedule.tokens == (4, 3, 3)
    assert cost.patches == 2 * 4 * 2 * 4 * 4 * 3 * 6
    assert cost.layers[0].projections == 2 * 4 * 4 * 6 * 6
    assert cost.layers[0].matching == 2 * 2 * 2 * 6
    assert cost.final_norm == 2 * 5 * 3 * 6
    over_time = 4 * 2 * 36 + 2 * 2 * 2 * 6 + 2 * 2 * 6 * 10 + 5 * 6 * 4  # two moments, nothing absorbed
    assert cost.temporal == 3 * over_time + 5 * 2 * 6
    assert cost.by_part()["temporal"] == cost.temporal
    assert count_macs(config, schedule, num_frames=8).layers[0].mlp == 2 * cost.layers[0].mlp


def test_factorised_attentions_see_one_axis_at_a_time():
    in_turn = make_vivit(attention="factorized_self_attention", pooling="mean")
    halved = make_vivit(attention="factorized_dot_product", pooling="mean")
    first, second = (count_macs(config, resolve(config, None)).layers[0] for config in (in_turn, halved))
    # 2 moments of 4 places: every token sees 2 and 4 others in turn, or half of the heads see 2 and half see 4.
    assert first.attention == 2 * 8 * (2 + 4) * 6
    assert first.projections == 2 * 4 * 8 * 6 * 6
    assert first.norms == 5 * (2 * 8 + 8) * 6
    assert second.attention == 2 * 8 * 3 * 6
    assert second.projections == 4 * 8 * 6 * 6


def test_temporal_blocks_have_their_own_mlp_and_may_be_missing():
    same = make_vivit(attention="factorized_encoder", temporal_depth=1, pooling="mean")
    wide = make_vivit(attention="factorized_encoder", temporal_depth=1, temporal_mlp_dim=13, pooling="mean")
    none = make_vivit(attention="factorized_encoder", temporal_depth=0, pooling="mean")
    costs = [count_macs(config, resolve(config, None)).temporal for config in (same, wide, none)]
    assert costs[1] - costs[0] == 2 * 2 * 6 * (13 - 10)
    assert costs[2] == 0


# ViViT, arXiv 2103.15691, table 2.
@pytest.mark.parametrize(("preset", "published"), [("vivit-b16x2", 455.2), ("vivit-b16x2-fe", 284.4)])
def test_vivit_s_gmacs_equal_the_published_ones_to_the_decimal(preset, published):
    config = get_preset(preset)
    assert round(count_xla_gmacs(config, resolve(config, None)), 1) == published


def test_operations_on_single_elements_are_counted_by_hand():
    config = VideoViTConfig(
        num_frames=2, image_size=8, patch_size=4, tubelet_size=1, dim=6, depth=2, num_heads=2, mlp_dim=10, gelu="tanh"
    )
    schedule = resolve(config, "3")  # 8 tokens, then 5; query and value have a bias, keys don't, as UMT has it
    products = sum(layer.total - layer.norms for layer in count_macs(config, schedule).layers)
    products += count_macs(config, schedule).patches
    first = (7 + 3 + 1 + 1) * 8 * 6 + 4 * 2 * 64 + (7 + 2) * 5 * 6 + (1 + 8) * 5 * 10
    first += (2 + 2) * 64 + 3 * (8 + 3) * 6  # mean of two maps, its entropy; lengths of 8 features, sums of 3
    second = (7 + 3 + 1 + 1) * 5 * 6 + (4 + 1) * 2 * 25 + (7 + 2) * 5 * 6 + (1 + 8) * 5 * 10  # sizes bias the maps
    single = first + second + 2 * 8 * 6
    assert count_xla_gmacs(config, schedule) == pytest.approx((products + single / 2) / 1e9, rel=1e-12)


@pytest.mark.parametrize("gelu", ["exact", "tanh", "quick"])
def test_a_gelu_is_counted_as_xla_counts_it(gelu):
    counted = jax.jit(make_gelu(gelu)).lower(jax.ShapeDtypeStruct((1000,), jnp.float32)).cost_analysis()["flops"]

    def count(mlp_dim):
        size = {"num_frames": 2, "image_size": 8, "patch_size": 4, "dim": 6, "depth": 2, "num_heads": 2}
        config = CLIPConfig(**size, encoding="joint", mlp_dim=mlp_dim, gelu=gelu)
        return count_xla_gmacs(config, None) - count_macs(config, None).gmacs

    # 2 layers of 9 tokens, each with a bias and a GELU for every channel of the MLP.
    assert (count(1010) - count(10)) * 2e9 == pytest.approx(2 * 9 * 1000 * (1 + counted / 1000), rel=1e-6)


@pytest.mark.parametrize("schedule", [None, "300"])
def test_the_whole_count_agrees_with_xla_s_of_the_program(schedule, monkeypatch):
    # XLA counts one round of a loop: everything in one block here.
    monkeypatch.setattr(block, "_CPU_BLOCK_SIZE", 10**9)
    config = dataclasses.replace(get_preset("umt-b16"), num_frames=4, depth=2)
    module = make_module(config, r=fit_schedule(config, schedule).r if schedule else (), form="dense")
    video = jax.ShapeDtypeStruct((1, 4, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), video)
    counted = jax.jit(module.apply).lower(variables, video).cost_analysis()["flops"] / 2e9
    assert count_xla_gmacs(config, schedule) == pytest.approx(counted, rel=3e-3)


@pytest.mark.parametrize("schedule", [None, "none", "3,2", "0.25x2", (3, 2), 3])
def test_every_way_to_write_a_schedule_is_counted(schedule):
    config = make_vivit(attention="spacetime")
    resolved = fit_schedule(config, schedule)
    assert count_macs(config, schedule) == count_macs(config, resolved)
    assert count_xla_gmacs(config, schedule) == count_xla_gmacs(config, resolved)
    assert count_macs(config, schedule, num_frames=4) == count_macs(
        config, fit_schedule(config, schedule, size=(4, 8, 8))
    )


def test_what_fits_no_model_is_refused_by_the_count():
    with pytest.raises(ValueError, match="at most 2 entries for 2 layers"):
        count_macs(make_vivit(attention="spacetime"), "3,3,3")
    with pytest.raises(ValueError, match="needs the whole grid of patches in every block"):
        count_macs(make_vivit(attention="factorized_self_attention", pooling="mean"), "3")
    other = fit_schedule(get_preset("umt-b16"), "600")
    with pytest.raises(ValueError) as error:
        count_macs(make_vivit(attention="spacetime"), other)
    assert str(error.value) == (
        "a resolved schedule has one r for each of the model's 2 layers; got one of 12 layers; resolve it for this "
        "model, or pass its text '600'."
    )


@pytest.mark.parametrize(("preset", "name", "entry"), PUBLISHED, ids=[f"{p}-{n}" for p, n, _ in PUBLISHED])
def test_tome_costs_what_vidtldr_costs(preset, name, entry):
    config = get_preset(preset)
    costs = [
        count_macs(config, fit_schedule(config, entry["r"], method=method)).gmacs for method in ("tome", "vidtldr")
    ]
    assert costs[0] == pytest.approx(costs[1], rel=0.005)
    assert round(costs[0], 1) == entry["gmacs"]


def test_methods_pay_for_what_they_compare_and_when_they_act():
    config = get_preset("umt-b16")

    def count(method):
        return count_macs(config, fit_schedule(config, "600,200,100", method=method))

    merged, mean_keys, pruned, early = (count(name) for name in ("vidtldr", "tome_mean_keys", "evit", "rlt"))
    assert merged.by_part()["matching"] == (1176**2 + 876**2 + 776**2) * 768
    assert mean_keys.by_part()["matching"] * 12 == merged.by_part()["matching"]
    assert pruned.by_part()["matching"] == early.by_part()["matching"] == 0
    assert [layer.tokens_in for layer in early.layers] == [1452] * 12
    assert early.patches == merged.patches == 2352 * 256 * 3 * 768
    plain_block = count_macs(config, fit_schedule(config, "900,0", method="rlt")).layers[5]
    assert early.total == early.patches + 12 * plain_block.total + early.final_norm
