"""Latency: predictions by hand, what is timed, the stored table, plans by time."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from vidtldr_jax.inference import latency_table as latency
from vidtldr_jax.inference import make_mesh
from vidtldr_jax.inference.latency_table import LatencyTable, Piece, list_pieces, measure_latency, plan_latency
from vidtldr_jax.inference.timing import Times, make_random_model
from vidtldr_jax.models import VideoViTConfig
from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction import get_method, resolve_schedule

SIZES = {"num_frames": 4, "image_size": 16, "patch_size": 4, "dim": 8, "depth": 4, "num_heads": 2, "mlp_dim": 16}
CONFIG = VideoViTConfig(tubelet_size=2, num_classes=3, **SIZES)  # 32 tokens
TEXT = BertConfig(vocab_size=20, max_positions=8, dim=8, depth=2, num_heads=2, mlp_dim=16, fusion_from_layer=1)
ONE_LAYER = VideoViTConfig(tubelet_size=1, embed_dim=4, **(SIZES | {"depth": 1}))  # 64 tokens
UMT = UMTConfig(task="retrieval", vision=ONE_LAYER, text=TEXT)
TABLE = LatencyTable(
    tokens=(8, 16, 32), block=(0.1, 0.2, 0.6), reducing=(0.15, 0.25, 0.55), mlp=(0.05, 0.1, 0.2), plain=3.0
)


def resolve(text, tokens=32, **fields):
    return resolve_schedule(text, num_tokens=tokens, num_layers=4, **fields)


def test_a_prediction_puts_each_layer_s_own_time_in_place_of_the_plain_block_s():
    assert TABLE.predict(resolve("none")) == 3.0
    # Layer 0 takes 16 of 32 out, the others run on 16.
    np.testing.assert_allclose(TABLE.predict(resolve("16")), 3.0 - 4 * 0.6 + (0.55 + 0.1) + 3 * 0.2)
    # 32 -> 24 -> 20, and between two numbers of tokens time is a straight line.
    expected = 3.0 - 4 * 0.6 + (0.55 + 0.15) + (0.4 + 0.125) + 2 * 0.3
    np.testing.assert_allclose(TABLE.predict(resolve("8,4")), expected)
    # Fewer than were timed take as long as the fewest.
    tiny = TABLE.predict(resolve("16,8,4,2"))
    np.testing.assert_allclose(tiny, 3.0 - 4 * 0.6 + (0.55 + 0.1) + (0.25 + 0.05) + (0.15 + 0.05) * 2)
    # Blocks that seem to take longer than the model they are of: all are taken to be shorter.
    odd = dataclasses.replace(TABLE, plain=1.2)
    np.testing.assert_allclose(odd.predict(resolve("16")), 1.2 - 0.5 * (4 * 0.6 - (0.55 + 0.1) - 3 * 0.2))
    assert odd.predict(resolve("none")) == 1.2
    with pytest.raises(ValueError, match="the table is for sequences of 32 tokens; got a schedule for 16"):
        TABLE.predict(resolve("4", tokens=16))


def test_a_method_before_the_first_layer_costs_once_and_all_layers_run_on_what_is_left():
    table = dataclasses.replace(TABLE, early=0.07)
    early = resolve("16", method="rlt", num_first=16)
    np.testing.assert_allclose(table.predict(early), 3.0 + 0.07 - 4 * 0.6 + 4 * 0.2)
    assert table.predict(resolve("none", method="rlt", num_first=16)) == 3.0


def test_what_is_timed_are_blocks_with_and_without_reduction_and_the_mlp():
    config = dataclasses.replace(CONFIG, num_frames=20)  # 160 tokens
    pieces = list_pieces(config, 160, get_method("vidtldr"))
    assert [piece.tokens for piece in pieces[::3]] == [16, 19, 40, 72, 112, 160]
    assert pieces[:3] == [Piece("block", 16), Piece("mlp", 16), Piece("reducing", 16, 4)]
    assert {piece.name for piece in list_pieces(config, 160, get_method("rlt"))} == {"block", "mlp"}
    assert [piece.tokens for piece in list_pieces(CONFIG, 2, get_method("vidtldr"))] == [2, 2, 2]


@pytest.mark.parametrize(("name", "left"), [("block", 16), ("mlp", 16), ("reducing", 12)])
def test_a_piece_runs_on_its_tokens_with_weights_of_its_own(name, left):
    piece = Piece(name, 16, 16 - left)
    weights = latency._make_weights(CONFIG, np.float32)
    results = latency._prepare(piece, CONFIG, 32, 2, get_method("vidtldr"), weights, np.float32)()
    tokens = [result if name == "mlp" else result[0].tokens for result in results]
    assert {found.shape for found in tokens} == {(2, left, 8)}
    assert len(tokens) == 3
    assert not np.allclose(tokens[0], tokens[1])
    assert all(np.isfinite(found).all() for found in tokens)


def pretend(tokens, name, taken=0):
    """Seconds of a piece on a machine whose times are straight lines."""
    parts = {"mlp": 2.0 + 3.0 * tokens, "block": 12.0 + 8.0 * tokens}
    if name == "reducing":
        return 1.0 + 7.0 * tokens + pretend(tokens - taken, "mlp")
    return parts[name]


@pytest.fixture
def pretended(monkeypatch):
    """A machine of `pretend`; nothing but the plain model is compiled. Counts how often times are taken."""
    calls = []

    def time_in_turn(runs, **options):
        calls.append(list(runs))
        seconds = {
            name: 5000.0 if name in ("plain", "early") else 3 * pretend(name.tokens, name.name, name.taken)
            for name in runs
        }
        drift = (1.1, 0.9, 1.3, 1.0, 1.2)  # 1.0 is the lower quartile, which counts
        return {name: Times(tuple(value * d for d in drift), (0.0,) * 5) for name, value in seconds.items()}

    monkeypatch.setattr(latency, "_prepare", lambda *rest: lambda: None)
    monkeypatch.setattr(latency, "time_in_turn", time_in_turn)
    return calls


@pytest.fixture(scope="module")
def model():
    return make_random_model(CONFIG)


def test_a_table_is_made_of_the_times_and_kept(model, pretended, tmp_path):
    steps = []
    table = measure_latency(model, cache=tmp_path / "tables", progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (len(steps), len(steps))
    assert table.plain == 5000.0
    np.testing.assert_allclose(table.spread, 1.2 / 1.0)
    schedule = model.with_schedule("8,4").schedule
    layers = [1 + 7 * 32 + (2 + 3 * 24), 1 + 7 * 24 + (2 + 3 * 20), 12 + 8 * 20, 12 + 8 * 20]
    np.testing.assert_allclose(table.predict(schedule), 5000.0 + sum(layers) - 4 * (12 + 8 * 32))

    again = measure_latency(model, cache=tmp_path / "tables")
    assert again == table
    assert len(pretended) == 1
    assert measure_latency(model, cache=tmp_path / "tables", renew=True) == table
    assert len(pretended) == 2
    (file,) = (tmp_path / "tables").iterdir()
    assert json.loads(file.read_text())["place"]["architecture"]["dim"] == 8


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"dim": 8', '"dim": 9'),
        lambda text: text.replace('"plain": 5000.0', '"plain": NaN'),
        lambda text: text.replace('"plain": 5000.0', '"plain": -1'),
        lambda text: text.replace('"plain": 5000.0', '"plain": 4000.0'),
        lambda text: text.replace('"plain": 5000.0', '"plain": 5000.0, "plain": 5000.0'),
        lambda text: text.replace('"sha256"', '"sha"'),
        lambda text: text.replace('"plain": 5000.0', '"plane": 5000.0'),
        lambda text: text.replace('"tokens": [', '"tokens": [99,'),
        lambda text: text.replace('"early": 0.0', '"early": "0"'),
    ],
)
def test_a_stored_table_that_is_damaged_or_foreign_is_measured_anew(model, pretended, tmp_path, damage):
    table = measure_latency(model, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    text = file.read_text()
    damaged = damage(text)
    assert damaged != text
    file.write_text(damaged)
    assert measure_latency(model, cache=tmp_path) == table
    assert len(pretended) == 2
    assert file.read_text() == text


@pytest.mark.parametrize("fields", [{"batch_size": 2}, {"num_frames": 2}, {"method": get_method("tome")}])
def test_other_batches_frames_and_methods_have_tables_of_their_own(model, pretended, tmp_path, fields):
    measure_latency(model, cache=tmp_path)
    measure_latency(model, cache=tmp_path, **fields)
    assert len(pretended) == len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_keeps_nothing_and_stops_nothing(model, pretended, tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    assert measure_latency(model, cache=place).plain == 5000.0


def test_an_early_method_s_own_time_is_what_a_run_takes_beyond_its_layers(model, pretended):
    table = measure_latency(model, method=get_method("rlt"))
    # 8 of 32 tokens go; a block on 24 takes 64 less. The pretended run takes as long as the plain one.
    np.testing.assert_allclose(table.early, 4 * 64)
    assert {piece.name for piece in pretended[0] if isinstance(piece, Piece)} == {"block", "mlp"}


def test_frame_by_frame_and_umt_s_video_encoder_are_timed_as_they_run(pretended):
    frames = ViViTConfig(attention="factorized_encoder", temporal_depth=1, tubelet_size=2, **(SIZES | {"depth": 1}))
    assert measure_latency(make_random_model(frames)).tokens[-1] == 17
    assert measure_latency(make_random_model(UMT)).tokens[-1] == 64


def test_a_model_over_devices_is_refused(pretended):
    spread = make_random_model(CONFIG, mesh=make_mesh(jax.devices()[:1]))
    with pytest.raises(ValueError, match=r"^the times of one device are measured; got a mesh"):
        measure_latency(spread)


def test_where_fewer_tokens_seem_slower_the_table_never_falls(model, pretended, monkeypatch):
    monkeypatch.setitem(globals(), "pretend", lambda tokens, name, taken=0: 100.0 - tokens)
    table = measure_latency(model)
    for column in (table.block, table.mlp, table.reducing):
        assert list(column) == sorted(column)


def test_a_plan_by_time_meets_its_limit_by_prediction():
    plan = plan_latency(CONFIG, TABLE, max_seconds=2.0, method="vidtldr")
    assert plan.budget == "at most 2000 ms"
    assert all(1.8 < one.value <= 2.0 for one in plan.proposals)
    assert all(one.value == TABLE.predict(one.schedule) for one in plan.proposals)
    assert plan_latency(CONFIG, TABLE, max_seconds=3.5, method="vidtldr").text == "none"


def test_where_merging_does_not_pay_that_is_said():
    slow = dataclasses.replace(TABLE, reducing=(9.0, 9.0, 9.0))
    with pytest.raises(
        ValueError, match=r"by prediction no schedule is faster than the plain model's 3000 ms .*; got 500 ms"
    ):
        plan_latency(CONFIG, slow, max_seconds=0.5, method="vidtldr")


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (
            0.5,
            "one run takes from 1750 to 3000 ms on this machine by vidtldr, whose first layer can lose half of 32",
        ),
        (0.0, "max_seconds is a number above 0; got 0.0"),
    ],
)
def test_a_time_that_nothing_meets_says_what_is_feasible(seconds, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        plan_latency(CONFIG, TABLE, max_seconds=seconds, method="vidtldr")
