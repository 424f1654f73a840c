"""Plans: the largest schedule of each shape that a budget allows, found by trying all; what is feasible; refusals."""

import dataclasses
import itertools
import json
import math
import re

import pytest

import vidtldr_jax
from tests.reference.files import find_golden
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.presets import PRESETS, get_preset
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction import count_macs, parse_schedule, plan_schedule, resolve_schedule
from vidtldr_jax.reduction.planner import count_last_tokens, propose_schedules
from vidtldr_jax.reduction.shapes import list_shapes

SIZES = {"num_frames": 4, "image_size": 16, "patch_size": 4, "dim": 8, "depth": 4, "num_heads": 2, "mlp_dim": 16}
TINY = VideoViTConfig(tubelet_size=2, **SIZES)  # 32 tokens
UMT = get_preset("umt-b16")
JOINT = ViViTConfig(tubelet_size=2, **SIZES)  # 33 tokens, a class token among them
FRAMES = ViViTConfig(attention="factorized_encoder", temporal_depth=1, tubelet_size=2, **SIZES)  # 2 sequences of 17
CLIP = CLIPConfig(encoding="joint", **SIZES)  # 65 tokens


def count_gmacs(config, r, **kwargs):
    resolved = resolve_schedule(
        r, num_tokens=config.num_tokens, num_layers=config.depth, num_protected=config.num_protected
    )
    assert resolved.clamps == ()
    return count_macs(config, resolved, **kwargs).gmacs


def list_all_schedules(tokens, depth):
    """Every r that a model without protected tokens can run."""
    if depth == 0:
        yield ()
        return
    for r in range(tokens // 2 + 1):
        for rest in list_all_schedules(tokens - r, depth - 1):
            yield (r, *rest)


ALL = {r: count_gmacs(TINY, r) for r in list_all_schedules(TINY.num_tokens, TINY.depth)}
PLAIN = ALL[(0,) * 4]


@pytest.mark.parametrize("share", [0.62, 0.7, 0.81, 0.93])
def test_of_all_schedules_of_one_layer_none_that_fits_costs_more(share):
    limit = share * PLAIN
    plan = plan_schedule(TINY, max_gmacs=limit)
    for layer in (0, 1):
        fitting = [cost for r, cost in ALL.items() if sum(r) == r[layer] > 0 and cost <= limit]
        found = [one.gmacs for one in plan.proposals if one.shape == f"all in layer {layer}"]
        assert found == ([max(fitting)] if fitting else [])
    assert [ALL[one.schedule.r] for one in plan.proposals] == [one.gmacs for one in plan.proposals]


def test_shapes_share_out_as_they_say():
    rs = {one.shape: one.schedule.r for one in plan_schedule(UMT, max_gmacs=178).proposals}
    tokens = {one.shape: one.schedule.tokens for one in plan_schedule(UMT, max_gmacs=178).proposals}
    for first, second in itertools.pairwise(rs["halving, layers 0 to 3"][:4]):
        assert abs(first - 2 * second) <= 3
    assert sum(rs["halving, layers 0 to 3"][4:]) == 0
    constant = rs["same count, layers 0 to 11"]
    assert max(constant) - min(constant) <= 2
    shared = rs["same share, layers 0 to 11"]
    shares = [r / n for r, n in zip(shared, tokens["same share, layers 0 to 11"])]
    assert max(shares) - min(shares) < 2 / 1400
    assert [layer for layer, r in enumerate(rs["all in layer 1"]) if r] == [1]


@pytest.mark.parametrize("config", [TINY, JOINT, FRAMES, CLIP], ids=lambda config: config.architecture)
@pytest.mark.parametrize("keep", [0.4, 0.55, 0.9])
def test_what_is_found_is_the_best_of_trying_every_number_of_tokens(config, keep):
    """The same walk without bisection, said again with fractions."""
    measure = lambda schedule: count_macs(config, schedule).gmacs  # noqa: E731
    plain = count_gmacs(config, None)
    search = propose_schedules(config, measure, keep * plain)
    found = {one.shape: one.gmacs for one in search.proposals}
    free = config.num_tokens - config.num_protected
    for shape in list_shapes(config.depth):
        walked = [walk(shape, absorbed, config) for absorbed in range(len(shape.layers), free)]
        mixed = [
            (*more[: layer + 1], *fewer[layer + 1 :])
            for fewer, more in itertools.pairwise(walked)
            for layer in shape.layers
        ]
        costs = {}
        for tokens in (*walked, *mixed):
            r = [before - after for before, after in itertools.pairwise(tokens)]
            costs[tuple(r)] = count_gmacs(config, r)
        within = [cost for cost in costs.values() if cost <= keep * plain]
        if shape.name in found:
            assert found[shape.name] == max(within)
        elif within:  # the same schedule as another shape's
            assert max(within) in found.values()


def walk(shape, absorbed, config):
    """Tokens before and after each layer where so many go."""
    free, layers = config.num_tokens - config.num_protected, len(shape.layers)
    spread, rest = free - layers, absorbed - layers
    tokens = [config.num_tokens]
    for layer in range(config.depth):
        before = tokens[-1]
        if layer not in shape.layers:
            tokens.append(before)
        else:
            step = shape.layers.index(layer) + 1
            if shape.kind == "halving":
                share = rest * sum(2.0**-k for k in range(1, step + 1)) / sum(2.0**-k for k in range(1, layers + 1))
            elif shape.kind == "same share":
                share = spread - spread * (1 - rest / spread) ** (step / layers)
            else:
                share = rest * step / layers
            wanted = config.num_tokens - step - round(share)
            tokens.append(max(wanted, before - (before - config.num_protected) // 2))
    return tuple(tokens)


@pytest.mark.parametrize("preset", ["umt-b16", "umt-l16"])
def test_published_budgets_are_met_to_a_hundredth(preset):
    published = json.loads(find_golden("schedules.json").read_text())[preset.replace("-", "_")]
    budgets = {entry["gmacs"] for entry in published.values() if entry["r"]}
    assert len(budgets) > 5
    for budget in budgets:
        plan = plan_schedule(get_preset(preset), max_gmacs=budget)
        assert len(plan.proposals) == 9
        assert all(0.99 * budget <= one.gmacs <= budget for one in plan.proposals)
        assert plan.proposals[0].shape == "halving, layers 0 to 2"


def test_the_budget_of_the_paper_gives_a_schedule_that_is_much_like_the_paper_s():
    plan = plan_schedule(UMT, max_gmacs=178)
    assert plan.text == str(plan) == "520,261,131"  # published: 600,200,100 at 178.0
    assert plan.schedule.tokens[-1] == 1440
    assert parse_schedule(plan.text) == plan.schedule.r[:3]
    assert plan.describe() == (
        "at most 178 GMACs: r = 520,261,131: 2352 -> 1440 tokens over 12 layers; 178.0 GMACs, plain 303.3 "
        "(halving, layers 0 to 2)"
    )


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_can_be_planned_for_within_a_hundredth(preset):
    config = get_preset(preset)
    for speedup in (1.2, 2.0):
        plan = plan_schedule(config, speedup=speedup)
        assert plan.limit == plan.plain.gmacs / speedup
        assert all(0.985 * plan.limit <= one.gmacs <= plan.limit for one in plan.proposals)
        assert len({one.schedule.r for one in plan.proposals}) == len(plan.proposals) >= 5  # one layer alone can't do
        assert all(one.schedule.clamps == () for one in plan.proposals)


def test_keep_counts_the_tokens_after_the_last_layer():
    plan = plan_schedule(UMT, keep=0.5)
    assert {one.schedule.tokens[-1] for one in plan.proposals} == {1176}
    assert plan_schedule(JOINT, keep=0.5).schedule.tokens[-1] == 16  # of 33
    assert plan.describe().startswith("at most 0.5 of the tokens: r = 671,336,169: 2352 -> 1176 tokens")


def test_more_frames_have_more_tokens():
    plan = plan_schedule(UMT, speedup=1.5, num_frames=24)
    assert plan.schedule.tokens[0] == 4704
    assert plan.plain.gmacs == count_macs(UMT, plan.plain.schedule, num_frames=24).gmacs
    frame_by_frame = plan_schedule(FRAMES, speedup=1.5, num_frames=8)
    assert frame_by_frame.schedule.tokens[0] == 17
    assert frame_by_frame.plain.gmacs > plan_schedule(FRAMES, speedup=1.5).plain.gmacs


@pytest.mark.parametrize("budget", [{"max_gmacs": 303.4}, {"keep": 1}, {"speedup": 1}])
def test_a_budget_that_the_plain_model_meets_asks_for_no_merging(budget):
    plan = plan_schedule(UMT, **budget)
    assert plan.text == "none"
    assert [one.shape for one in plan.proposals] == ["plain"]
    assert plan.describe().endswith("the plain model needs no more (303.3 GMACs), so nothing need be merged")


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"max_gmacs": 30}, "max_gmacs is from 38.9 to 303.3 for this model by vidtldr, whose first layer can lose "
         "half of 2352 tokens at most (2352 -> 2 in the end); got 30; take one in between"),
        ({"speedup": 9}, "speedup is from 1 to 7.8 for this model"),
        ({"keep": 0.0004}, "keep is from 0.000851 to 1 for this model"),
        ({"max_gmacs": 0}, "max_gmacs is a number above 0; got 0"),
        ({"max_gmacs": math.nan}, "max_gmacs is a number above 0; got nan"),
        ({"keep": 1.2}, "keep is above 0 and at most 1; got 1.2"),
        ({"speedup": 0.9}, "speedup is a number from 1 on; got 0.9"),
        ({}, "exactly one budget is given: max_gmacs, keep or speedup; got none"),
        ({"keep": 0.5, "speedup": 2}, "exactly one budget is given: max_gmacs, keep or speedup; got keep = 0.5 and"),
    ],
)  # fmt: skip
def test_an_impossible_budget_says_what_is_possible(budget, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        plan_schedule(UMT, **budget)


def test_the_ends_of_what_is_feasible_are_feasible():
    for budget in ({"max_gmacs": 38.9}, {"speedup": 7.8}, {"keep": 0.000851}):
        assert plan_schedule(UMT, **budget).proposals


def test_a_model_that_cannot_merge_is_refused():
    whole_grid = dataclasses.replace(JOINT, attention="factorized_self_attention", pooling="mean")
    with pytest.raises(ValueError, match="needs the whole grid of patches in every block, so nothing can be merged"):
        plan_schedule(whole_grid, keep=0.5)


def test_frames_that_tubelets_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="frames are a multiple of the model's tubelet, 2; got 3"):
        plan_schedule(TINY, keep=0.5, num_frames=3)


def test_a_method_has_its_own_matching_and_its_own_limits():
    budget = {"max_gmacs": 178}
    merging, few_channels, pruning = (
        plan_schedule(UMT, **budget, method=method) for method in ("vidtldr", "tome_mean_keys", "svitt")
    )
    assert few_channels.schedule.method.name == "tome_mean_keys"
    lost = [sum(plan.schedule.r) for plan in (merging, few_channels, pruning)]
    assert lost[0] > lost[1] > lost[2]  # matching costs 1.06 GMACs in layer 0, a twelfth of that, and nothing
    for plan in (few_channels, pruning):
        assert all(0.99 * 178 <= one.gmacs <= 178 for one in plan.proposals)
    assert plan_schedule(UMT, keep=0.3, method="svitt").proposals[6].schedule.r[0] == 2352 - 705  # more than half
    assert "by svitt, whose first layer can lose all but one of 2352 tokens" in explain(
        UMT, keep=0.0001, method="svitt"
    )
    assert "methods are vidtldr, " in explain(UMT, keep=0.5, method="vidtdlr")


def test_a_method_that_acts_before_the_first_layer_has_one_shape():
    plan = plan_schedule(UMT, max_gmacs=178, method="rlt")
    assert [one.shape for one in plan.proposals] == ["all before layer 0"]
    assert 0.99 * 178 < plan.proposals[0].gmacs <= 178
    assert plan.describe().startswith("at most 178 GMACs: rlt; r = ")
    assert "all but the first moment's 196 of 2352 tokens" in explain(UMT, keep=0.05, method="rlt")
    assert "it can lose all but the first moment's 16 of 16 tokens" in explain(FRAMES, keep=0.5, method="rlt")


def explain(config, **budget):
    with pytest.raises(ValueError) as error:
        plan_schedule(config, **budget)
    return str(error.value)


def test_the_door_has_it():
    assert vidtldr_jax.plan_schedule is plan_schedule


def test_a_measure_of_one_s_own_is_met_too():
    search = propose_schedules(UMT, lambda schedule: 3.0 * count_last_tokens(schedule), 3600.0)
    assert {one.value for one in search.proposals} == {3600.0}
    assert search.plain.value == 3 * 2352
    assert search.least.value == 6
